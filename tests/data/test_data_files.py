"""Images in files: never all in memory at once, and measured as if they were."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sparta_hub.attacks import pgd
from sparta_hub.data import Images, load_images
from sparta_hub.data._images import PART
from sparta_hub.data.files import Files
from sparta_hub.errors import DataError
from sparta_hub.evaluation import Attack, evaluate
from sparta_hub.threat import ThreatModel

COUNT, BATCH = 3 * PART, 7


@pytest.fixture
def photos(tmp_path) -> Images:
    """Noise in three classes, whose sides differ and are brought to 8 pixels."""
    for i in range(COUNT):
        path = tmp_path / f"photos/test/class{i % 3}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (9 + i % 2, 8 + i % 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return load_images(f"{tmp_path}/photos", "test", size=8)


@pytest.fixture
def most(monkeypatch) -> list[int]:
    """Decoded images in memory: now, and the most there were."""
    counts, decode = [0, 0], Files.__getitem__

    def release(images: int) -> None:
        counts[0] -= images

    def counted(files: Files, index: torch.Tensor | slice) -> torch.Tensor:
        x = decode(files, index)
        counts[0] += len(x)
        counts[1] = max(counts)
        weakref.finalize(x, release, len(x))
        return x

    monkeypatch.setattr(Files, "__getitem__", counted)
    return counts


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))


def measured(data: Images, batch_size: int = BATCH):
    attack = Attack("pgd", pgd, ThreatModel(), {"steps": 2})
    return evaluate(network(), data, [attack], batch_size=batch_size, seed=0)


def test_indexing_is_that_of_the_tensor(photos):
    assert photos.shape == photos.x.shape == (COUNT, 3, 8, 8)
    assert photos.x.dtype == torch.uint8
    every = torch.arange(COUNT)
    for index in (slice(3, 9), slice(None, None, 50), every[:0], torch.tensor([5, 2, 5, -1]), photos.y == 1):
        assert torch.equal(photos.pixels[index], photos.x[index])
        assert torch.equal(photos.floats(index), photos.x[index].float() / 255)


def test_an_evaluation_holds_few_images_and_gives_the_flags_of_all_in_memory(photos, most):
    lazy = measured(photos)
    assert most == [0, 2 * PART]  # of the checksum, which holds a part while it gets the next one
    whole = measured(replace(photos, pixels=photos.x))
    assert lazy.protocol == whole.protocol  # the checksum, too
    assert lazy.outcome.correct == whole.outcome.correct
    assert lazy.outcome.attacks[0].broken == whole.outcome.attacks[0].broken
    assert 0 < sum(lazy.outcome.attacks[0].broken) < sum(lazy.outcome.correct)
    assert most[1] == COUNT  # so that the count above says something


def test_a_set_above_the_limit_of_memory_is_measured(photos, monkeypatch):
    monkeypatch.setattr("sparta_hub.data.files.MAX_BYTES", PART * 3 * 8 * 8)
    with pytest.raises(DataError, match="300 images of 8×8 need .* Load at most 100"):
        _ = photos.x
    assert len(measured(photos).outcome.correct) == COUNT


def test_other_pixels_or_labels_are_other_data(photos, tmp_path):
    before = photos.sha256(COUNT)
    assert before == load_images(f"{tmp_path}/photos", "test", size=8).sha256(COUNT)
    assert before != photos.sha256(COUNT - 1)
    assert before != load_images(f"{tmp_path}/photos", "test", size=9).sha256(COUNT)
    assert before != replace(photos, y=(photos.y + 1) % 3).sha256(COUNT)
    path = photos.pixels.files[-1][0]  # pyright: ignore
    pixels = np.array(Image.open(path))
    pixels[4, 4] ^= 255
    Image.fromarray(pixels).save(path)
    assert before != photos.sha256(COUNT)
    assert photos.sha256(COUNT - 1) == load_images(f"{tmp_path}/photos", "test", size=8).sha256(COUNT - 1)


@pytest.mark.parametrize(
    ("name", "blob"),
    [
        ("cut.png", None),
        ("page.jpg", b"<html>"),
        ("empty.png", b""),
        ("words.ppm", b"P6 4 x 255\n"),  # a ValueError of Pillow's
        ("bomb.ppm", b"P6 99999 99999 255\n"),
    ],
)
def test_a_damaged_file_is_named_before_anything_is_attacked(photos, tmp_path, name, blob):
    path = tmp_path / "photos/test/class0" / name
    path.write_bytes(blob or photos.pixels.files[0][0].read_bytes()[:-40])  # pyright: ignore

    def never(*_arguments: object) -> torch.Tensor:
        raise AssertionError("attacked")

    data = load_images(f"{tmp_path}/photos", "test", size=8)
    assert len(data) == COUNT + 1
    with pytest.raises(DataError, match=f"class0/{name} cannot be read as an image: "):
        evaluate(network(), data, [Attack("never", never, ThreatModel())], batch_size=BATCH, seed=0)
