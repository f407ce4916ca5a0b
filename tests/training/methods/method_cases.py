"""A tiny network in float64, batches, the engine's loop around a method, and every method small enough for a test."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sparta_hub import ThreatModel
from training.methods import Batch, Draws, build_method

LINF, L2 = ThreatModel("linf", 0.1), ThreatModel("l2", 0.5)
CLASSES = 5
ARGUMENTS = {
    "standard": {}, "pgd": {"steps": 2, "step_size": 0.06}, "free": {"replays": 2}, "fgsm_rs": {}, "fgsm_ga": {},
    "fgsm_ckpt": {}, "fgsm_sdi": {"every": 2}, "n_fgsm": {}, "trades": {"steps": 2, "step_size": 0.06},
}  # fmt: skip
SMOOTHED = partial(F.cross_entropy, label_smoothing=0.3)
IN_BALL = [name for name in ARGUMENTS if name != "n_fgsm"]  # which leaves ball and box, as published


def network(activation: Callable[[], nn.Module] = nn.ReLU, seed=1, dtype=torch.float64) -> Any:
    """Two convolutions with BatchNorm, the same weights for the same seed."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), activation(),
            nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), activation(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, CLASSES),
        ).to(dtype)  # fmt: skip


def batch(step=0, threat=LINF, *, size=6, rows=slice(None), replays=1, dtype=torch.float64):
    """The batch of a step: its images depend on ``step // replays``, its draws on the step; some values on the box."""
    number = step // replays
    generator = torch.Generator().manual_seed(1000 + number)
    x = (torch.rand(size, 3, 8, 8, generator=generator, dtype=dtype) * 1.4 - 0.2).clamp(0, 1)
    y = torch.randint(CLASSES, (size,), generator=generator)
    draws = Draws(torch.Generator().manual_seed(step), rows, size)
    x = x.contiguous(memory_format=torch.channels_last)
    return Batch(x[rows], y[rows], threat, step, step - number * replays, draws)


def made(name, *, awp=0.0, dtype=torch.float64, **arguments) -> Any:
    return build_method(name, ARGUMENTS[name] | arguments, awp=awp, seed=3).to(dtype)


def descend(model, loss, optimizer, after_backward=lambda: None):
    optimizer.zero_grad()
    loss.backward()
    after_backward()
    optimizer.step()


def train(method, model, *, threat=LINF, first=0, steps=3, criterion=SMOOTHED, optimizer=None):
    """What the engine does."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.1, 0.9)
    model.train()
    for step in range(first, steps):
        now = batch(step, threat, replays=method.replays)
        descend(model, method.loss(model, now, criterion), optimizer, partial(method.after_backward, model))
    return model


def assert_same_state(a: nn.Module, b: nn.Module):
    for key, tensor in a.state_dict().items():
        torch.testing.assert_close(tensor, b.state_dict()[key], rtol=1e-9, atol=1e-11, msg=lambda m, k=key: f"{k}: {m}")
