"""FGSM: one step of steepest ascent (Goodfellow et al. 2015, arXiv:1412.6572)."""

import torch.nn.functional as F
from torch import Tensor, nn

from sparta_hub.attacks._gradient import check_batch, held_still, input_gradient
from sparta_hub.threat import ThreatModel


def fgsm(model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
    """``x + ε·sign ∇L``, or towards the class ``y`` if the threat is targeted.

    Args:
        model: takes images in [0, 1], gives logits.
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the wanted ones if ``threat.targeted``.
        threat: norm and radius.

    Returns:
        Attacked images (B, C, H, W), in the ball and the box.
    """
    check_batch(x, y)
    sign = -1 if threat.targeted else 1
    with held_still(model):
        gradient = input_gradient(lambda x: sign * F.cross_entropy(model(x), y, reduction="none"), x)
    return threat.project(x + threat.eps * threat.step(gradient), x)
