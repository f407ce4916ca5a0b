"""Momentum PGD, or MI-FGSM: steps along a running mean of gradients (Dong et al. 2018, arXiv:1710.06081)."""

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import (
    ascent,
    check_batch,
    check_counts,
    check_finite,
    check_not_negative,
    check_positive,
    float32_inside,
    held_still,
    nothing_to_do,
    randomness,
)
from sparta_hub.attacks.losses import objective
from sparta_hub.threat import ThreatModel, per_image


@float32_inside
def mpgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    steps: int = 10,
    step_size: float | None = None,
    decay: float = 1.0,
    random_start: bool = False,
    loss: str = "ce",
    generator: torch.Generator | None = None,
) -> Tensor:
    """``g_{k+1} = μ·g_k + ∇L / ‖∇L‖₁`` and ``x_{k+1} = Π(x_k + α · s(g_{k+1}))``; the last iterate counts.

    Args:
        model: takes images in [0, 1], gives logits.
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the wanted ones if ``threat.targeted``.
        threat: norm and radius; s is the sign (L∞) or g / ‖g‖ (L2).
        steps: number of steps.
        step_size: α, in the threat's norm; ε / steps by default, as in the paper, so that one straight way is possible.
        decay: μ; 0 is PGD without memory.
        random_start: begin at a random point of the ball.
        loss: a key of ``LOSSES``.
        generator: source of randomness, on the device of ``x``; by default a fresh one with seed 0.

    Returns:
        Attacked images (B, C, H, W), in the ball and the box.

    Raises:
        AttackError: bad images, classes or arguments, or a gradient that is not finite.
    """
    check_batch(x, y)
    check_counts(steps=steps)
    check_not_negative(decay=decay)
    if nothing_to_do(x, threat):
        return x.clone()
    step_size = threat.eps / steps if step_size is None else step_size
    check_positive(step_size=step_size)
    x_adv = threat.random_start(x, randomness(generator, x)) if random_start else x.clone()
    memory = torch.zeros_like(x)
    finite = []
    with held_still(model):
        climb = objective(model, y, threat.targeted, loss)
        for _ in range(steps):
            seen = ascent(climb, x_adv)
            finite.append(seen.finite)
            length = seen.gradient.abs().flatten(1).sum(1).clamp_min(1e-12)
            memory = decay * memory + seen.gradient / per_image(length, x)
            x_adv = threat.project(x_adv + step_size * threat.step(memory), x)
    check_finite(finite)
    return x_adv
