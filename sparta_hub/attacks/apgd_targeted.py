"""APGD towards many classes in turn, for an attacker who is content with any (Croce & Hein 2020, section 4)."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from sparta_hub.attacks.apgd import apgd
from sparta_hub.attacks.gradient import (
    check_batch,
    check_counts,
    check_threat,
    float32_inside,
    held_still,
    nothing_to_do,
    randomness,
)
from sparta_hub.attacks.losses import check_classes, check_logits, class_range
from sparta_hub.attacks.targets import ranked_wrong_class
from sparta_hub.errors import AttackError
from sparta_hub.threat import ThreatModel


@float32_inside
def apgd_targeted(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    targets: int = 9,
    steps: int = 100,
    loss: str = "dlr",
    generator: torch.Generator | None = None,
) -> Tensor:
    """APGD on the targeted loss towards the ``targets`` best wrong classes of the clean image, one after the other.

    Images that are misclassified, at first or after a target, are not attacked further.

    Args:
        model: takes images in [0, 1], gives logits.
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,).
        threat: norm and radius; not targeted.
        targets: number of wrong classes to try; fewer where the model has fewer.
        steps: steps of APGD for every class.
        loss: a key of ``LOSSES``; ``"dlr"`` needs 4 classes.
        generator: source of randomness, on the device of ``x``; by default a fresh one with seed 0.

    Returns:
        Attacked images (B, C, H, W), in the ball and the box; the clean image where all targets failed.

    Raises:
        AttackError: a targeted threat, bad images, classes or arguments, or a gradient that is not finite.
    """
    check_batch(x, y)
    check_counts(targets=targets, steps=steps)
    check_threat(threat)
    if threat.targeted:
        raise AttackError("The threat is targeted; apgd_targeted picks its targets itself and takes the true classes.")
    best = x.clone()
    if nothing_to_do(x, threat):
        return best
    generator = randomness(generator, x)
    with held_still(model), torch.no_grad():
        logits = model(x)
        check_logits(logits, y)
        check_classes(*class_range(y), logits)
        held = (logits.argmax(1) == y).nonzero()[:, 0]
        for rank in range(1, min(targets, logits.shape[1] - 1) + 1):
            if not len(held):
                break
            wanted = ranked_wrong_class(logits[held], y[held], rank)
            x_adv = apgd(
                model, x[held], wanted, replace(threat, targeted=True), steps=steps, loss=loss, generator=generator
            )
            fallen = model(x_adv).argmax(1) != y[held]
            best[held[fallen]] = x_adv[fallen]
            held = held[~fallen]
    return best
