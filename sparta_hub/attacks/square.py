"""Square: random search with queries alone, no gradients (Andriushchenko et al. 2020, arXiv:1912.00049)."""

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import (
    check_batch,
    check_counts,
    float32_inside,
    held_still,
    nothing_to_do,
    randomness,
)
from sparta_hub.attacks.losses import objective
from sparta_hub.errors import AttackError
from sparta_hub.threat import ThreatModel, per_image

HALVINGS = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)  # of the squares' area, for a budget of 10,000 queries


@float32_inside
def square(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    queries: int = 5000,
    area: float = 0.8,
    loss: str | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Change a random square of the image to the edge of the ball, and keep the change where the loss rises.

    L∞ begins with vertical stripes of ±ε and sets a square to ±ε, one sign a channel. L2 begins with a grid of bumps
    of total length ε, then moves the length of one square into another. An image leaves the batch once it is broken,
    so ``queries`` is the most any image is asked; the clean image is not asked.

    Args:
        model: takes images in [0, 1], gives logits; only its outputs are used.
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the wanted ones if ``threat.targeted``.
        threat: norm and radius.
        queries: forward passes per image.
        area: share of the image that the first square covers; 0.8 as AutoAttack has it.
        loss: a key of ``LOSSES``; by default the margin, or cross entropy if targeted, as in the paper.
        generator: source of randomness, on the device of ``x``; by default a fresh one with seed 0. One stream for the
            whole batch: the squares of an image depend on its place in it.

    Returns:
        Attacked images (B, C, H, W), in the ball and the box, with the largest loss seen.

    Raises:
        AttackError: bad images, classes or arguments.
    """
    check_batch(x, y)
    check_counts(queries=queries)
    if not 0 < area <= 1:
        raise AttackError(f"area is {area}; expected a share of the image: above 0, at most 1.")
    if nothing_to_do(x, threat):
        return x.clone()
    generator = randomness(generator, x)
    loss = loss or ("ce" if threat.targeted else "margin")
    change = _change_linf if threat.norm == "linf" else _change_l2
    with held_still(model), torch.no_grad():
        start = _stripes(x, threat, generator) if threat.norm == "linf" else _grid(x, threat, generator)
        best = threat.project(start, x)
        value, done = objective(model, y, threat.targeted, loss)(best)
        held = (~done).nonzero()[:, 0]
        for k in range(1, queries):
            if not len(held):
                break
            side = _side(area, k, queries, x)
            asked = threat.project(change(best[held], x[held], side, threat, generator), x[held])
            new_value, new_done = objective(model, y[held], threat.targeted, loss)(asked)
            better = new_done | (new_value > value[held])
            best[held] = torch.where(per_image(better, x), asked, best[held])
            value[held] = torch.where(better, new_value, value[held])
            held = held[~new_done]
    return best


def _side(area: float, query: int, queries: int, x: Tensor) -> int:
    """Side of the square at this query: its area is halved at ``HALVINGS``, stretched to the budget."""
    share = area / 2 ** sum(query * 10_000 > mark * queries for mark in HALVINGS)
    height, width = x.shape[2:]
    return min(max(round((share * height * width) ** 0.5), 1), height, width)


def _signs(shape: tuple[int, ...], x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator, device=x.device).to(x.dtype) * 2 - 1


def _corner(x: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Where a square begins, per image: rows and columns (B, 1, 1, 1)."""
    row, column = (
        torch.randint(0, size - side + 1, (len(x), 1, 1, 1), generator=generator, device=x.device)
        for size in x.shape[2:]
    )
    return row, column


def _offsets(x: Tensor, corner: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Row and column of every pixel as seen from the corner: (B, 1, H, 1) and (B, 1, 1, W)."""
    rows = torch.arange(x.shape[2], device=x.device).view(1, 1, -1, 1) - corner[0]
    return rows, torch.arange(x.shape[3], device=x.device).view(1, 1, 1, -1) - corner[1]


def _inside(x: Tensor, corner: tuple[Tensor, Tensor], side: int) -> Tensor:
    rows, columns = _offsets(x, corner)
    return (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)  # (B, 1, H, W)


def _stripes(x: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    return x + threat.eps * _signs((*x.shape[:2], 1, x.shape[3]), x, generator)


def _change_linf(best: Tensor, x: Tensor, side: int, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    edge = x + threat.eps * _signs((*x.shape[:2], 1, 1), x, generator)
    return torch.where(_inside(x, _corner(x, side, generator), side), edge, best)


def _bump(side: int, x: Tensor) -> Tensor:
    """The paper's η (side, side), of length 1: two halves of opposite sign, each rising in steps towards its middle."""

    def half(height: int, width: int) -> Tensor:
        n = height // 2
        rows = (torch.arange(height, device=x.device) - n).abs().view(-1, 1)
        columns = (torch.arange(width, device=x.device) - width // 2).abs().view(1, -1)
        depth = (n - torch.maximum(rows, columns)).clamp_min(0)  # rings around the middle
        terms = 1 / torch.arange(n + 1, 0, -1, device=x.device, dtype=x.dtype) ** 2  # 1/(n+1-k)², k = 0 … n
        return terms.cumsum(0)[depth]

    eta = half(side, side) if side < 2 else torch.cat([half(side, side // 2), -half(side, side - side // 2)], 1)
    return eta / eta.norm()


def _placed(x: Tensor, corner: tuple[Tensor, Tensor], side: int, generator: torch.Generator) -> Tensor:
    """The bump, for each image turned or not, at its corner: (B, 1, H, W)."""
    rows, columns = (offset.clamp(0, side - 1) for offset in _offsets(x, corner))
    eta = _bump(side, x)
    turn = torch.randint(0, 2, (len(x), 1, 1, 1), generator=generator, device=x.device) == 1
    return torch.where(turn, eta[columns, rows], eta[rows, columns]) * _inside(x, corner, side)


def _grid(x: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Bumps side by side, five to a side, each with a random sign per channel, of total length ε."""
    side = max(min(x.shape[2:]) // 5, 1)
    delta = torch.zeros_like(x)
    for row in range(0, x.shape[2] - side + 1, side):
        for column in range(0, x.shape[3] - side + 1, side):
            corner = torch.tensor(row, device=x.device), torch.tensor(column, device=x.device)
            corner = corner[0].expand(len(x), 1, 1, 1), corner[1].expand(len(x), 1, 1, 1)
            delta = delta + _placed(x, corner, side, generator) * _signs((*x.shape[:2], 1, 1), x, generator)
    return x + threat.eps * threat.step(delta)


def _change_l2(best: Tensor, x: Tensor, side: int, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """Empty one square and give its length, and what is left of ε, to another, bent towards a new bump."""
    delta = best - x
    to, away = _corner(x, side, generator), _corner(x, side, generator)
    new, old = _inside(x, to, side), _inside(x, away, side)
    left = (threat.eps**2 - (delta**2).sum((1, 2, 3), keepdim=True)).clamp_min(0) / x.shape[1]
    available = ((delta * (new | old)) ** 2).sum((2, 3), keepdim=True) + left  # (B, C, 1, 1), squared
    here = delta * new
    here = here / here.norm(dim=(2, 3), keepdim=True).clamp_min(1e-12)
    bent = here + _placed(x, to, side, generator) * _signs((*x.shape[:2], 1, 1), x, generator)
    bent = bent / bent.norm(dim=(2, 3), keepdim=True).clamp_min(1e-12) * available.sqrt()
    return x + torch.where(new, bent, torch.where(old, torch.zeros_like(delta), delta))
