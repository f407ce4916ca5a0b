"""Refusing, in a line, what would fail later in words that do not say why, or not fail and mean nothing."""

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import device_of
from sparta_hub.data import Images
from sparta_hub.errors import AttackError, DataError, first_words, short
from sparta_hub.evaluation._batch import logits_of


def check_network(model: nn.Module, what: str = "model") -> None:
    """Raise ``AttackError`` unless ``model`` is a network; ``what`` it is called."""
    if not isinstance(model, nn.Module):
        raise AttackError(f"{what} is {short(model)}; expected a network, such as sparta_hub.load(...) returns.")


def check_numbers(*, limit: int | None = None, **numbers: int) -> None:
    """Raise ``DataError`` unless all are whole numbers; ``limit`` may be None."""
    for name, number in {**numbers, **({} if limit is None else {"limit": limit})}.items():
        if type(number) is not int:
            raise DataError(f"{name} is {short(number)}; expected a whole number.")


def first_logits(model: nn.Module, data: Images) -> Tensor:
    """The logits (1, classes) of the first image, from a model in eval mode.

    Raises:
        AttackError: the model cannot be measured: it lies on the meta device, is not float32 or is scripted, fails on
            the image, or gives no numbers.
    """
    if any(p.is_meta for p in model.parameters()):
        raise AttackError("The model lies on the meta device and has no values; expected one with weights.")
    precisions = {p.dtype for p in model.parameters() if p.is_floating_point()}
    if precisions - {torch.float32}:
        seen = ", ".join(sorted(map(str, precisions)))
        raise AttackError(f"The model's weights are {seen}; expected torch.float32: model.float(). Images are float32.")
    if isinstance(model, torch.jit.ScriptModule):
        raise AttackError(
            "A scripted model takes no hooks, so its passes cannot be counted. Expected a module: nn.Sequential(model)."
        )
    image = data.floats(slice(0, 1)).to(device_of(model))
    try:
        logits = logits_of(model, image)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise AttackError(
            f"The model fails on the first image {tuple(image.shape)} of {data.name}: "
            f"{first_words(error)}. Expected one that takes images of this size in [0, 1], as float32."
        ) from error
    if logits.isnan().all():
        raise AttackError("All logits of the first image are NaN: the model gives no numbers. Look at its weights.")
    return logits
