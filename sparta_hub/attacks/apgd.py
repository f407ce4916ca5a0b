"""APGD: PGD that sets its own step size (Croce & Hein 2020, arXiv:2003.01690, algorithm 1)."""

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import (
    Objective,
    ascent,
    check_batch,
    check_counts,
    check_finite,
    float32_inside,
    held_still,
    nothing_to_do,
    randomness,
)
from sparta_hub.attacks.losses import changes, closer, objective, predicted
from sparta_hub.threat import ThreatModel, per_image

MOMENTUM = 0.75  # α of the paper: the weight of the new step against the last one
RISES = 0.75  # rho: a step is halved where fewer than this share of the steps since the last checkpoint went up


@float32_inside
def apgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    steps: int = 100,
    loss: str = "ce",
    restarts: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``z = Π(x_k + η·s(∇L))``, ``x_{k+1} = Π(x_k + α(z - x_k) + (1 - α)(x_k - x_{k-1}))``, η = 2ε at first.

    At checkpoints, an image that went up too rarely, or got no better since η was last the same, halves η and goes
    back to its best point. Images that are broken leave the batch at the next checkpoint.

    Args:
        model: takes images in [0, 1], gives logits.
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the wanted ones if ``threat.targeted``.
        threat: norm and radius.
        steps: number of steps, each one forward and backward pass; one more pass at the start.
        loss: a key of ``LOSSES``: ``"ce"``, ``"dlr"``; with a targeted threat the targeted DLR.
        restarts: how often to begin anew, for the images that hold.
        generator: source of randomness, on the device of ``x``; by default a fresh one with seed 0. One stream for the
            whole batch: the start of an image depends on its place in it.

    Returns:
        Attacked images (B, C, H, W), in the ball and the box: per image the last success seen, else the point
        with the largest loss.

    Raises:
        AttackError: bad images, classes or arguments, or a gradient that is not finite.
    """
    check_batch(x, y)
    check_counts(steps=steps, restarts=restarts)
    best = x.clone()
    if nothing_to_do(x, threat):
        return best
    generator = randomness(generator, x)
    held = torch.arange(len(x), device=x.device)
    highest = torch.full((len(x),), float("-inf"), device=x.device, dtype=x.dtype)
    changed = torch.zeros_like(y, dtype=torch.bool)
    with held_still(model), torch.no_grad():
        again = threat.targeted and restarts > 1  # else there is nothing to compare
        clean = predicted(model, x) if again else y
        for _ in range(restarts):
            x_adv, value, done = _run(model, x[held], y[held], threat, steps, loss, generator)
            moved = changes(model, x_adv, clean[held], again)
            better = done | closer((moved, value), (changed[held], highest[held]))
            best[held[better]] = x_adv[better]
            changed[held[better]] = moved[better]
            highest[held[better]] = value[better].to(highest.dtype)
            held = held[~done]
            if not len(held):
                break
    return best


def checkpoints(steps: int) -> list[int]:
    """``⌈p_j·steps⌉`` with p = 0, 0.22 and then ``p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)``, below 1."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return sorted({math.ceil(round(share * steps, 6)) for share in shares[1:-1]})  # round: 0.57 * 100 > 57


@dataclass(frozen=True)
class _State:
    """Where n images stand; every tensor has n rows. ``top_*`` is the best point, ``*_then`` the last checkpoint's."""

    index: Tensor
    x: Tensor
    y: Tensor
    now: Tensor
    before: Tensor
    gradient: Tensor
    value: Tensor
    top: Tensor
    top_gradient: Tensor
    top_value: Tensor
    broken: Tensor
    success: Tensor
    step_size: Tensor
    rises: Tensor
    value_then: Tensor
    halved_then: Tensor


def _run(
    model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, steps: int, loss: str, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One start: attacked images, their loss (B,), and whether the aim is reached (B,)."""
    climb = objective(model, y, threat.targeted, loss)
    start = threat.random_start(x, generator)
    seen = ascent(climb, start)
    finite = [seen.finite]
    none = torch.zeros_like(seen.reached)
    eta = torch.full_like(x[:, 0, 0, 0], 2 * threat.eps)
    state = _State(
        torch.arange(len(x), device=x.device), x, y, start, start, seen.gradient, seen.value, start, seen.gradient,
        seen.value, seen.reached, start, eta, torch.zeros_like(eta), seen.value, none,
    )  # fmt: skip
    result, values, done = start.clone(), seen.value.clone(), none.clone()
    marks, last = checkpoints(steps), 0
    for k in range(steps):
        state, flag = _step(climb, state, threat, MOMENTUM if k else 1.0)
        finite.append(flag)
        if k + 1 in marks or k + 1 == steps:
            point = torch.where(per_image(state.broken, x), state.success, state.top)
            result[state.index], values[state.index], done[state.index] = point, state.top_value, state.broken
            state = _rows(_adapt(state, RISES * (k + 1 - last)), ~state.broken)
            last = k + 1
            if not len(state.x):
                break
            climb = objective(model, state.y, threat.targeted, loss)
    check_finite(finite)
    return result, values, done


def _rows(s: _State, keep: Tensor) -> _State:
    return replace(s, **{field.name: getattr(s, field.name)[keep] for field in fields(s)})


def _step(climb: Objective, s: _State, threat: ThreatModel, alpha: float) -> tuple[_State, Tensor]:
    """One step of every image, momentum included, and whether its gradient is finite."""
    ahead = threat.project(s.now + per_image(s.step_size, s.x) * threat.step(s.gradient), s.x)
    point = threat.project(s.now + alpha * (ahead - s.now) + (1 - alpha) * (s.now - s.before), s.x)
    seen = ascent(climb, point)
    higher, success = seen.value > s.top_value, per_image(seen.reached, s.x)
    return replace(
        s,
        now=point,
        before=s.now,
        gradient=seen.gradient,
        value=seen.value,
        top=torch.where(per_image(higher, s.x), point, s.top),
        top_gradient=torch.where(per_image(higher, s.x), seen.gradient, s.top_gradient),
        top_value=torch.where(higher, seen.value, s.top_value),
        broken=s.broken | seen.reached,
        success=torch.where(success, point, s.success),
        rises=s.rises + (seen.value > s.value),
    ), seen.finite


def _adapt(s: _State, rises_wanted: float) -> _State:
    """Both conditions of the paper; where one holds, halve the step and go back to the best point."""
    halve = (s.rises < rises_wanted) | (~s.halved_then & (s.top_value <= s.value_then))
    back = per_image(halve, s.x)
    return replace(
        s,
        now=torch.where(back, s.top, s.now),
        gradient=torch.where(back, s.top_gradient, s.gradient),
        value=torch.where(halve, s.top_value, s.value),
        step_size=torch.where(halve, s.step_size / 2, s.step_size),
        rises=torch.zeros_like(s.rises),
        value_then=s.top_value,
        halved_then=halve,
    )
