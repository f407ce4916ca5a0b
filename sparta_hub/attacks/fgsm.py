"""FGSM: one step of steepest ascent (Goodfellow et al. 2015, arXiv:1412.6572)."""

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import ascent, check_batch, check_finite, float32_inside, held_still, nothing_to_do
from sparta_hub.attacks.losses import objective
from sparta_hub.threat import ThreatModel


@float32_inside
def fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    loss: str = "ce",
    generator: torch.Generator | None = None,
) -> Tensor:
    """``x + ε·sign ∇L`` (L2: ``x + ε·∇L / ‖∇L‖``), or towards the class ``y`` if the threat is targeted.

    Args:
        model: takes images in [0, 1], gives logits.
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the wanted ones if ``threat.targeted``.
        threat: norm and radius.
        loss: a key of ``LOSSES``.
        generator: not used, nothing is drawn; here so that all attacks are called alike.

    Returns:
        Attacked images (B, C, H, W), in the ball and the box.
    """
    check_batch(x, y)
    if nothing_to_do(x, threat):
        return x.clone()
    with held_still(model):
        seen = ascent(objective(model, y, threat.targeted, loss), x)
    check_finite([seen.finite])
    return threat.project(x + threat.eps * threat.step(seen.gradient), x)
