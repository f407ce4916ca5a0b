"""Training images that lie on the training device as bytes, and are cropped and flipped there, whole batches at a time.

Everything random comes from the seed and the number of the epoch or batch: a run that goes on, or that several
processes share, sees the same images. Random numbers are drawn for the whole batch, of which each process keeps its
rows.
"""

from collections.abc import Generator
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sparta_hub.data import Images
from sparta_hub.seeds import derived_seed
from training.errors import ConfigError
from training.methods import Draws
from training.parallel import World

PAD = 4  # pixels around small images, of which a crop of the old size is taken


class Batches(Protocol):
    """Where training images come from."""

    @property
    def per_epoch(self) -> int:
        """Whole batches in one pass over the images."""
        ...

    def stream(self, first: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """This process's rows of batch number ``first`` and of all that follow, without end.

        Images (B, 3, H, W) are floats in [0, 1] and channels_last, labels (B,), both on the training device.
        """
        ...


@dataclass(frozen=True)
class InMemory:
    """Batches of images that fit into the memory of the device.

    Args:
        images: on the device.
        batch_size: of all processes together.
        augmentation: ``crop_flip``, ``crop`` or ``none``.
        seed: of order and augmentation.
        world: which rows are ours.
    """

    images: Images
    batch_size: int
    augmentation: str
    seed: int
    world: World

    @property
    def per_epoch(self) -> int:
        """Whole batches in one pass over the images."""
        return len(self.images) // self.batch_size

    def stream(self, first: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """See ``Batches``."""
        rows, device = self.world.rows(self.batch_size), self.world.device
        order = epoch_order(len(self.images), self.seed, first // self.per_epoch).to(device)
        for number in count(first):
            epoch, place = divmod(number, self.per_epoch)
            if place == 0:
                order = epoch_order(len(self.images), self.seed, epoch).to(device)
            index = order[place * self.batch_size :][rows]
            generator = torch.Generator(device).manual_seed(derived_seed(self.seed, "augment", number))
            x = self.images.x[index]
            if self.augmentation != "none":
                draws = Draws(generator, rows, self.batch_size)
                x = augment(x, draws, flip=self.augmentation == "crop_flip")
            yield x.contiguous(memory_format=torch.channels_last).float() / 255, self.images.y[index]


def epoch_order(images: int, seed: int, epoch: int) -> Tensor:
    """The order of the images in one pass, (images,), on the CPU so that it is the same everywhere."""
    return torch.randperm(images, generator=torch.Generator().manual_seed(derived_seed(seed, "order", epoch)))


def augment(x: Tensor, draws: Draws, *, flip: bool) -> Tensor:
    """Random crop after padding with black, and random flip; one shift and one flip an image.

    Args:
        x: this process's images (B, C, H, W), of any dtype.
        draws: random numbers.
        flip: mirror half of the images.

    Returns:
        Images (B, C, H, W), channels_last.
    """
    batch, _, height, width = x.shape
    padded = F.pad(x, (PAD, PAD, PAD, PAD))
    dy, dx = draws.integers(2 * PAD + 1, x.device), draws.integers(2 * PAD + 1, x.device)
    rows = dy[:, None] + torch.arange(height, device=x.device)
    columns = dx[:, None] + torch.arange(width, device=x.device)
    if flip:
        columns = torch.where(draws.integers(2, x.device)[:, None] == 1, columns.flip(1), columns)
    image = torch.arange(batch, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def check_enough(images: int, batch_size: int) -> None:
    """Raise ``ConfigError`` unless the images make at least one batch."""
    if images < batch_size:
        raise ConfigError(
            f"There are {images} images to train on and a batch has {batch_size}; expected at least one whole batch: "
            f"--set batch_size={max(1, images)} or a larger --limit."
        )
