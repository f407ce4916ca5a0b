"""Images in files, decoded when they are asked for; and pictures that anything gives one by one, as one array."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sparta_hub.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 4 << 30  # of images in memory at once: 28,000 of ImageNet at 224×224
SPLITS = ("train", "test", "val", "validation")  # folders that may hold a part of a set
_EXTENSIONS = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}  # those of torchvision


def list_folder(folder: Path, splits: tuple[str, ...]) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    """The files of ``folder/SPLIT/CLASS/...``, of the first split in ``splits`` that is there, and the classes.

    Classes are the sorted names of the folders in all ``SPLITS``, so that a label means the same in each; as texts, as
    torchvision sorts them (1, 10, 2). What has a name that begins with a dot is left alone, such as the copies that
    notebooks and file managers leave behind. The order of the files is mixed by a checksum of their names: the same
    everywhere, and no class comes first.

    Raises:
        DataError: there are no classes or no images, a class of files that are none, or a class that ``train`` lacks.
    """
    found = next((folder / split for split in splits if _classes(folder / split)), None)
    if found is None:
        raise DataError(f"{folder} has no {' or '.join(f'{split}/CLASS/*.png' for split in splits)}.")
    of_split = {split: _classes(folder / split) for split in SPLITS}
    for split, names in of_split.items() if of_split["train"] else ():
        if strangers := sorted({*names} - {*of_split["train"]}):
            raise DataError(
                f"{folder / split} has {strangers[0]}, which {folder / 'train'} lacks, so labels would mean something "
                "else. Expected the same classes; put what is none of them, such as images without labels, elsewhere."
            )
    classes = sorted({name for names in of_split.values() for name in names})
    files = [(path, label) for label, name in enumerate(classes) for path in _images_below(found / name)]
    if not files:
        raise DataError(f"{found} has classes but no images; expected {', '.join(sorted(_EXTENSIONS))}.")
    return sorted(files, key=lambda item: _mixed(item[0].relative_to(found))), tuple(classes)


def list_tiny_imagenet(folder: Path, split: str) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    """The files of ``tiny-imagenet-200`` as it is unpacked, where ``val/val_annotations.txt`` holds the labels."""
    classes = sorted((folder / "wnids.txt").read_text().split())
    if split == "train":
        files = [(path, i) for i, name in enumerate(classes) for path in (folder / "train" / name).rglob("*.JPEG")]
    else:
        rows = (line.split("\t") for line in (folder / "val/val_annotations.txt").read_text().splitlines())
        files = [(folder / "val/images" / row[0], classes.index(row[1])) for row in rows]
    words = dict(line.split("\t", 1) for line in (folder / "words.txt").read_text().splitlines() if "\t" in line)
    names = tuple(words.get(name, name).split(",")[0] for name in classes)
    return sorted(files, key=lambda item: _mixed(item[0].relative_to(folder))), names


@dataclass(frozen=True)
class Files:
    """Images in files. Indexing decodes them, and gives what the tensor that they stand for would: uint8 (N, 3, H, W).

    Args:
        files: with their labels.
        height, width: of all images, in pixels.
        size, crop: see ``stack_pictures``.
    """

    files: Sequence[tuple[Path, int]]
    height: int
    width: int
    size: int | None
    crop: float | None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of all of them: (N, 3, H, W)."""
        return len(self.files), 3, self.height, self.width

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Decode those at ``index``.

        Raises:
            DataError: a file is damaged (the message names it) or of another size; or these are more than 4 GiB.
        """
        chosen = [self.files[i] for i in torch.arange(len(self.files))[index].tolist()]
        pictures = ((read_picture(path), label) for path, label in chosen)
        x, _ = stack_pictures(pictures, len(chosen), size=self.size, crop=self.crop, shape=self.shape[1:])
        return x


def open_files(files: Sequence[tuple[Path, int]], *, size: int | None, crop: float | None) -> tuple[Files, Tensor]:
    """The images in files, and their labels int64 (N,). Without a size all must be as large as the first one is."""
    _, height, width = _as_bytes(read_picture(files[0][0]), size, crop).shape
    return Files(files, height, width, size, crop), torch.tensor([label for _, label in files])


def read_picture(path: Path) -> "Image":
    """Decode a file into an RGB picture of its own size.

    Raises:
        DataError: it is no image that can be read.
    """
    import PIL.Image

    try:
        with PIL.Image.open(path) as image:
            if image.mode.startswith("I"):  # Pillow would cut what is brighter than 255 of 65,535
                grey = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
                return PIL.Image.fromarray(grey.astype(np.uint8)).convert("RGB")
            return image.convert("RGB")
    except Exception as error:  # of a damaged file: OSError, but also SyntaxError, ValueError and Pillow's own
        raise DataError(f"{path} cannot be read as an image: {error}") from error


def stack_pictures(
    pictures: Iterable[tuple["Image", int]],
    count: int,
    *,
    size: int | None,
    crop: float | None = 1.0,
    pad: int = 0,
    limit: int | None = None,
    shape: tuple[int, ...] | None = None,
) -> tuple[Tensor, Tensor]:
    """Bring pictures to one size and stack them: uint8 (N, 3, size, size) and int64 (N,).

    Args:
        pictures: pictures with their labels.
        count: how many there are.
        size: height and width in pixels; None: all must be of one size already.
        crop: share of the shorter side that a centre crop keeps; None squeezes the whole picture into the square.
        pad: black pixels put around each.
        limit: take the first so many.
        shape: (3, H, W) that all must have; by default that of the first.

    Raises:
        DataError: pictures of different sizes, or more than 4 GiB.
    """
    count = min(count, limit or count)
    x = None if shape is None else _empty(count, shape)
    y = torch.empty(count, dtype=torch.int64)
    for i, (picture, label) in enumerate(islice(pictures, count)):
        image = _as_bytes(picture, size, crop)
        if pad:
            image = torch.nn.functional.pad(image, (pad, pad, pad, pad))
        if x is None:
            x = _empty(count, image.shape)
        if image.shape != x.shape[1:]:
            raise DataError(
                f"Images differ in size: {x.shape[2]}×{x.shape[3]} and {image.shape[1]}×{image.shape[2]} (height × "
                "width). Say which they should get: size=224."
            )
        x[i], y[i] = image, int(label)
    assert x is not None  # torchvision has no empty sets
    return x, y


def _empty(count: int, shape: tuple[int, ...]) -> Tensor:
    """Bytes for images; too many are refused before they are decoded."""
    size = shape[0] * shape[1] * shape[2]
    if (needed := count * size) > MAX_BYTES:
        raise DataError(
            f"{count:,} images of {shape[1]}×{shape[2]} need {needed / 2**30:.1f} GiB of memory; "
            f"the limit is {MAX_BYTES >> 30} GiB. Load at most {MAX_BYTES // size:,}: limit=5000."
        )
    return torch.empty(count, *shape, dtype=torch.uint8)


def _as_bytes(picture: "Image", size: int | None, crop: float | None) -> Tensor:
    return torch.from_numpy(np.array(_sized(picture.convert("RGB"), size, crop)).transpose(2, 0, 1))


def _sized(picture: "Image", size: int | None, crop: float | None) -> "Image":
    if size is None or (picture.size == (size, size) and crop in (1.0, None)):
        return picture
    from torchvision.transforms import functional

    if crop is None:
        return functional.resize(picture, [size, size])  # pyright: ignore  torchvision says Tensor
    return functional.center_crop(functional.resize(picture, [round(size / crop)]), [size])  # pyright: ignore


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _images_below(folder: Path) -> list[Path]:
    """The images of a class; links are followed, as torchvision does, to each folder once."""
    files = [*_files_below(folder)]
    images = [path for path in files if path.suffix.lower() in _EXTENSIONS]
    if files and not images:
        raise DataError(f"{files[0]} is no image, as all of {folder}; expected {', '.join(sorted(_EXTENSIONS))}.")
    return images


def _files_below(folder: Path) -> Iterator[Path]:
    seen = set[str]()
    for path, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(path)) in seen:  # a link to a folder around it would lead in circles
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(path, name) for name in sorted(files) if not name.startswith("."))


def _mixed(path: Path) -> bytes:
    return hashlib.sha256(path.as_posix().encode()).digest()
