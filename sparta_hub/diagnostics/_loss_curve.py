"""How the attacker's loss runs over the steps of PGD."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparta_hub.attacks import pgd
from sparta_hub.attacks.gradient import check_batch, check_counts, held_still, randomness
from sparta_hub.attacks.losses import objective
from sparta_hub.errors import AttackError
from sparta_hub.threat import ThreatModel


@dataclass(frozen=True)
class LossCurve:
    """Loss at each point of PGD, the start and the end among them.

    Args:
        mean, std: over the images, of ``steps + 1`` points; the standard deviation divides by their number.
        images: how many there were.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    images: int


def attack_loss_curve(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    steps: int = 50,
    step_size: float | None = None,
    random_start: bool = True,
    loss: str = "ce",
    batch_size: int = 100,
    generator: torch.Generator | None = None,
) -> LossCurve:
    """Mean and standard deviation over images of the loss at x_0, …, x_steps of ``pgd``.

    Figure 3 of Guo et al. 2021, arXiv:2105.08269, which has 50 steps of the targeted attack. The loss is that of class
    ``y``: with an untargeted threat it rises, towards a wanted class it falls. One more forward pass than the attack.

    Args:
        model: takes images in [0, 1], gives logits; left as found.
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the wanted ones if ``threat.targeted``.
        threat: norm and radius, above 0.
        steps, step_size, random_start, loss: as in ``pgd``.
        batch_size: images at a time.
        generator: as in ``pgd``; one stream for all batches.
    """
    check_batch(x, y)
    check_counts(steps=steps, batch_size=batch_size)
    if len(x) == 0 or threat.eps == 0:
        raise AttackError(
            f"There are {len(x)} images and the threat is {threat}; expected images, and a radius above 0."
        )
    generator = randomness(generator, x)
    sign = -1 if threat.targeted else 1
    batches = []
    for part, label in zip(x.split(batch_size), y.split(batch_size), strict=True):
        losses: list[Tensor] = []
        x_adv = pgd(
            model, part, label, threat, steps=steps, step_size=step_size, random_start=random_start, loss=loss,
            watch=lambda _step, value, losses=losses: losses.append(value), generator=generator,
        )  # fmt: skip
        with held_still(model), torch.no_grad():
            losses.append(objective(model, label, threat.targeted, loss)(x_adv)[0])
        batches.append(sign * torch.stack(losses).double())
    values = torch.cat(batches, 1)  # (steps + 1, B)
    return LossCurve(tuple(values.mean(1).tolist()), tuple(values.std(1, correction=0).tolist()), len(x))
