"""Accuracy on held-out training images during a run: which weights are best, and whether training has collapsed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from sparta_hub.attacks import pgd
from sparta_hub.data import Images
from sparta_hub.evaluation import Attack, evaluate
from sparta_hub.threat import ThreatModel
from training.config import TrainConfig

STEPS = 10  # PGD-10, as in the papers; steps of ε/4, pgd's own default
BATCH = 250

Aim = Literal["clean", "pgd"]  # fields of ``Validation``


@dataclass(frozen=True)
class Validation:
    """One measurement.

    Args:
        step: optimiser steps before it.
        epoch: the same in epochs.
        loss: mean training loss since the measurement before, as the method defines it.
        clean, pgd: accuracy in percent, without attack and under PGD-10.
    """

    step: int
    epoch: float
    loss: float
    clean: float
    pgd: float


def is_due(step: int, history: Sequence[Validation], every: float, steps: int) -> bool:
    """Whether a measurement comes after this step: after whole intervals of ``every`` steps, at the end, and once."""
    if step == 0 or (history and history[-1].step == step):
        return False
    return step == steps or int(step / every + 1e-9) > int((step - 1) / every + 1e-9)


def measure(model: nn.Module, images: Images, threat: ThreatModel) -> tuple[float, float]:
    """Clean and PGD-10 accuracy in percent; the starts of the attack are the same at every call."""
    report = evaluate(model, images, [Attack("pgd", pgd, threat, {"steps": STEPS})], batch_size=BATCH, seed=0)
    return report.clean.percent, report.robust(0).percent


def aim(config: TrainConfig) -> Aim:
    """What a run is after, and its best weights are chosen by: standard training never meets an attack."""
    return "clean" if config.method == "standard" else "pgd"


def best_of(history: Sequence[Validation], by: Aim = "pgd") -> Validation | None:
    """The first measurement with the highest accuracy under PGD-10, or without attack."""
    return max(history, key=lambda v: getattr(v, by), default=None)


def overfitted_at(history: Sequence[Validation]) -> int | None:
    """The step of the first measurement that shows catastrophic overfitting, if one does."""
    return next((v.step for i, v in enumerate(history) if has_overfitted(history[: i + 1])), None)


def has_overfitted(history: Sequence[Validation], *, share: float = 0.5, points: float = 10.0) -> bool:
    """Whether the last measurement shows catastrophic overfitting (Wong et al. 2020, arXiv:2001.03994).

    The rule: PGD-10 accuracy has fallen below ``share`` of the best one before, and by more than ``points`` percentage
    points, while the training loss is not higher than it was then. Training has then learned to withstand its own
    attack alone. Where the loss rises as well, training diverges, which is another thing.
    """
    best = best_of(history[:-1])
    if best is None:
        return False
    last = history[-1]
    return last.pgd < share * best.pgd and last.pgd < best.pgd - points and last.loss <= best.loss
