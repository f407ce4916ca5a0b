"""Image files into one array of bytes: folders of classes, and anything that gives pictures one by one."""

import hashlib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sparta_hub.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 4 << 30  # images are held in memory as bytes: 28,000 of ImageNet at 224×224
_EXTENSIONS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm"}


def list_folder(folder: Path, splits: tuple[str, ...]) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    """The files of ``folder/SPLIT/CLASS/...``, of the first split in ``splits`` that is there, and the classes.

    Classes are the sorted names of the folders in all splits, so that a label means the same in each. The order of the
    files is mixed by a checksum of their names: the same everywhere, and no class comes first.
    """
    found = next((folder / split for split in splits if _classes(folder / split)), None)
    if found is None:
        raise DataError(f"{folder} has no {' or '.join(f'{split}/CLASS/*.png' for split in splits)}.")
    classes = sorted({name for split in folder.iterdir() for name in _classes(split)})
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in (found / name).rglob("*")
        if path.suffix.lower() in _EXTENSIONS
    ]
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


def read_files(
    files: list[tuple[Path, int]], *, size: int | None, crop: float | None, limit: int | None
) -> tuple[Tensor, Tensor]:
    """Decode files, see ``stack_pictures``; errors name the file."""
    import PIL.Image

    def pictures() -> Iterable[tuple["Image", int]]:
        for path, label in files:
            try:
                with PIL.Image.open(path) as image:
                    yield image.convert("RGB"), label
            except OSError as error:
                raise DataError(f"{path} cannot be read as an image: {error}") from error

    return stack_pictures(pictures(), len(files), size=size, crop=crop, limit=limit)


def stack_pictures(
    pictures: Iterable[tuple["Image", int]],
    count: int,
    *,
    size: int | None,
    crop: float | None = 1.0,
    pad: int = 0,
    limit: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Bring pictures to one size and stack them: uint8 (N, 3, size, size) and int64 (N,).

    Args:
        pictures: pictures with their labels.
        count: how many there are.
        size: height and width in pixels; None: all must be of one size already.
        crop: share of the shorter side that a centre crop keeps; None squeezes the whole picture into the square.
        pad: black pixels put around each.
        limit: take the first so many.

    Raises:
        DataError: pictures of different sizes, or more than 4 GiB.
    """
    count = min(count, limit or count)
    x, y = torch.empty(0), torch.empty(count, dtype=torch.int64)
    for i, (picture, label) in enumerate(islice(pictures, count)):
        image = torch.from_numpy(np.array(_sized(picture.convert("RGB"), size, crop)).transpose(2, 0, 1))
        if pad:
            image = torch.nn.functional.pad(image, (pad, pad, pad, pad))
        if i == 0:
            if (needed := count * image.numel()) > MAX_BYTES:
                raise DataError(
                    f"{count:,} images of {image.shape[1]}×{image.shape[2]} need {needed / 2**30:.1f} GiB of memory; "
                    f"the limit is {MAX_BYTES >> 30} GiB. Load at most {MAX_BYTES // image.numel():,}: limit=5000."
                )
            x = torch.empty(count, *image.shape, dtype=torch.uint8)
        if image.shape != x.shape[1:]:
            raise DataError(
                f"Images differ in size: {x.shape[2]}×{x.shape[3]} and {image.shape[1]}×{image.shape[2]} (height × "
                "width). Say which they should get: size=224."
            )
        x[i], y[i] = image, int(label)
    return x, y


def _sized(picture: "Image", size: int | None, crop: float | None) -> "Image":
    if size is None or (picture.size == (size, size) and crop in (1.0, None)):
        return picture
    from torchvision.transforms import functional

    if crop is None:
        return functional.resize(picture, [size, size])  # pyright: ignore  torchvision says Tensor
    return functional.center_crop(functional.resize(picture, [round(size / crop)]), [size])  # pyright: ignore


def _classes(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _mixed(path: Path) -> bytes:
    return hashlib.sha256(path.as_posix().encode()).digest()
