import pickle
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from sparta_hub.data import CLASSES, SOURCES, Images, data_root, load_images
from sparta_hub.data._class_names import imagenet_classes
from sparta_hub.data.files import read_picture
from sparta_hub.errors import DataError


@pytest.fixture
def root(tmp_path):
    x = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    np.savez(tmp_path / "tiny.npz", x_train=x, y_train=np.array([0, 2]), x_test=x[:, :, :, 0], y_test=np.array([1, 1]))
    return tmp_path


def test_arrays_become_channel_first_bytes_and_floats_in_0_1(root):
    data = load_images("tiny", "train", root)
    assert data.x.shape == (2, 3, 4, 4)
    assert data.x[1, 2, 3, 3] == 95
    assert data.num_classes == 3
    assert data.floats(slice(0, 2)).max() == pytest.approx(95 / 255)
    assert data.floats(torch.tensor([1])).shape == (1, 3, 4, 4)


def test_grey_becomes_rgb(root):
    x = load_images("tiny", "test", root).x
    assert torch.equal(x[:, 0], x[:, 2])


def test_a_missing_set_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARTA_DATA", str(tmp_path))
    assert data_root() == tmp_path
    for typed, meant in (("cifar-10", "cifar10 or cifar100"), ("CIFAR10", "cifar10 or cifar100"), ("gtrsb", "gtsrb")):
        with pytest.raises(DataError, match=rf"{typed}.npz is not there. Did you mean {meant}\? It should hold"):
            load_images(typed, "test")
    with pytest.raises(DataError, match=r"cifar10.npz is not there. It should hold x_train.*SPARTA_DATA"):
        load_images("cifar10", "test")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.zeros((2, 4, 4, 3)), "y_train": np.zeros(2)}, "x_train float64 .*expected uint8"),
        ({"x_train": np.zeros((2, 4, 4, 3), np.uint8), "y_train": np.zeros(3)}, r"y_train float64 \(3,\)"),
        ({"x_train": np.zeros((2, 4, 4, 1), np.uint8), "y_train": np.zeros(2)}, "expected uint8 N x H x W x 3"),
        ({"x_train": np.zeros((2, 4, 4, 3), np.uint8), "y_train": np.array([0.2, 0.9])}, "float64 .*and N integers"),
        ({"x_train": np.zeros((2, 4, 4, 3), np.uint8), "y_train": np.zeros((2, 1), int)}, r"int64 \(2, 1\).*and N int"),
        ({"other": np.zeros(1)}, "bad.npz has no x_train and no y_train; it holds other"),
        ({}, "bad.npz has no x_train and no y_train; it holds nothing"),
        ({"x_train": np.array([{}], dtype=object), "y_train": np.zeros(1)}, "cannot be read as arrays"),
    ],
)
def test_malformed_arrays_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_images("bad", "train", tmp_path)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "bad.npz").write_text("<html>")
    with pytest.raises(DataError, match="cannot be read"):
        load_images("bad", "train", tmp_path)
    with (tmp_path / "bad.npz").open("wb") as file:
        np.save(file, np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="cannot be read as arrays x_train, y_train: "):
        load_images("bad", "train", tmp_path)
    np.savez(tmp_path / "whole.npz", x_train=np.zeros((2, 4, 4, 3), np.uint8), y_train=np.zeros(2, int))
    (tmp_path / "bad.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-40])
    with pytest.raises(DataError, match="cannot be read as arrays x_train, y_train: .*zip"):
        load_images("bad", "train", tmp_path)


def test_classes_are_counted_before_the_set_is_cut(tmp_path):
    x = np.zeros((3, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "own.npz", x_train=x, y_train=np.array([0, 6, 1]), x_test=x, y_test=np.array([0, 1, 4]))
    assert load_images("own", "test", tmp_path, limit=1).num_classes == 7


@pytest.mark.parametrize(
    ("pixels", "y", "message"),
    [
        (torch.rand(2, 3, 4, 4), torch.zeros(2).long(), r"pixels torch.float32 .*expected torch.uint8.*255 \* x"),
        (torch.zeros(2, 4, 4, 3).byte(), torch.zeros(2).long(), r"\(2, 4, 4, 3\); expected .*permute\(0, 3, 1, 2\)"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.zeros(2, 1).long(), r"labels torch.int64 \(2, 1\) for 2 images"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.zeros(3).long(), r"labels torch.int64 \(3,\) for 2 images"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.zeros(2), "labels torch.float32 .*expected a class number each"),
        (
            np.zeros((2, 3, 4, 4), np.uint8),
            torch.zeros(2).long(),
            r"pixels of type ndarray .*: torch.as_tensor\(pixels\)",
        ),
        (torch.zeros(2, 3, 4, 4).byte(), [0, 1], r"labels of type list; .*torch.as_tensor\(y\).long\(\)"),
    ],
)
def test_own_tensors_that_are_no_images_with_labels_are_refused(pixels, y, message):
    with pytest.raises(DataError, match=message):
        Images(pixels, y, "own")


def picture(value, size=(4, 4)):
    return Image.new("RGB", size, (value, 0, 255))


@pytest.fixture
def folder(tmp_path):
    """Two classes with images in both splits, a third with training images only."""
    for split, name, count in (("train", "cat", 1), ("train", "bee", 1), ("train", "ant", 1), ("val", "bee", 3)):
        place = tmp_path / "pets" / split / name
        place.mkdir(parents=True)
        for i in range(count):
            picture(10 * i).save(place / f"{i}.png")
    (tmp_path / "pets" / "val" / "cat").mkdir()
    picture(90).save(tmp_path / "pets" / "val" / "cat" / "wide.JPG", quality=100)
    (tmp_path / "pets" / "val" / "cat" / "notes.txt").write_text("no image")
    return tmp_path


def test_a_folder_of_images_by_name_and_by_path(folder):
    data = load_images("pets", "test", folder)
    assert data.classes == data.class_names == ("ant", "bee", "cat")  # of all splits, so that labels agree
    assert data.num_classes == 3
    assert sorted(data.y.tolist()) == [1, 1, 1, 2]
    assert sorted(data.x[data.y == 1][:, 0, 0, 0].tolist()) == [0, 10, 20]
    assert data.x.shape == (4, 3, 4, 4)
    again = load_images(f"{folder}/pets", "test")
    assert torch.equal(again.x, data.x)
    assert again.name == "pets"
    for stray in ("pets/val/.ipynb_checkpoints", "pets/val/bee/.ipynb_checkpoints", "pets/.cache/abc", "pets/raw/aaa"):
        (folder / stray).mkdir(parents=True)
        picture(7).save(folder / stray / "0.png")
    (folder / "pets/val/bee/._0.png").write_bytes(b"a file manager's note")
    again = load_images("pets", "test", folder)
    assert again.classes == data.classes
    assert torch.equal(again.x, data.x)
    first = load_images("pets", "test", folder, limit=2)
    assert torch.equal(first.x, data.x[:2])
    assert first.num_classes == 3


def test_pictures_of_16_bits_keep_their_shades(folder):
    Image.fromarray(np.array([[0, 32768], [65535, 256]], np.uint16)).save(folder / "pets/val/bee/deep.png")
    deep = read_picture(folder / "pets/val/bee/deep.png")
    assert np.array(deep)[..., 1].tolist() == [[0, 128], [255, 1]]
    values = np.array([[0, 32768], [65535, 256]], ">u2")
    (folder / "pets/val/bee/deep.ppm").write_bytes(b"P5 2 2 65535 " + values.tobytes())  # as "I", not as "I;16"
    assert np.array(read_picture(folder / "pets/val/bee/deep.ppm"))[..., 1].tolist() == [[0, 128], [255, 1]]


def test_images_are_brought_to_one_size_or_refused(folder):
    picture(50, (9, 6)).save(folder / "pets/val/bee/wide.png")
    with pytest.raises(DataError, match="Images differ in size: .*4×4.*Say which they should get: size=224"):
        _ = load_images("pets", "test", folder).x
    data = load_images("pets", "test", folder, size=6)
    assert data.x.shape == (5, 3, 6, 6)
    assert (data.x[data.y == 1][:, 2] == 255).all()


def test_an_archive_wins_over_a_folder_and_is_not_resized(root):
    (root / "tiny" / "test" / "a").mkdir(parents=True)
    assert len(load_images("tiny", "test", root)) == 2
    assert len(load_images("tiny", "test", root, limit=1)) == 1
    with pytest.raises(DataError, match="tiny.npz holds images of 4×4, not 8×8; .*Leave the size out .--input-size"):
        load_images("tiny", "test", root, size=8)
    with pytest.raises(DataError, match="limit is 0"):
        load_images("tiny", "test", root, limit=0)
    wrong: Any = "Train"
    with pytest.raises(DataError, match="split is 'Train'; expected 'train' or 'test'"):
        load_images("tiny", wrong, root)
    wrong = 2.5
    with pytest.raises(DataError, match="limit is 2.5; expected 1 or more images"):
        load_images("tiny", "test", root, limit=wrong)
    with pytest.raises(DataError, match="name is 2.5; expected that of a data set, such as 'cifar10', or a folder"):
        load_images(wrong, "test", root)
    assert torch.equal(load_images("tiny", "test", str(root)).x, load_images("tiny", "test", root).x)


def test_a_folder_may_be_a_path(folder):
    found, same = (load_images(name, "test") for name in (folder / "pets", str(folder / "pets")))
    assert (found.name, found.classes) == (same.name, same.classes)
    assert torch.equal(found.x, same.x)


def test_a_tilde_is_the_home_folder(root, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(root))
    assert len(load_images("tiny", "train", Path("~"))) == 2
    monkeypatch.setenv("SPARTA_DATA", "~")
    assert len(load_images("tiny", "train")) == 2
    monkeypatch.setenv("HOME", str(folder))
    assert load_images("~/pets", "test").name == "pets"


def test_too_many_bytes_at_once_are_refused_before_they_are_read(folder, monkeypatch):
    monkeypatch.setattr("sparta_hub.data.files.MAX_BYTES", 100)
    data = load_images("pets", "test", folder)
    with pytest.raises(DataError, match=r"4 images of 4×4 need 0.0 GiB.*Load at most 2: limit="):
        _ = data.x
    assert data.floats(slice(1, 3)).shape == (2, 3, 4, 4)


def test_broken_folders_are_refused(folder):
    with pytest.raises(DataError, match="nowhere is no folder; expected one with test/CLASS"):
        load_images("./nowhere", "test")
    (folder / "empty" / "train" / "a").mkdir(parents=True)
    with pytest.raises(DataError, match=r"empty has no test/CLASS/\*.png or val/CLASS"):
        load_images("empty", "test", folder)
    with pytest.raises(DataError, match="train has classes but no images"):
        load_images("empty", "train", folder)
    (folder / "pets/val/bee/0.png").write_text("<html>")
    with pytest.raises(DataError, match="0.png cannot be read as an image"):
        _ = load_images("pets", "test", folder).x


def drawn(path, size=4):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), "red").save(path)


