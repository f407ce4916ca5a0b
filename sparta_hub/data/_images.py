"""Data sets by name: ``NAME.npz`` arrays under a data root, torchvision's files there, folders of images, and the small
real set that ships with this package. Nothing here uses the network: a set that is missing says what to type."""

import difflib
import os
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from sparta_hub.data._class_names import CLASSES, imagenet_classes
from sparta_hub.data.files import Files, list_folder, list_tiny_imagenet, open_files, stack_pictures
from sparta_hub.errors import DataError, short
from sparta_hub.identity import parts_sha256
from sparta_hub.paths import typed_path

Split = Literal["train", "test"]
PART = 100  # images that are decoded at a time for the checksum


@dataclass(frozen=True)
class Source:
    """Where a named set can come from when there is no ``NAME.npz``.

    Args:
        dataset: torchvision's class; empty for a folder of images.
        marker: what lies under the data root once torchvision has fetched it; ``{split}`` is filled in.
        by_split: torchvision's class takes ``split="test"`` instead of ``train=False``.
        pad: black pixels put around each image.
        size: height and width that its images get; None keeps theirs.
        crop: share of the shorter side that a centre crop keeps; None squeezes the whole image into the square.
        test: folders that may hold the test images; ``val`` where the test labels are secret.
        folder: another name that its folder may have.
        get: what to type to get it; ``{root}`` and ``{split}`` are filled in.
    """

    dataset: str = ""
    marker: str = ""
    by_split: bool = False
    pad: int = 0
    size: int | None = None
    crop: float | None = 1.0
    test: tuple[str, ...] = ("test", "val", "validation")
    folder: str = ""
    get: str = ""


_FETCH = "python -c \"from torchvision.datasets import {0}; {0}('{{root}}', {1}download=True)\""
_BY_SPLIT = "split='{split}', "
_TINY = "curl -LO http://cs231n.stanford.edu/tiny-imagenet-200.zip && unzip -q tiny-imagenet-200.zip -d '{root}'"
_IMAGENET = "mkdir -p '{root}/imagenet' and put image-net.org's images there as val/n01440764/*.JPEG (train/ likewise)"

SOURCES: dict[str, Source] = {
    "cifar10": Source("CIFAR10", "cifar-10-batches-py", get=_FETCH.format("CIFAR10", "")),
    "cifar100": Source("CIFAR100", "cifar-100-python", get=_FETCH.format("CIFAR100", "")),
    "svhn": Source("SVHN", "{split}_32x32.mat", by_split=True, get=_FETCH.format("SVHN", _BY_SPLIT)),
    "gtsrb": Source("GTSRB", "gtsrb/GTSRB", by_split=True, size=32, crop=None, get=_FETCH.format("GTSRB", _BY_SPLIT)),
    "fashion_mnist": Source("FashionMNIST", "FashionMNIST/raw", pad=2, get=_FETCH.format("FashionMNIST", "")),
    "mnist": Source("MNIST", "MNIST/raw", pad=2, get=_FETCH.format("MNIST", "")),
    "tiny_imagenet": Source(size=64, test=("val",), folder="tiny-imagenet-200", get=_TINY),
    "imagenet": Source(size=224, crop=0.875, test=("val",), get=_IMAGENET),
}


