"""Carlini & Wagner 2017, arXiv:1608.04644: the smallest L2 change that reaches the aim, and the L∞ form by PGD."""

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import (
    ascent,
    check_batch,
    check_counts,
    check_finite,
    check_not_negative,
    check_positive,
    check_threat,
    float32_inside,
    held_still,
    nothing_to_do,
)
from sparta_hub.attacks.losses import objective
from sparta_hub.attacks.pgd import pgd
from sparta_hub.errors import AttackError
from sparta_hub.threat import ThreatModel, per_image


@float32_inside
def cw(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    steps: int = 200,
    search_steps: int = 9,
    initial_c: float = 1.0,
    confidence: float = 0.0,
    learning_rate: float = 0.01,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Minimise ``‖δ‖₂² + c·max(κ - margin(x + δ), 0)`` over δ with x + δ in the box; c by bisection, one an image.

    The attack has no radius of its own: it looks for the closest success. A success farther away than ``threat.eps``
    is brought back to the ball, where it is mostly none. For the distances themselves give a radius that holds every
    image, ``ThreatModel("l2", 1e6)``. Without tanh, unlike the paper: its derivative is 0 where a pixel is 0 or 1,
    as most are in drawings and digits, and such pixels would not move. So δ is cut with the box after each step.

    Args:
        model: takes images in [0, 1], gives logits.
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the wanted ones if ``threat.targeted``.
        threat: norm ``"l2"``, and the largest radius that counts.
        steps: steps of Adam for every c.
        search_steps: values of c: after a success halfway down, after a failure ten times or halfway up.
        initial_c: the first c.
        confidence: κ, the margin that is wanted, in logits.
        learning_rate: of Adam, in units of the image range; falls linearly to 0.
        generator: not used, nothing is drawn; here so that all attacks are called alike.

    Returns:
        Attacked images (B, C, H, W), in the ball and the box; the image itself where nothing was found.

    Raises:
        AttackError: another norm than L2, bad images, classes or arguments, or a gradient that is not finite.
    """
    check_batch(x, y)
    check_counts(steps=steps, search_steps=search_steps)
    check_positive(initial_c=initial_c, learning_rate=learning_rate)
    check_not_negative(confidence=confidence)
    check_threat(threat)
    if threat.norm != "l2":
        raise AttackError(f"norm is {threat.norm!r}; cw expects 'l2'. For 'linf' use cw_linf.")
    if nothing_to_do(x, threat):
        return x.clone()
    best, distance = x.clone(), torch.full_like(x[:, 0, 0, 0], float("inf"))
    c, low, high = torch.full_like(distance, initial_c), torch.zeros_like(distance), distance.clone()
    finite = []
    with held_still(model):
        climb = objective(model, y, threat.targeted, "margin")
        for _ in range(search_steps):
            delta, mean, square = torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)
            found = torch.zeros_like(c, dtype=torch.bool)
            for k in range(1, steps + 1):
                x_adv = (x + delta).clamp(0, 1)
                seen = ascent(climb, x_adv)
                finite.append(seen.finite)
                success = seen.reached & (seen.value >= confidence)
                found |= success
                length = threat.distance(x_adv, x)
                closer = success & (length < distance)
                best = torch.where(per_image(closer, x), x_adv, best)
                distance = torch.where(closer, length, distance)
                pull = c * (seen.value < confidence)
                gradient = 2 * delta - per_image(pull.to(x.dtype), x) * seen.gradient
                mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
                rate = learning_rate * (1 - (k - 1) / steps)
                delta = delta - rate * (mean / (1 - 0.9**k)) / ((square / (1 - 0.999**k)).sqrt() + 1e-8)
                delta = (x + delta).clamp(0, 1) - x
            high, low = torch.where(found, c, high), torch.where(found, low, c)
            c = torch.where(high.isinf(), 10 * c, (low + high) / 2)
    check_finite(finite)
    return threat.project(best, x)


def cw_linf(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    steps: int = 50,
    step_size: float | None = None,
    restarts: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The margin loss of Carlini & Wagner climbed by PGD, which is what tables of L∞ robustness call C&W.

    Arguments, output and errors are those of ``pgd``, which begins at a random point of the ball.
    """
    return pgd(
        model, x, y, threat, steps=steps, step_size=step_size, restarts=restarts, loss="margin", generator=generator
    )
