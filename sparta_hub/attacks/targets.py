"""Which class a targeted attacker wants."""

import torch
from torch import Tensor

from sparta_hub.attacks.gradient import randomness
from sparta_hub.errors import AttackError


def uniform_wrong_class(y: Tensor, num_classes: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw a class other than ``y`` for every image, each with probability 1 / (num_classes - 1).

    Args:
        y: true classes (B,).
        num_classes: number of classes, 2 or more.
        generator: source of randomness, on the device of ``y``; by default a fresh one with seed 0.

    Returns:
        Wanted classes (B,), for a threat with ``targeted=True``. The choice of Xie et al. 2019, arXiv:1812.03411.
    """
    if num_classes < 2:
        raise AttackError(f"num_classes is {num_classes}; expected 2 or more, or there is no wrong class.")
    step = torch.randint(1, num_classes, y.shape, generator=randomness(generator, y), device=y.device)
    return (y + step) % num_classes


def ranked_wrong_class(logits: Tensor, y: Tensor, rank: int) -> Tensor:
    """The class with the ``rank``-th highest logit (rank 1 is the highest) among those other than ``y``: (B,).

    Args:
        logits: of the clean images, (B, classes).
        y: true classes (B,).
        rank: 1 to classes - 1.
    """
    if not 1 <= rank < logits.shape[1]:
        raise AttackError(f"rank is {rank}; expected 1 to {logits.shape[1] - 1} for {logits.shape[1]} classes.")
    return logits.scatter(1, y[:, None], float("-inf")).topk(rank, dim=1).indices[:, -1]
