"""The loss around an image, on a plane through it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import ascent, check_batch, check_counts, check_finite, held_still, randomness
from sparta_hub.attacks.losses import objective
from sparta_hub.errors import AttackError


@dataclass(frozen=True)
class LossLandscape:
    """Losses on a square grid around each image.

    Args:
        offsets: how far along each direction (P,), from -radius to radius.
        losses: (B, P, P): the first of the two along the gradient's sign, the second along the random direction.
    """

    offsets: Tensor
    losses: Tensor


def loss_landscape(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    radius: float = 8 / 255,
    points: int = 21,
    loss: str = "ce",
    batch_size: int = 100,
    generator: torch.Generator | None = None,
) -> LossLandscape:
    """The loss at ``x + a·sign(∇L) + b·r``, cut with the box [0, 1], r random signs (Rademacher), one draw an image.

    A smooth rise along a is what an honest gradient promises; ridges and cliffs hide better directions. Drawn so by
    Xie et al. 2020, arXiv:2006.14536, and others. ``points``² forward passes and one backward pass an image.

    Args:
        model: takes images in [0, 1], gives logits; left as found.
        x: images (B, C, H, W) in [0, 1].
        y: their classes (B,).
        radius: largest a and b, in units of the image range.
        points: of the grid in each direction, 2 or more; an odd number has the image itself in the middle.
        loss: a key of ``LOSSES``.
        batch_size: points of the grid at a time.
        generator: draws r, on the device of ``x``; by default a fresh one with seed 0.
    """
    check_batch(x, y)
    check_counts(batch_size=batch_size)
    if points < 2 or not radius > 0 or len(x) == 0:
        raise AttackError(
            f"points is {points}, radius {radius}, images {len(x)}; expected 2 or more, above 0, 1 or more."
        )
    signs = torch.randint(0, 2, x.shape, generator=randomness(generator, x), device=x.device).to(x.dtype) * 2 - 1
    offsets = torch.linspace(-radius, radius, points, dtype=x.dtype, device=x.device)
    a, b = (axis.reshape(-1, 1, 1, 1) for axis in torch.meshgrid(offsets, offsets, indexing="ij"))
    grids = []
    with held_still(model):
        seen = ascent(objective(model, y, False, loss), x)
        check_finite([seen.finite])
        with torch.no_grad():
            for image, label, up, across in zip(x, y, seen.gradient.sign(), signs, strict=True):
                parts = [
                    objective(model, label.expand(len(i)), False, loss)((image + i * up + j * across).clamp(0, 1))[0]
                    for i, j in zip(a.split(batch_size), b.split(batch_size), strict=True)
                ]
                grids.append(torch.cat(parts).view(points, points))
    return LossLandscape(offsets, torch.stack(grids))