def test_folders_may_be_links_each_taken_once(tmp_path):
    drawn(tmp_path / "elsewhere/1.png")
    drawn(tmp_path / "set/test/ant/0.TIF")
    (tmp_path / "set/test/ant/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/test/ant/around").symlink_to(tmp_path / "set/test/ant")
    (tmp_path / "set/test/bee").symlink_to(tmp_path / "elsewhere")
    assert sorted(load_images(tmp_path / "set", "test").y.tolist()) == [0, 0, 1]


def test_a_class_of_other_files_is_no_class_without_images(tmp_path):
    drawn(tmp_path / "test/ant/0.png")
    drawn(tmp_path / "test/bee/0.gif")
    with pytest.raises(DataError, match=r"0.gif is no image, as all of .*test.bee; expected .bmp, .jpeg, "):
        load_images(tmp_path, "test")
    drawn(tmp_path / "test/bee/0.png")  # files beside images, such as notes, are left alone
    assert len(load_images(tmp_path, "test")) == 2


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_without_labels_do_not_shift_the_labels(tmp_path, split):
    for path in ("train/ant/0.png", "train/wasp/0.png", "val/wasp/0.png"):
        drawn(tmp_path / path)
    assert load_images(tmp_path, split).y.tolist()[-1] <= 1
    drawn(tmp_path / "test/images/0.png")
    with pytest.raises(DataError, match=r"test has images, which .*train lacks, so labels would mean something else"):
        load_images(tmp_path, split)


