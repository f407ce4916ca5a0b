import numpy as np
import pytest
import torch

from sparta_hub.data import data_root, load_images
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
    with pytest.raises(DataError, match=r"cifar10.npz is not there. It should hold x_train.*SPARTA_DATA"):
        load_images("cifar10", "test")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.zeros((2, 4, 4, 3)), "y_train": np.zeros(2)}, "x_train float64 .*expected uint8"),
        ({"x_train": np.zeros((2, 4, 4, 3), np.uint8), "y_train": np.zeros(3)}, r"y_train \(3,\)"),
        ({"x_train": np.zeros((2, 4, 4, 1), np.uint8), "y_train": np.zeros(2)}, "expected uint8 N x H x W x 3"),
        ({"other": np.zeros(1)}, "cannot be read as arrays x_train, y_train"),
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
