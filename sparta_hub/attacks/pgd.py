"""PGD: repeated steps of steepest ascent, projected (Madry et al. 2018, arXiv:1706.06083)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparta_hub.attacks._gradient import check_batch, held_still, input_gradient
from sparta_hub.errors import AttackError
from sparta_hub.threat import ThreatModel


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    steps: int = 20,
    step_size: float | None = None,
    random_start: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Cross-entropy PGD; the last iterate is returned.

    Args:
        model: takes images in [0, 1], gives logits.
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the wanted ones if ``threat.targeted``.
        threat: norm and radius.
        steps: number of steps.
        step_size: length of a step in the threat's norm; 2.5·ε / steps by default.
        random_start: begin at a random point of the ball.
        generator: source of that randomness, on the device of ``x``.

    Returns:
        Attacked images (B, C, H, W), in the ball and the box.
    """
    check_batch(x, y)
    if steps < 1:
        raise AttackError(f"steps is {steps}; expected 1 or more.")
    step_size = 2.5 * threat.eps / steps if step_size is None else step_size
    sign = -1 if threat.targeted else 1
    x_adv = threat.random_start(x, generator) if random_start else x.clone()
    with held_still(model):
        for _ in range(steps):
            gradient = input_gradient(lambda x: sign * F.cross_entropy(model(x), y, reduction="none"), x_adv)
            x_adv = threat.project(x_adv + step_size * threat.step(gradient), x)
    return x_adv