@dataclass(frozen=True)
class Images:
    """Images and labels.

    Args:
        pixels: uint8 (N, 3, H, W): in memory, or in files that are decoded whenever they are asked for.
        y: int64 (N,).
        name: name of the data set.
        classes: names of its classes; empty: those of ``CLASSES``, if it has them.
        labels: number of classes of the whole set, where nobody knows their names and these images are a part of it.

    Raises:
        DataError: pixels or labels are of another type or shape, or not as many.
    """

    pixels: Tensor | Files
    y: Tensor
    name: str
    classes: tuple[str, ...] = ()
    labels: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, Tensor | Files) or not isinstance(self.y, Tensor):
            raise DataError(
                f"{self.name} has pixels of type {type(self.pixels).__name__} and labels of type "
                f"{type(self.y).__name__}; expected two tensors: torch.as_tensor(pixels), torch.as_tensor(y).long()."
            )
        shape = self.shape
        if isinstance(self.pixels, Tensor) and (self.pixels.dtype != torch.uint8 or len(shape) != 4):
            raise DataError(
                f"{self.name} has pixels {self.pixels.dtype} {shape}; expected torch.uint8 (N, 3, H, W), of 0 to 255: "
                "for floats in [0, 1] (255 * x).round().byte()."
            )
        if shape[1] not in (1, 3) and shape[3] in (1, 3):
            raise DataError(f"{self.name} has pixels {shape}; expected (N, 3, H, W): pixels.permute(0, 3, 1, 2).")
        if self.y.dtype != torch.int64 or self.y.shape != shape[:1]:
            raise DataError(
                f"{self.name} has labels {self.y.dtype} {tuple(self.y.shape)} for {shape[0]} images; expected a class "
                f"number each, torch.int64 ({shape[0]},)."
            )

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, 3, H, W)."""
        return tuple(self.pixels.shape)

    @property
    def x(self) -> Tensor:
        """All images in memory, uint8 (N, 3, H, W); files beyond 4 GiB are refused (``DataError``)."""
        return self.pixels[:]

    def floats(self, index: Tensor | slice) -> Tensor:
        """The images at ``index`` as float32 in [0, 1]; no others are decoded."""
        return self.pixels[index].float() / 255

    def sha256(self, count: int) -> str:
        """Checksum of the first ``count`` images and labels, with few in memory at a time."""
        # Of pixels and not of files, though that decodes every file once more: other versions of a decoder, or another
        # size, give other images of the same file. And a damaged file is found before hours of attacks, not after. A
        # file that is replaced between this and its attack is not noticed.
        parts = (self.pixels[i : min(i + PART, count)] for i in range(0, count, PART))
        y = self.y[:count]
        return parts_sha256([("x", torch.uint8, (count, *self.shape[1:]), parts), ("y", y.dtype, y.shape, [y])])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of the labels; empty if nobody knows them."""
        return self.classes or CLASSES.get(self.name, ())

    @property
    def num_classes(self) -> int:
        """Number of classes: of the names known for this set, or one more than the largest label of all its splits."""
        return len(self.class_names) or self.labels or int(self.y.max()) + 1


def data_root() -> Path:
    """Where data sets are looked for: ``$SPARTA_DATA``, else ``~/.cache/sparta_hub/data``."""
    return typed_path(os.environ.get("SPARTA_DATA") or "~/.cache/sparta_hub/data", DataError)


def load_images(
    name: str | Path, split: Split, root: str | Path | None = None, *, size: int | None = None, limit: int | None = None
) -> Images:
    """Load one split of a data set, the first that is there of:

    1. ``root/NAME.npz``: x_train, x_test (uint8, N×H×W×3 or N×H×W) and y_train, y_test (integers);
    2. the files that torchvision keeps under ``root`` for this name (``SOURCES``), read by torchvision itself;
    3. a folder ``root/NAME/SPLIT/CLASS/*.png``; a name with a slash is such a folder itself (``./photos``). Its images
       come in one fixed mixed order, so that the first few are a fair sample, whatever the order of the classes. They
       are not read yet but decoded when they are asked for: the set may be larger than memory.

    Args:
        name: name of the set, or a folder: a ``Path``, or a text with a slash.
        split: where test labels are secret (ImageNet), ``"test"`` is the validation set.
        root: ``data_root()`` by default.
        size: height and width in pixels; None keeps what the set has. Arrays are never resized.
        limit: load the first so many images only.

    Raises:
        DataError: the set is not there (the message says what to type to get it), is malformed, or is no folder and too
            large for memory.
    """
    if limit is not None and (type(limit) is not int or limit < 1):
        raise DataError(f"limit is {limit!r}; expected 1 or more images.")
    if split not in get_args(Split):
        raise DataError(f"split is {short(split)}; expected 'train' or 'test'.")
    root = typed_path(root, DataError) if root else data_root()
    if not isinstance(name, str | Path):
        raise DataError(f"name is {short(name)}; expected that of a data set, such as 'cifar10', or a folder.")
    if isinstance(name, Path) or "/" in name or "\\" in name:
        folder = typed_path(name, DataError)
        return _from_folder(folder, Source(), folder.name, split, size, limit)
    source = SOURCES.get(name, Source())
    path = root / f"{name}.npz"
    if path.is_file():
        return _shortened(_read(path, name, split), size, limit)
    if source.dataset and (root / source.marker.format(split=split)).exists():
        return _from_torchvision(source, name, split, root, size, limit)
    for folder in (root / name, root / (source.folder or name)):
        if folder.is_dir():
            return _from_folder(folder, source, name, split, size, limit)
    get = f" Or type: {source.get.format(root=root, split=split)}" if source.get else ""
    near = difflib.get_close_matches(name.lower(), SOURCES) if name not in SOURCES else []
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise DataError(
        f"{path} is not there.{hint} It should hold x_train, x_test (uint8, N x H x W x 3), y_train, y_test "
        f"(integers); write it with numpy.savez, or set SPARTA_DATA to the folder that has it. Or put images into "
        f"{root / name}/{split}/CLASS/*.png.{get}"
    )


