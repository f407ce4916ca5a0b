"""What can be asked without an attack: gradients that are exactly zero, the scale of the logits, randomness."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import ascent, held_still
from sparta_hub.attacks.losses import objective


@dataclass(frozen=True)
class Probes:
    """Measured on the images that are right without attack.

    Args:
        images: how many those are.
        zero_gradients: images whose gradient of the cross entropy is exactly zero at every value.
        zero_values: share of exact zeros among all values of these gradients.
        saturated: images whose predicted class has probability 1 in float32: the cross entropy is exactly zero.
        gap: median difference of the two largest logits.
        change: largest difference of a logit between two passes of the same images, the second in halves of the batch,
            as a share of the logits' standard deviation; of all images.
    """

    images: int
    zero_gradients: int
    zero_values: float
    saturated: int
    gap: float
    change: float


def probe(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Probes:
    """Measure all of it in three forward passes and one backward pass an image.

    Args:
        model: takes images in [0, 1], gives logits; it is left as found.
        batches: images (B, C, H, W) and their classes (B,), on the model's device.
    """
    zeros: list[Tensor] = []
    gaps: list[Tensor] = []
    saturated, change = 0, 0.0
    with held_still(model):
        for x, y in batches:
            with torch.no_grad():
                logits = model(x).float()
                # in halves: a model that normalises by its batch would give the whole the same logits again
                again = torch.cat([model(half).float() for half in x.chunk(2)])
            finite = logits[logits.isfinite()]
            spread = max(float(finite.std(correction=0)) if len(finite) else 0.0, torch.finfo(torch.float32).tiny)
            same = (logits == again) | (logits.isnan() & again.isnan())  # two infinite ones are the same, too
            differs = torch.where(same, 0, logits - again)
            change = max(change, float(differs.abs().nan_to_num(float("inf")).max()) / spread)
            right = logits.argmax(1) == y
            if not right.any():
                continue
            top = logits[right].topk(2, dim=1).values
            gaps.append(top[:, 0] - top[:, 1])
            saturated += int((logits[right].softmax(1).amax(1) == 1).sum())
            gradient = ascent(objective(model, y[right], False, "ce"), x[right]).gradient
            zeros.append((gradient == 0).flatten(1).float().mean(1))
    share = torch.cat(zeros) if zeros else torch.zeros(0)
    return Probes(
        images=len(share),
        zero_gradients=int((share == 1).sum()),
        zero_values=round(float(share.mean()), 4) if len(share) else 0.0,
        saturated=saturated,
        gap=round(float(torch.cat(gaps).median()), 4) if gaps else 0.0,
        change=round(change, 6),
    )
