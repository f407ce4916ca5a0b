"""Data sets by name: ``NAME.npz`` arrays under a data root, and the small real set that ships with this package."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sparta_hub.errors import DataError

Split = Literal["train", "test"]

CLASSES: dict[str, tuple[str, ...]] = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "fashion_mnist": (
        "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Images:
    """Images and labels in memory.

    Args:
        x: uint8 (N, 3, H, W).
        y: int64 (N,).
        name: name of the data set.
    """

    x: Tensor
    y: Tensor
    name: str

    def __len__(self) -> int:
        return len(self.y)

    def floats(self, index: Tensor | slice) -> Tensor:
        """The images at ``index`` as float32 in [0, 1]."""
        return self.x[index].float() / 255

    @property
    def num_classes(self) -> int:
        """Number of classes: of the names known for this set, or one more than the largest label."""
        return len(CLASSES.get(self.name, ())) or int(self.y.max()) + 1


def data_root() -> Path:
    """Where ``NAME.npz`` files are looked for: ``$SPARTA_DATA``, else ``~/.cache/sparta_hub/data``."""
    return Path(os.environ.get("SPARTA_DATA") or Path.home() / ".cache/sparta_hub/data")


def load_images(name: str, split: Split, root: Path | None = None) -> Images:
    """Load one split of ``root/NAME.npz``: x_train, x_test (uint8, N×H×W×3) and y_train, y_test (integers).

    Raises:
        DataError: the file is not there, or is not such a file; the message says how to get it.
    """
    path = (root or data_root()) / f"{name}.npz"
    if not path.is_file():
        raise DataError(
            f"{path} is not there. It should hold x_train, x_test (uint8, N x H x W x 3), y_train, y_test (integers); "
            "write it with numpy.savez, or set SPARTA_DATA to the folder that has it."
        )
    return _read(path, name, split)


def load_bundled(split: Split) -> Images:
    """The small real set inside this package: the first 200 training and 50 test images a class of Fashion-MNIST (MIT
    licence), shuffled once, padded to 32×32, grey as RGB."""
    return _read(Path(__file__).parent / "assets" / "fashion_mnist_small.npz", "fashion_mnist", split)


def _read(path: Path, name: str, split: Split) -> Images:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read as arrays x_{split}, y_{split}: {error}") from error
    if x.ndim == 3:  # grey
        x = np.repeat(x[..., None], 3, axis=3)
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] != 3 or len(x) != len(y) or len(y) == 0:
        raise DataError(
            f"{path} has x_{split} {x.dtype} {x.shape} and y_{split} {y.shape}; expected uint8 N x H x W x 3 and N."
        )
    return Images(
        torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))), torch.from_numpy(y.astype(np.int64)), name
    )