def load_bundled(split: Split) -> Images:
    """The small real set inside this package: the first 200 training and 50 test images a class of Fashion-MNIST (MIT
    licence), shuffled once, padded to 32×32, grey as RGB."""
    return _read(Path(__file__).parent.parent / "assets" / "fashion_mnist_small.npz", "fashion_mnist", split)


def _shortened(data: Images, size: int | None, limit: int | None) -> Images:
    if size is not None and data.x.shape[2:] != (size, size):
        height, width = data.x.shape[2:]
        raise DataError(
            f"{data.name}.npz holds images of {height}×{width}, not {size}×{size}; arrays are not resized. Leave the "
            "size out (--input-size, image_size), or give a folder of images."
        )
    return replace(data, pixels=data.x[:limit], y=data.y[:limit])


def _from_torchvision(
    source: Source, name: str, split: Split, root: Path, size: int | None, limit: int | None
) -> Images:
    from torchvision import datasets

    which: dict[str, Any] = {"split": split} if source.by_split else {"train": split == "train"}
    try:
        pictures = getattr(datasets, source.dataset)(root, download=False, **which)
    except ModuleNotFoundError as error:  # SVHN's files need scipy
        package = (error.name or "").partition(".")[0]
        raise DataError(f"torchvision needs {package} to read {name}; type: pip install {package}") from error
    except (RuntimeError, OSError) as error:
        get = source.get.format(root=root, split=split)
        raise DataError(f"torchvision cannot read {name} under {root} ({error}) Type: {get}") from error
    x, y = stack_pictures(
        pictures, len(pictures), size=size or source.size, crop=source.crop, pad=0 if size else source.pad, limit=limit
    )
    return Images(x, y, name)


def _from_folder(folder: Path, source: Source, name: str, split: Split, size: int | None, limit: int | None) -> Images:
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected one with {split}/CLASS/*.png, or the name of a data set.")
    if (folder / "wnids.txt").is_file():
        files, classes = list_tiny_imagenet(folder, split)
    else:
        files, classes = list_folder(folder, ("train",) if split == "train" else source.test)
    pixels, y = open_files(files[:limit], size=size or source.size, crop=source.crop)
    if name == "imagenet" and len(classes) == 1000:
        classes = imagenet_classes()
    return Images(pixels, y, name, classes)


def _read(path: Path, name: str, split: Split) -> Images:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:  # numpy leaves a damaged one open
            if lacking := {f"x_{split}", f"y_{split}"} - set(arrays.files):
                found = ", ".join(arrays.files) or "nothing"
                raise DataError(f"{path} has no {' and no '.join(sorted(lacking))}; it holds {found}.")
            x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
            labels = [arrays[key] for key in ("y_train", "y_test") if key in arrays.files]
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:  # TypeError: one array, not several
        raise DataError(f"{path} cannot be read as arrays x_{split}, y_{split}: {error}") from error
    if x.ndim == 3:  # grey
        x = np.repeat(x[..., None], 3, axis=3)
    integers = np.issubdtype(y.dtype, np.integer) and y.shape == x.shape[:1]
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] != 3 or not integers or len(y) == 0:
        raise DataError(
            f"{path} has x_{split} {x.dtype} {x.shape} and y_{split} {y.dtype} {y.shape}; expected uint8 N x H x W x 3 "
            "and N integers."
        )
    pixels = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    classes = 1 + max(int(found.max()) for found in labels if found.size)
    return Images(pixels, torch.from_numpy(y.astype(np.int64)), name, labels=classes)
