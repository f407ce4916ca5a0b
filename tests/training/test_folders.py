"""Sets that lie in folders or files of their own, tiny and generated: ImageNet, Tiny-ImageNet, SVHN, GTSRB."""

import json
import multiprocessing
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from sparta_hub.errors import DataError
from sparta_hub.hub import info
from training import folders
from training.checkpoints import read_checkpoint, write_checkpoint
from training.data import open_data
from training.engine import Options, train
from training.errors import CheckpointError, ConfigError
from training.parallel import World
from training.settings import from_json
from training.stopping import Stop


def picture(path, seed, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 10, size[0] // 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size).save(path)


@pytest.fixture
def root(tmp_path):
    for i in range(24):
        picture(tmp_path / f"photos/train/class{i % 3}/{i}.jpg", i)
    return tmp_path


@pytest.fixture
def photos(tiny, root):
    return replace(
        tiny, dataset=f"{root}/photos", augmentation="resized_crop_flip", validation=6, batch_size=6, epochs=2,
    )  # fmt: skip


def take(config, count, *, first=0, world=None, workers=0):
    stream = open_data(config, world or World(), workers=workers).batches.stream(first)
    return list(islice(stream, count))


def same(one, two):
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(one, two, strict=True))


def test_photographs_are_cropped_to_one_size_and_each_pass_has_all(photos):
    data = open_data(photos, World())
    assert data.validation is not None
    assert (data.validation.x.shape, data.batches.per_epoch, data.num_classes) == ((6, 3, 224, 224), 3, 3)
    batches = list(islice(data.batches.stream(0), 3))
    for x, y in batches:
        assert x.shape == (6, 3, 224, 224)
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert 0 <= x.min() < x.max() <= 1
        assert y.dtype == torch.int64
    seen = torch.cat([y for _, y in batches]).bincount() + data.validation.y.bincount(minlength=3)
    assert seen.tolist() == [8, 8, 8]


def test_workers_processes_and_interruptions_change_nothing(photos):
    whole = take(photos, 7)
    assert same(take(photos, 7, workers=2), whole)
    assert same(take(photos, 3, first=4, workers=1), whole[4:])
    halves = [take(photos, 7, world=World(rank=rank, count=2)) for rank in range(2)]
    joined = [tuple(torch.cat(pair) for pair in zip(*rows, strict=True)) for rows in zip(*halves, strict=True)]
    assert same(joined, whole)
    assert not torch.equal(whole[0][0], take(replace(photos, seed=9), 1)[0][0])
    assert not torch.equal(whole[0][0], whole[3][0])  # another pass


def test_the_files_are_ordered_once_a_pass(photos, monkeypatch):
    passes, order = [], folders.epoch_order
    monkeypatch.setattr(folders, "epoch_order", lambda n, seed, epoch: (passes.append(epoch), order(n, seed, epoch))[1])
    take(photos, 4, first=1)  # of three batches
    assert passes == [0, 1]


def test_workers_survive_a_sigterm_that_is_for_all_and_end_with_the_stream(photos):
    whole = take(photos, 7)
    others = multiprocessing.active_children()
    stream = open_data(photos, World(), workers=2).batches.stream(0)
    first = [next(stream), next(stream)]  # one of each, so that both have begun
    workers = [worker for worker in multiprocessing.active_children() if worker not in others]
    assert len(workers) == 2
    for worker in workers:
        worker.terminate()
    time.sleep(0.2)  # the others are fetched after it came
    assert same([*first, *islice(stream, 5)], whole)
    stream.close()
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_a_worker_whose_interpreter_insists_ends(photos):
    """Python sends SIGTERM to what is left of its processes, twice with torch's own, and then waits for them."""
    others = multiprocessing.active_children()
    stream = open_data(photos, World(), workers=1).batches.stream(0)
    next(stream)
    (worker,) = (worker for worker in multiprocessing.active_children() if worker not in others)
    worker.terminate()
    time.sleep(0.2)
    assert worker.is_alive()
    worker.terminate()
    with pytest.raises(RuntimeError, match="killed by signal: Terminated"):  # torch says so as soon as it ends
        time.sleep(10)
    stream.close()