@pytest.mark.parametrize("name", SOURCES)
def test_every_name_says_what_to_type(name, tmp_path):
    command = {"tiny_imagenet": "curl -LO", "imagenet": "mkdir -p"}.get(name, "python -c")
    with pytest.raises(DataError, match=rf"{name}.npz is not there.*Or type: {command}.*{tmp_path}"):
        load_images(name, "test", tmp_path)


@pytest.mark.parametrize("name", CLASSES)
def test_class_names_are_as_many_as_the_classes(name):
    expected = {"cifar100": 100, "gtsrb": 43}.get(name, 10)
    assert len(set(CLASSES[name])) == len(CLASSES[name]) == expected


def write_cifar(root, monkeypatch, cls, folder, key):
    """A data set of the right form with two images; its checksums, which torchvision knows, are set aside."""
    place = root / folder
    place.mkdir()
    entry = {"data": np.arange(2 * 3072, dtype=np.uint64).astype(np.uint8).reshape(2, 3072), key: [1, 9]}
    for name in ("train_part", "test_part"):
        (place / name).write_bytes(pickle.dumps(entry))
    (place / "meta").write_bytes(pickle.dumps({"names": [str(i) for i in range(10)]}))
    monkeypatch.setattr(cls, "train_list", [["train_part", None]])
    monkeypatch.setattr(cls, "test_list", [["test_part", None]])
    monkeypatch.setattr(cls, "meta", {"filename": "meta", "key": "names", "md5": None})
    return torch.from_numpy(entry["data"].reshape(2, 3, 32, 32))


