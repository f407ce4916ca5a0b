"""Which training images are held out for validation, and which share of the rest is used."""

import torch
from torch import Tensor

from sparta_hub.seeds import derived_seed
from training.errors import ConfigError

TRACK = 30  # images of one road sign that drove by
SHORT = (33, 689, 19)  # the one class of GTSRB with a track of 29 images, how many images it has, and which track it is


def tracks(y: Tensor) -> Tensor:
    """The track that each training image of GTSRB belongs to, (N,).

    The images of a track are near-duplicates, so that a split by image would measure memory. The arrays do not name the
    tracks, but keep their order: classes ascend, and within a class 30 images make a track (seen in the images too:
    neighbours differ little but for jumps at every thirtieth); track 19 of class 33 has 29.

    Args:
        y: labels in the official order (N,).

    Raises:
        ConfigError: the labels do not ascend, so that the tracks cannot be told.
    """
    if (y.diff() < 0).any():
        raise ConfigError(
            "The training images of gtsrb are not in the official order, so that tracks cannot be told apart. Give "
            "gtsrb.npz or torchvision's files, or train without validation: --set validation=0."
        )
    first = torch.searchsorted(y, y)  # where the class of each image begins
    place = torch.arange(len(y)) - first
    label, count, track = SHORT
    if int((y == label).sum()) == count:
        place += (y == label) & (place >= track * TRACK + TRACK - 1)
    return y * len(y) + place // TRACK


def hold_out(groups: Tensor, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Split images into those to train on and those to validate on; no group is in both.

    Args:
        groups: the group of each image (N,); all different where images stand for themselves.
        count: how many to hold out, up to the rest of a group.
        seed: which ones.

    Returns:
        Indices to train on and to validate on, each ascending.

    Raises:
        ConfigError: nothing would be left to train on.
    """
    if count >= len(groups):
        raise ConfigError(f"validation is {count} of {len(groups)} training images; expected fewer.")
    _, group = groups.unique(return_inverse=True)
    generator = torch.Generator().manual_seed(derived_seed(seed, "validation"))
    rank = torch.randperm(int(group.max()) + 1, generator=generator)[group]  # of each image's group
    order = rank.argsort(stable=True)
    last = int(rank[order[count - 1]]) if count else -1
    held = rank <= last
    return (~held).nonzero()[:, 0], held.nonzero()[:, 0]


def share(index: Tensor, limit: float, *, seed: int) -> Tensor:
    """A random share ``limit`` of ``index``, at least one image, in the same order."""
    if not 0 < limit <= 1:
        raise ConfigError(f"limit is {limit}; expected a share above 0 and up to 1, such as 0.01.")
    if limit == 1 or len(index) == 0:
        return index
    generator = torch.Generator().manual_seed(derived_seed(seed, "limit"))
    chosen = torch.randperm(len(index), generator=generator)[: max(1, round(limit * len(index)))]
    return index[chosen.sort().values]