def test_another_image_size_is_trained_validated_and_recorded(photos, tmp_path):
    config = replace(photos, image_size=48)
    data = open_data(config, World())
    assert data.validation is not None
    assert next(data.batches.stream(0))[0].shape == (6, 3, 48, 48)
    assert data.validation.x.shape == (6, 3, 48, 48)
    train(config, data, tmp_path / "run")
    record = json.loads((tmp_path / "run/training.json").read_text())
    assert from_json(record["config"]) == config
    origin = info(tmp_path / "run/artifact").spec.origin
    assert origin is not None
    assert origin.input_size == 48
    small = open_data(replace(config, augmentation="crop_flip"), World())  # in memory
    assert next(small.batches.stream(0))[0].shape == (6, 3, 48, 48)


def test_arrays_are_not_brought_to_another_size(tiny, environment):
    root = Path(environment["SPARTA_DATA"])
    with pytest.raises(DataError, match="holds images of 32×32, not 48×48; .*Leave the size out .*image_size"):
        open_data(replace(tiny, image_size=48), World(), root=root)
    assert open_data(replace(tiny, image_size=32), World(), root=root).num_classes == 10


def test_a_run_from_before_image_sizes_goes_on(photos, tmp_path, monkeypatch):
    """Its checkpoint lacks the field, as those of older commits do."""
    monkeypatch.setattr("training.folders.SIZE", 32)
    often = Options(checkpoint_seconds=0)
    train(photos, open_data(photos, World()), tmp_path / "run", stop=Stop(time.monotonic()), options=often)
    found = read_checkpoint(tmp_path / "run")
    older = {key: value for key, value in found.config.items() if key != "image_size"}
    write_checkpoint(tmp_path / "run", replace(found, config=older))
    assert train(photos, open_data(photos, World()), tmp_path / "run").step == 6
    write_checkpoint(tmp_path / "run", replace(found, config=older))
    config = replace(photos, image_size=48)
    with pytest.raises(CheckpointError, match="image_size is None there and 48 here"):
        train(config, open_data(config, World()), tmp_path / "run")


def test_validation_images_are_not_trained_on(photos, root):
    """Every class has one colour a file, so that images can be told apart whatever the crop."""
    for i in range(24):
        Image.new("RGB", (40, 30), (10 * i, 0, 0)).save(root / f"photos/train/class{i % 3}/{i}.jpg", quality=100)
    data = open_data(photos, World())
    assert data.validation is not None
    colours = (torch.cat([x for x, _ in islice(data.batches.stream(0), 3)])[:, 0].mean((1, 2)) * 25.5).round()
    held = (data.validation.x[:, 0].float().mean((1, 2)) / 10).round()
    assert sorted([*colours.tolist(), *held.tolist()]) == list(range(24))


