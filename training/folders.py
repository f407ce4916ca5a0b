"""Photographs in folders: decoded, cropped and flipped by worker processes while the device trains.

Every image gets its own random numbers from the seed, the batch and its place in it, so that neither the number of
workers or processes nor an interruption changes what is seen.
"""

import hashlib
import signal
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import hflip, pil_to_tensor, resized_crop

from sparta_hub.data import SOURCES, Images, data_root
from sparta_hub.data.files import list_folder, list_tiny_imagenet, open_files, read_picture
from sparta_hub.errors import DataError
from sparta_hub.seeds import derived_seed
from training.batches import epoch_order
from training.parallel import World

SIZE = 224  # pixels, of sets that do not say
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # share of the area and form of a crop, as usual for ImageNet
Files = Sequence[tuple[Path, int]]
Key = tuple[int, int]  # which file, and the seed of its augmentation


def find_files(name: str, root: Path | None = None) -> tuple[list[tuple[Path, int]], tuple[str, ...], int]:
    """The training files of a set with their labels, the classes, and the size of its images in pixels.

    Args:
        name: of a set that lies in a folder, or the path of a folder (with a slash).
        root: see ``load_images``.

    Raises:
        DataError: there is no such folder.
    """
    source, root = SOURCES.get(name), root or data_root()
    paths = [Path(name)] if "/" in name else [root / name, *([root / source.folder] if source else [])]
    folder = next((path for path in paths if path.is_dir() and path != root), None)
    if folder is None:
        get = "For sets in memory type --set augmentation=crop_flip."
        if source and not source.dataset:  # torchvision's are no folders of photographs once it has fetched them
            get = f"To get it: {source.get.format(root=root, split='train')}"
        raise DataError(
            f"There is no folder {paths[0]} with train/CLASS/*.jpg; augmentation resized_crop_flip reads photographs "
            f"from one. {get}"
        )
    tiny = (folder / "wnids.txt").is_file()
    files, classes = list_tiny_imagenet(folder, "train") if tiny else list_folder(folder, ("train",))
    return files, classes, (source.size if source else None) or SIZE


@dataclass(frozen=True)
class FromFolder:
    """Batches of photographs.

    Args:
        files: to train on, with their labels.
        size: height and width they are brought to.
        batch_size: of all processes together.
        seed: of order and augmentation.
        world: which rows are ours.
        workers: processes that decode; 0: this one does.
    """

    files: Files
    size: int
    batch_size: int
    seed: int
    world: World
    workers: int

    @property
    def per_epoch(self) -> int:
        """Whole batches in one pass over the images."""
        return len(self.files) // self.batch_size

    def stream(self, first: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """See ``training.batches.Batches``."""
        device = self.world.device
        loader = DataLoader(
            _Crops(self.files, self.size),
            batch_sampler=cast(Sampler[list[Any]], _Order(self, first)),
            num_workers=self.workers,
            pin_memory=device.type == "cuda",
            worker_init_fn=_leave_signals,
        )
        for x, y in loader:
            there = x.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
            yield there.float() / 255, y.to(device, non_blocking=True)


@dataclass(frozen=True)
class _Order:
    """This process's keys of batch number ``first`` and of all that follow."""

    batches: FromFolder
    first: int

    def __iter__(self) -> Iterator[list[Key]]:
        own = self.batches
        rows = own.world.rows(own.batch_size)
        places = range(own.batch_size)[rows]
        order = epoch_order(len(own.files), own.seed, self.first // own.per_epoch)
        for number in count(self.first):
            epoch, place = divmod(number, own.per_epoch)
            if place == 0:
                order = epoch_order(len(own.files), own.seed, epoch)
            index = order[place * own.batch_size :][rows].tolist()
            yield [(i, derived_seed(own.seed, "augment", number, j)) for i, j in zip(index, places, strict=True)]


@dataclass(frozen=True)
class _Crops(Dataset[tuple[Tensor, int]]):
    """Decoded files: a random part of random form, brought to one size, half of them mirrored; uint8 (3, H, W)."""

    files: Files
    size: int

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        index, seed = key
        path, label = self.files[index]
        image = read_picture(path)
        with torch.random.fork_rng(devices=[]):  # torchvision's crops know no generator
            torch.manual_seed(seed)
            box = RandomResizedCrop.get_params(image, list(SCALE), list(RATIO))  # pyright: ignore
            mirrored = bool(torch.rand(()) < 0.5)
        image = resized_crop(image, *box, [self.size, self.size])  # pyright: ignore  torchvision says Tensor
        return pil_to_tensor(hflip(image) if mirrored else image), label


def _leave_signals(_worker: int) -> None:
    """Ctrl-C and SIGTERM, which may come to all processes, are for the one that trains; it ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _survive_once)


def _survive_once(number: int, _frame: FrameType | None) -> None:
    """The second one ends a worker, as it does the process that trains; an interpreter that exits sends two."""
    signal.signal(number, signal.SIG_DFL)


def files_sha256(files: Files) -> str:
    """Checksum of names, sizes and labels of files: reading them all would take as long as training on them."""
    rows = (f"{path.parent.name}/{path.name} {path.stat().st_size} {label}\n" for path, label in files)
    return hashlib.sha256("".join(rows).encode()).hexdigest()


def read_held_out(files: Files, name: str, classes: tuple[str, ...], size: int) -> Images:
    """Validation images in memory, cropped in the middle as test images are."""
    source = SOURCES.get(name)
    pixels, y = open_files(files, size=size, crop=source.crop if source else 1.0)
    return Images(pixels[:], y, Path(name).name, classes)