@pytest.mark.parametrize(
    ("name", "cls", "folder", "key"),
    [
        ("cifar10", datasets.CIFAR10, "cifar-10-batches-py", "labels"),
        ("cifar100", datasets.CIFAR100, "cifar-100-python", "fine_labels"),
    ],
)
def test_cifar_through_torchvision(tmp_path, monkeypatch, name, cls, folder, key):
    x = write_cifar(tmp_path, monkeypatch, cls, folder, key)
    for split in ("train", "test"):
        data = load_images(name, split, tmp_path)
        assert torch.equal(data.x, x)
        assert data.y.tolist() == [1, 9]
        assert data.class_names == CLASSES[name]
    (tmp_path / folder / "meta").unlink()
    with pytest.raises(DataError, match=f"torchvision cannot read {name} under .*Type: python -c"):
        load_images(name, "test", tmp_path)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_grey_digits_through_torchvision_are_padded_to_32(tmp_path, name, folder):
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    x = np.arange(2 * 28 * 28, dtype=np.uint64).astype(np.uint8).reshape(2, 28, 28)
    for start in ("train", "t10k"):
        (raw / f"{start}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, 2, 28, 28) + x.tobytes())
        (raw / f"{start}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, 2) + bytes([3, 4]))
    data = load_images(name, "test", tmp_path)
    assert data.x.shape == (2, 3, 32, 32)
    assert torch.equal(data.x[:, 1, 2:30, 2:30], torch.from_numpy(x))
    assert data.x[:, :, :2].sum() == 0
    assert data.y.tolist() == [3, 4]


def test_gtsrb_through_torchvision_is_squeezed_to_32(tmp_path):
    place = tmp_path / "gtsrb" / "GTSRB" / "Final_Test" / "Images"
    place.mkdir(parents=True)
    (tmp_path / "gtsrb" / "GT-final_test.csv").write_text("Filename;ClassId\n0.ppm;42\n")
    picture(7, (40, 60)).save(place / "0.ppm")
    data = load_images("gtsrb", "test", tmp_path)
    assert data.x.shape == (1, 3, 32, 32)
    assert (data.x[0, 0] == 7).all()
    assert (data.y.tolist(), data.num_classes) == ([42], 43)


def test_svhn_through_torchvision(tmp_path, monkeypatch):
    (tmp_path / "test_32x32.mat").write_bytes(b"")
    monkeypatch.setattr(datasets.SVHN, "split_list", {"test": ["", "test_32x32.mat", None]})
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(DataError, match=r"torchvision needs scipy to read svhn; type: pip install scipy$"):
        load_images("svhn", "test", tmp_path)
    x = np.arange(2 * 3072, dtype=np.uint64).astype(np.uint8).reshape(32, 32, 3, 2)
    scipy, io = ModuleType("scipy"), ModuleType("scipy.io")
    setattr(io, "loadmat", lambda path: {"X": x, "y": np.array([[10], [3]])})  # noqa: B010  pyright knows no such name
    setattr(scipy, "io", io)  # noqa: B010
    monkeypatch.setitem(sys.modules, "scipy", scipy)
    monkeypatch.setitem(sys.modules, "scipy.io", io)
    data = load_images("svhn", "test", tmp_path)
    assert data.y.tolist() == [0, 3]
    assert torch.equal(data.x[1], torch.from_numpy(x[..., 1].transpose(2, 0, 1)))


def test_tiny_imagenet_as_it_is_unpacked(tmp_path):
    place = tmp_path / "tiny-imagenet-200"
    for name in ("n02", "n01"):
        (place / "train" / name / "images").mkdir(parents=True)
        picture(1, (64, 64)).save(place / "train" / name / "images" / f"{name}_0.JPEG")
    (place / "val" / "images").mkdir(parents=True)
    (place / "test" / "images").mkdir(parents=True)  # without labels: never used
    (place / "wnids.txt").write_text("n02\nn01\n")
    (place / "words.txt").write_text("n01\tgoldfish, Carassius\nn02\tsalamander\nn03\tother\n")
    (place / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t1\t1\n")
    picture(200, (64, 64)).save(place / "val" / "images" / "val_0.JPEG")
    data = load_images("tiny_imagenet", "test", tmp_path)
    assert data.class_names == ("goldfish", "salamander")
    assert (data.y.tolist(), data.x.shape) == ([1], (1, 3, 64, 64))
    assert sorted(load_images("tiny_imagenet", "train", tmp_path).y.tolist()) == [0, 1]


def test_imagenet_is_a_folder_with_the_usual_crop(tmp_path):
    for name in ("n01440764", "n01443537"):
        (tmp_path / "imagenet" / "val" / name).mkdir(parents=True)
        picture(5, (500, 400)).save(tmp_path / "imagenet" / "val" / name / "a.JPEG")
    data = load_images("imagenet", "test", tmp_path)
    assert data.x.shape == (2, 3, 224, 224)
    assert data.class_names == ("n01440764", "n01443537")
    assert len(imagenet_classes()) == 1000
    assert imagenet_classes()[:2] == ("tench", "goldfish")
