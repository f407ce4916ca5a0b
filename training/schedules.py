"""How the learning rate, momentum and ε run over the steps."""

import math

from training.config import Schedule, TrainConfig


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
    left = steps - math.ceil(warmup)
    if step < warmup:
        return min(1.0, (step + 1) / warmup) * _shape(schedule, 0, max(left, 1), 0.0, steps_per_epoch)
    return _shape(schedule, step - math.ceil(warmup), left, step / steps_per_epoch, steps_per_epoch)


def _shape(schedule: Schedule, step: int, steps: int, epoch: float, steps_per_epoch: float) -> float:
    match schedule.kind:
        case "one_cycle" | "cyclic":
            peak = (0.5 if schedule.kind == "cyclic" else schedule.rise) * steps
            return min((step + 1) / peak, 1.0) if step < peak else (steps - step) / (steps - peak)
        case "one_cycle_by_epoch":
            return _by_epoch(int(step / steps_per_epoch), math.ceil(steps / steps_per_epoch), schedule.rise)
        case "multistep":
            return schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
        case "cosine":
            return (1 + math.cos(math.pi * step / steps)) / 2
        case "constant":
            return 1.0


def _by_epoch(epoch: int, epochs: int, rise: float) -> float:
    """What torch's ``OneCycleLR(max_lr=1, total_steps=epochs, pct_start=rise)`` gives after so many steps."""
    end = 1 / 25 if epoch < rise * epochs - 1 else 1 / 25 / 10_000
    return end + (1 - end) * _height(epoch, epochs, rise)


def _height(epoch: int, epochs: int, rise: float) -> float:
    """How far up ``one_cycle_by_epoch`` is: from 0 to 1 at the peak, and back, along cosines.

    A rise that ends with the first epoch leaves that one at the top, where torch divides by zero.
    """
    peak = rise * epochs - 1
    if epoch == peak:
        return 1.0
    way = epoch / peak if epoch < peak else (epochs - 1 - epoch) / (epochs - 1 - peak)
    return (1 - math.cos(math.pi * way)) / 2


def momentum_dip(schedule: Schedule, step: int, steps: int, steps_per_epoch: float) -> float:
    """What is taken off the momentum at this step; see ``factor``."""
    if not schedule.momentum_dip:
        return 0.0
    epoch, epochs = int(step / steps_per_epoch), math.ceil(steps / steps_per_epoch)
    return schedule.momentum_dip * _height(epoch, epochs, schedule.rise)


def epsilon_factor(warmup: float, step: int, steps_per_epoch: float) -> float:
    """What ε is multiplied with: it grows linearly over the first ``warmup`` epochs."""
    return min(1.0, (step + 1) / (warmup * steps_per_epoch)) if warmup else 1.0


def gentler(config: TrainConfig) -> str:
    """What may help a run that has diverged, in words, with what to type."""
    schedule = config.schedule
    rate = f"--set lr={config.lr / 2:.4g}"
    if schedule.kind in ("one_cycle", "one_cycle_by_epoch", "cyclic"):  # they rise slowly anyway
        return f"a smaller learning rate: {rate}"
    return f"a smaller learning rate or a longer warm-up: {rate} --set schedule.warmup={schedule.warmup + 1:g}"