def test_a_run_on_photographs_goes_on_with_the_same_batches(photos, tmp_path, monkeypatch):
    import training.folders

    monkeypatch.setattr(training.folders, "SIZE", 32)
    data, often = open_data(photos, World()), Options(log_every=1, checkpoint_seconds=0)
    train(photos, data, tmp_path / "whole", options=often)
    stopped = open_data(photos, World())
    batches, stream = stopped.batches, stopped.batches.stream

    class Cut:
        per_epoch = batches.per_epoch

        def stream(self, first):
            for number, batch in enumerate(stream(first)):
                if number == 4:
                    raise KeyboardInterrupt
                yield batch

    with pytest.raises(KeyboardInterrupt):
        train(
            photos,
            replace(stopped, batches=Cut()),
            tmp_path / "parts",
            options=Options(log_every=1, checkpoint_seconds=0),
        )
    train(photos, open_data(photos, World()), tmp_path / "parts")
    whole, parts = ((tmp_path / name / "last.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_a_broken_photograph_is_named(photos, root):
    for path in (root / "photos/train").rglob("*.jpg"):
        path.write_text("<html>")
    with pytest.raises(DataError, match=r"photos/train/class\d/\d+.jpg cannot be read as an image"):
        take(replace(photos, validation=0), 1)


def test_other_files_are_other_data(photos, root):
    before = open_data(photos, World()).identity
    assert open_data(photos, World()).identity == before
    picture(root / "photos/train/class0/0.jpg", 99, size=(80, 70))
    assert open_data(photos, World()).identity["sha256"] != before["sha256"]


def test_a_set_without_a_folder_is_answered(photos, tmp_path):
    with pytest.raises(
        DataError, match=r"There is no folder .*cifar10 with train/CLASS/\*.jpg; .*augmentation=crop_flip"
    ):
        open_data(replace(photos, dataset="cifar10"), World(), root=tmp_path)


@pytest.mark.parametrize(
    ("name", "get"), [("imagenet", "mkdir -p '{}/imagenet' and put"), ("tiny_imagenet", "curl -LO .* -d '{}'$")]
)
def test_a_named_set_that_is_missing_says_how_to_get_it(photos, tmp_path, name, get):
    message = f"There is no folder {tmp_path}/{name} with .*To get it: {get.format(tmp_path)}"
    with pytest.raises(DataError, match=message) as failure:
        open_data(replace(photos, dataset=name), World(), root=tmp_path)
    assert "crop_flip." not in str(failure.value)  # in memory it would be as missing


def test_imagenet_by_name(tiny, tmp_path):
    for i in range(12):
        picture(tmp_path / f"imagenet/train/n0144{i % 2}/{i}.JPEG", i)
    config = replace(tiny, dataset="imagenet", augmentation="resized_crop_flip", validation=2, batch_size=5)
    data = open_data(config, World(), root=tmp_path)
    x, _ = next(data.batches.stream(0))
    assert (x.shape, data.num_classes, data.batches.per_epoch) == ((5, 3, 224, 224), 2, 2)


@pytest.mark.parametrize("augmentation", ["crop_flip", "resized_crop_flip"])
def test_tiny_imagenet_as_it_is_unpacked(tiny, tmp_path, augmentation):
    place = tmp_path / "tiny-imagenet-200"
    for i in range(12):
        name = f"n0{i % 2}"
        picture(place / "train" / name / "images" / f"{name}_{i}.JPEG", i, (60, 60))
    (place / "wnids.txt").write_text("n01\nn00\n")
    (place / "words.txt").write_text("n00\tgoldfish, Carassius\nn01\tsalamander\n")
    config = replace(tiny, dataset="tiny_imagenet", augmentation=augmentation, validation=2, batch_size=5)
    data = open_data(config, World(), root=tmp_path)
    x, y = next(data.batches.stream(0))
    assert (x.shape, data.num_classes, len(y)) == ((5, 3, 64, 64), 2, 5)
    assert data.validation is not None
    assert data.validation.class_names == ("goldfish", "salamander")


def test_svhn_trains_from_its_mat_file(tiny, tmp_path, monkeypatch):
    scipy = pytest.importorskip("scipy.io")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 30), dtype=np.uint8)
    scipy.savemat(tmp_path / "train_32x32.mat", {"X": pixels, "y": (np.arange(30) % 10 + 1)[:, None]})
    monkeypatch.setattr(datasets.SVHN, "split_list", {"train": ["", "train_32x32.mat", None]})  # no checksum is known
    config = replace(tiny, dataset="svhn", augmentation="crop", validation=5, epochs=1, epsilon_warmup=0.5)
    data = open_data(config, World(), root=tmp_path)
    assert train(config, data, tmp_path / "run").steps == 3


def test_gtsrb_is_split_by_track(tiny, tmp_path):
    images = np.zeros((180, 32, 32, 3), np.uint8)
    images[:, :, :, 0] = (np.arange(180) // 30)[:, None, None]  # the number of its track
    np.savez(tmp_path / "gtsrb.npz", x_train=images, y_train=np.arange(180) // 60)
    config = replace(tiny, dataset="gtsrb", augmentation="none", validation=31)
    data = open_data(config, World(), root=tmp_path)
    assert data.validation is not None
    held = {*data.validation.x[:, 0, 0, 0].tolist()}
    batches = islice(data.batches.stream(0), data.batches.per_epoch)
    trained = {round(value * 255) for x, _ in batches for value in x[:, 0, 0, 0].tolist()}
    assert (len(data.validation), len(held), held & trained) == (60, 2, set())
    np.savez(tmp_path / "gtsrb.npz", x_train=images, y_train=np.arange(180)[::-1] // 60)
    with pytest.raises(ConfigError, match="not in the official order"):
        open_data(config, World(), root=tmp_path)
