"""A model whose worst points are known in closed form, and every attack with arguments small enough for a test."""

from functools import partial

import torch
from torch import nn

from sparta_hub import ThreatModel
from sparta_hub.attacks import apgd, apgd_targeted, cw, cw_linf, fab, fgsm, mpgd, pgd, square

SHAPE = (3, 6, 6)


class Plane(nn.Module):
    """Logits (s, -s, -10, -20) with s = w·x + b: class 0 on one side of a plane, class 1 on the other, none beyond."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.w = nn.Parameter(torch.randn(SHAPE, dtype=dtype, generator=torch.Generator().manual_seed(5)))
        self.b = nn.Parameter(-0.5 * self.w.detach().sum() + 0.1)
        self.bn = nn.BatchNorm2d(3, affine=False, dtype=dtype)  # in eval mode the identity, in train mode not

    def forward(self, x):
        s = (self.bn(x) * self.w).sum((1, 2, 3)) + self.b
        return torch.stack([s, -s, torch.full_like(s, -10), torch.full_like(s, -20)], 1)

    def score(self, x):
        with torch.no_grad():
            return (x * self.w).sum((1, 2, 3)) / (1 + self.bn.eps) ** 0.5 + self.b


def problem(n=6, dtype=torch.float64):
    """Model, images away from the box, and the classes they are given."""
    model = Plane(dtype).eval()
    x = torch.rand(n, *SHAPE, dtype=dtype, generator=torch.Generator().manual_seed(6)) * 0.4 + 0.3
    return model, x, (model.score(x) < 0).long()


def worst_point(model, x, y, threat):
    """Of the ball and, in L∞, of the box too: one step against the score for class 0, along it for class 1."""
    side = (2 * y - 1).view(-1, 1, 1, 1)
    w = model.w.detach()
    if threat.norm == "linf":
        return (x + side * threat.eps * w.sign()).clamp(0, 1)
    return x + side * threat.eps * w / w.norm()


def distances(model, x, norm):
    """To the plane, in the norm: |s| over the dual norm of its gradient."""
    w = model.w.detach() / (1 + model.bn.eps) ** 0.5
    return model.score(x).abs() / (w.abs().sum() if norm == "linf" else w.norm())


GRADIENT = {
    "fgsm": fgsm,
    "pgd": partial(pgd, steps=20),
    "pgd-margin": partial(pgd, steps=20, loss="margin"),
    "pgd-dlr": partial(pgd, steps=20, loss="dlr", schedule="cosine"),
    "pgd-restarts": partial(pgd, steps=10, restarts=3),
    "mpgd": partial(mpgd, steps=10),
    "apgd": partial(apgd, steps=30),
    "apgd-dlr": partial(apgd, steps=30, loss="dlr", restarts=2),
    "cw_linf": partial(cw_linf, steps=20),
}
SMALLEST = {"cw": partial(cw, steps=30, search_steps=4), "fab": partial(fab, steps=10)}
SQUARE = {"square": partial(square, queries=200)}
MANY = {"apgd_targeted": partial(apgd_targeted, steps=10)}

ALL = GRADIENT | SMALLEST | SQUARE | MANY
CASES = [(name, norm) for name in ALL for norm in ("linf", "l2") if (name, norm) != ("cw", "linf")]
DETERMINISTIC = {"pgd-no-start": partial(pgd, steps=5, random_start=False), "fgsm": fgsm, "mpgd": GRADIENT["mpgd"]}


def attack(name, model, x, y, threat: ThreatModel, **arguments):
    return ALL[name](model, x, y, threat, **arguments)
