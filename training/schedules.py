"""How the learning rate and ε run over the steps."""

import math

from training.config import Schedule


def factor(schedule: Schedule, step: int, steps: int, steps_per_epoch: float) -> float:
    """What ``lr`` is multiplied with at this optimiser step.

    A warm-up, where there is one, rises linearly to the start of the schedule proper, which has the steps that remain;
    milestones are counted from the beginning of the run all the same.

    Args:
        schedule: see there.
        step: from 0.
        steps: of the whole run.
        steps_per_epoch: for milestones and warm-up, which are in epochs.
    """
    warmup = min(schedule.warmup * steps_per_epoch, steps)
    if step < warmup:
        return (step + 1) / max(warmup, 1) * _shape(schedule, 0, steps, 0.0)
    left = steps - math.ceil(warmup)
    return _shape(schedule, step - math.ceil(warmup), left, step / steps_per_epoch)


def _shape(schedule: Schedule, step: int, steps: int, epoch: float) -> float:
    match schedule.kind:
        case "one_cycle" | "cyclic":
            peak = (0.5 if schedule.kind == "cyclic" else schedule.rise) * steps
            return min((step + 1) / peak, 1.0) if step < peak else max(0.0, (steps - step) / (steps - peak))
        case "multistep":
            return schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
        case "cosine":
            return (1 + math.cos(math.pi * step / steps)) / 2
        case "constant":
            return 1.0


def epsilon_factor(warmup: float, step: int, steps_per_epoch: float) -> float:
    """What ε is multiplied with: it grows linearly over the first ``warmup`` epochs."""
    return min(1.0, (step + 1) / (warmup * steps_per_epoch)) if warmup else 1.0
