"""What an attacker climbs: one number an image, larger the closer the attacker is to the aim."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparta_hub.attacks.gradient import Objective
from sparta_hub.errors import AttackError

Loss = Callable[[Tensor, Tensor, bool], Tensor]


def ce(logits: Tensor, y: Tensor, targeted: bool = False) -> Tensor:
    """Cross entropy ``-log p_y`` (B,), or ``log p_y`` if ``y`` is the class the attacker wants."""
    check_logits(logits, y, 2, "ce")
    value = F.cross_entropy(logits, y, reduction="none")
    return -value if targeted else value


def margin(logits: Tensor, y: Tensor, targeted: bool = False) -> Tensor:
    """``max_{j≠y} z_j - z_y`` (B,), or its opposite if ``y`` is wanted: positive exactly where the attacker has won.

    The loss of Carlini & Wagner 2017, arXiv:1608.04644, without its cut at the confidence κ.
    """
    check_logits(logits, y, 2, "margin")
    value = _best_other(logits, y) - _at(logits, y)
    return -value if targeted else value


def dlr(logits: Tensor, y: Tensor, targeted: bool = False) -> Tensor:
    """Difference of logits ratio (B,): the margin, divided by a difference of sorted logits z_π1 >= z_π2 >= ….

    Untargeted ``(max_{j≠y} z_j - z_y) / (z_π1 - z_π3)``, targeted
    ``(z_y - max_{j≠y} z_j) / (z_π1 - (z_π3 + z_π4) / 2)``. A shift or positive scale of the logits changes nothing.
    The paper's targeted form has the true class where this one has the best class other than the wanted: the same
    until the image is misclassified, and the caller need not say the true class.
    Croce & Hein 2020, arXiv:2003.01690, equations 6 and 7.

    Raises:
        AttackError: fewer than 3 classes, or than 4 if targeted.
    """
    check_logits(logits, y, 4 if targeted else 3, "targeted dlr" if targeted else "dlr")
    top = logits.topk(4 if targeted else 3, dim=1).values
    spread = top[:, 0] - (top[:, 2:].mean(1) if targeted else top[:, 2])
    return margin(logits, y, targeted) / (spread + 1e-12)


LOSSES: dict[str, Loss] = {"ce": ce, "margin": margin, "dlr": dlr}


def reached(logits: Tensor, y: Tensor, targeted: bool = False) -> Tensor:
    """Whether the attacker has the aim (B,): the predicted class is not ``y``, or is ``y`` if that is wanted."""
    return (logits.argmax(1) == y) == targeted


def changes(model: nn.Module, x_adv: Tensor, clean: Tensor, targeted: bool) -> Tensor:
    """Whether a targeted attack has changed the prediction ``clean`` (B,) at least, if not into the wanted class (B,).

    Untargeted all are False: there, changing it is the aim itself.
    """
    return predicted(model, x_adv) != clean if targeted else torch.zeros_like(clean, dtype=torch.bool)


def predicted(model: nn.Module, x: Tensor) -> Tensor:
    """The classes (B,) of images (B, C, H, W)."""
    logits = model(x)
    check_logits(logits, x)
    return logits.argmax(1)


def closer(new: tuple[Tensor, Tensor], old: tuple[Tensor, Tensor]) -> Tensor:
    """Which of two ends that miss the aim is closer to it, each with what ``changes`` gives and its loss (B,).

    One that changes the prediction, else the one with the larger loss: who counts errors of a targeted attack must not
    count fewer of them after more restarts.
    """
    return (new[0] & ~old[0]) | ((new[0] == old[0]) & (new[1] > old[1]))


def objective(model: nn.Module, y: Tensor, targeted: bool, loss: str) -> Objective:
    """The function images -> (loss (B,), aim reached (B,)), for a batch of at least one image.

    Logits of half precision are brought to float32 first.

    Raises:
        AttackError: no such loss; and from the function, if a class of ``y`` is none of the model's.
    """
    if loss not in LOSSES:
        raise AttackError(f"loss is {loss!r}; expected one of {', '.join(LOSSES)}.")
    lowest, highest = class_range(y)  # once, not at each step

    def value(x: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(x)
        check_logits(logits, y)
        check_classes(lowest, highest, logits)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        return LOSSES[loss](logits, y, targeted), reached(logits, y, targeted)

    return value


def class_range(y: Tensor) -> tuple[int, int]:
    """The lowest and the highest class of ``y`` (B,), B at least 1."""
    lowest, highest = torch.aminmax(y)
    return int(lowest), int(highest)


def check_classes(lowest: int, highest: int, logits: Tensor) -> None:
    """Raise ``AttackError`` unless classes from ``lowest`` to ``highest`` have logits (B, classes).

    On a GPU a wrong index ends the process.
    """
    if lowest < 0 or highest >= logits.shape[1]:
        raise AttackError(f"y ranges from {lowest} to {highest}; this model has classes 0 to {logits.shape[1] - 1}.")


def _at(logits: Tensor, y: Tensor) -> Tensor:
    return logits.gather(1, y[:, None])[:, 0]


def _best_other(logits: Tensor, y: Tensor) -> Tensor:
    return logits.scatter(1, y[:, None], float("-inf")).amax(1)


def check_logits(logits: Tensor, y: Tensor, least: int = 2, name: str = "an attack") -> None:
    """Raise ``AttackError`` unless these are logits (B, classes) of the images that y (B,) belongs to."""
    if not isinstance(logits, Tensor):  # a tuple, say, with the features
        raise AttackError(
            f"The model gives a {type(logits).__name__}; {name} expects logits (B, classes), a tensor: put the model "
            "into a module that returns them alone."
        )
    if logits.dim() != 2 or len(logits) != len(y) or logits.shape[1] < least:
        raise AttackError(
            f"Logits are {tuple(logits.shape)} for {len(y)} images; {name} expects (B, classes) with {least} or more."
        )
