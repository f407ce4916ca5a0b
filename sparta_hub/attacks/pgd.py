"""PGD: repeated steps of steepest ascent, projected (Madry et al. 2018, arXiv:1706.06083)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import (
    ascent,
    check_batch,
    check_counts,
    check_finite,
    check_positive,
    float32_inside,
    held_still,
    nothing_to_do,
    randomness,
)
from sparta_hub.attacks.losses import changes, closer, objective, predicted
from sparta_hub.errors import AttackError
from sparta_hub.threat import ThreatModel, per_image

SCHEDULES: dict[str, Callable[[int, int], float]] = {  # (step k, steps) -> factor of the step size
    "constant": lambda k, steps: 1.0,
    "cosine": lambda k, steps: (1 + math.cos(math.pi * k / steps)) / 2,
}


@float32_inside
def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    steps: int = 20,
    step_size: float | None = None,
    random_start: bool = True,
    loss: str = "ce",
    schedule: str = "constant",
    restarts: int = 1,
    early_stop: bool = False,
    watch: Callable[[int, Tensor], None] | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``x_{k+1} = Π(x_k + α_k · s(∇L))``, s the sign (L∞) or the normalised gradient (L2); the last iterate counts.

    Args:
        model: takes images in [0, 1], gives logits.
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the wanted ones if ``threat.targeted``.
        threat: norm and radius.
        steps: number of steps.
        step_size: length of a step in the threat's norm, the first of a schedule; by default all add up to 2.5·ε.
        random_start: begin at a random point of the ball.
        loss: a key of ``LOSSES``.
        schedule: a key of ``SCHEDULES``: how the step size runs over the steps.
        restarts: how often to begin anew, for the images that hold; the first success of an image is kept, else an
            end that changes the prediction, else the one with the largest loss: no start takes back what another won.
        early_stop: the first success of an image is kept, and later steps cost nothing for it. It breaks what the last
            iterates break, and a few more that were broken on the way.
        watch: is told, before each step k from 0 on, what is climbed (B,) at x_k; in a restart, and with
            ``early_stop``, of the images that hold.
        generator: source of randomness, on the device of ``x``; by default a fresh one with seed 0. One stream for the
            whole batch: the start of an image depends on its place in it.

    Returns:
        Attacked images (B, C, H, W), in the ball and the box.

    Raises:
        AttackError: bad images, classes or arguments, or a gradient that is not finite.
    """
    check_batch(x, y)
    check_counts(steps=steps, restarts=restarts)
    if schedule not in SCHEDULES:
        raise AttackError(f"schedule is {schedule!r}; expected one of {', '.join(SCHEDULES)}.")
    if restarts > 1 and not random_start:
        raise AttackError(
            f"restarts is {restarts} without a random start; expected 1, as all of them would be the same."
        )
    if nothing_to_do(x, threat):
        return x.clone()
    generator = randomness(generator, x)
    shape = [SCHEDULES[schedule](k, steps) for k in range(steps)]
    step_size = 2.5 * threat.eps / sum(shape) if step_size is None else step_size
    check_positive(step_size=step_size)
    lengths = [factor * step_size for factor in shape]

    def run(x: Tensor, y: Tensor) -> Tensor:
        x_adv = threat.random_start(x, generator) if random_start else x.clone()
        climb = objective(model, y, threat.targeted, loss)
        result, rest, finite = x_adv.clone(), torch.arange(len(x), device=x.device), []
        for k, length in enumerate(lengths):
            seen = ascent(climb, x_adv)
            if watch is not None:
                watch(k, seen.value)
            finite.append(seen.finite)
            ahead = threat.project(x_adv + length * threat.step(seen.gradient), x)
            if early_stop and seen.reached.any():
                result[rest] = x_adv
                x, y, ahead, rest = (rows[~seen.reached] for rows in (x, y, ahead, rest))
                if not len(rest):
                    break
                climb = objective(model, y, threat.targeted, loss)
            x_adv = ahead
        else:
            result[rest] = x_adv
        check_finite(finite)
        return result

    with held_still(model):
        best = run(x, y)
        if restarts > 1:
            _restart(run, model, x, y, threat, loss, restarts, best)
    return best


def _restart(
    run: Callable[[Tensor, Tensor], Tensor],
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    loss: str,
    restarts: int,
    best: Tensor,
) -> None:
    """Run again on the images that hold, and write into ``best`` what succeeds or comes closer."""
    with torch.no_grad():
        clean = predicted(model, x) if threat.targeted else y
        value, done = objective(model, y, threat.targeted, loss)(best)
        changed = changes(model, best, clean, threat.targeted)
        for _ in range(restarts - 1):
            held = (~done).nonzero()[:, 0]
            if not len(held):
                return
            x_adv = run(x[held], y[held])
            new_value, new_done = objective(model, y[held], threat.targeted, loss)(x_adv)
            new_changed = changes(model, x_adv, clean[held], threat.targeted)
            better = new_done | closer((new_changed, new_value), (changed[held], value[held]))
            best[held] = torch.where(per_image(better, x), x_adv, best[held])
            value[held] = torch.where(better, new_value, value[held])
            changed[held] = torch.where(better, new_changed, changed[held])
            done[held] = new_done
