"""What the attacks share: the model held still, gradients with respect to the images, checks of what comes in."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from sparta_hub.errors import AttackError, short
from sparta_hub.threat import ThreatModel

Attack = TypeVar("Attack", bound=Callable[..., Tensor])
Objective = Callable[[Tensor], tuple[Tensor, Tensor]]  # images (B, C, H, W) -> what to climb (B,), aim reached (B,)


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters lie; the CPU for a model without any."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def check_model(model: nn.Module) -> None:
    """Raise ``AttackError`` unless ``model`` is a network."""
    if not isinstance(model, nn.Module):
        raise AttackError(f"model is {short(model)}; expected a network: a function has to be put into a module.")


@contextmanager
def held_still(model: nn.Module) -> Iterator[nn.Module]:
    """Put ``model`` into eval mode without parameter gradients, and leave it as found, also on an error.

    Raises:
        AttackError: it is no network.
    """
    check_model(model)
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        yield model
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)


def float32_inside(attack: Attack) -> Attack:
    """Let ``attack`` compute in float32 where images are of half precision; the model alone sees these.

    Images that are part of a graph are cut out of it: an attacked image is data.

    In bfloat16 a step of 1/255 is lost near 1, and in float16 the square of a small gradient is 0. The output is
    rounded to the precision of the images, and the ball holds up to that rounding.
    """

    @wraps(attack)
    def wrapped(model: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_model(model)
        if isinstance(x, Tensor):  # else the attack says what it expects
            x = x.detach()
            if x.dtype in (torch.float16, torch.bfloat16):
                return attack(_Rounded(model, x.dtype), x.float(), *args, **kwargs).to(x.dtype)
        return attack(model, x, *args, **kwargs)

    return cast(Attack, wrapped)


class _Rounded(nn.Module):
    """A model that takes float32 images and gives float32 logits, around one of half precision."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.to(self.dtype)).float()


@dataclass(frozen=True)
class Ascent:
    """What one forward and one backward pass tell: for B images at one point each.

    Args:
        value: the objective (B,), larger the closer the attacker is to the aim.
        reached: whether the aim is reached (B,).
        gradient: of the value (B, C, H, W).
        finite: whether all of the gradient is, a boolean of no dimension.
    """

    value: Tensor
    reached: Tensor
    gradient: Tensor
    finite: Tensor


def ascent(objective: Objective, x: Tensor) -> Ascent:
    """Value, success and gradient of ``objective`` at the images x (B, C, H, W)."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        value, reached = objective(leaf)
        found = torch.autograd.grad(value.sum(), leaf, allow_unused=True)[0] if value.requires_grad else None
    if found is None:
        raise AttackError(
            "The model's logits have no gradient with respect to the images: something in it rounds, detaches or "
            "switches gradients off. Expected a differentiable model; square needs no gradient, and diagnose says more."
        )
    gradient = found.detach()
    return Ascent(value.detach(), reached.detach(), gradient, gradient.isfinite().all())


def check_batch(x: Tensor, y: Tensor) -> None:
    """Raise ``AttackError`` unless x is a batch of images in [0, 1] and y its classes, and gradients can be had."""
    if not isinstance(x, Tensor) or not isinstance(y, Tensor):
        raise AttackError(f"x is a {type(x).__name__} and y a {type(y).__name__}; expected two tensors.")
    if torch.is_inference_mode_enabled():
        raise AttackError("Under torch.inference_mode there are no gradients for an attack; use torch.no_grad().")
    if x.dim() != 4 or not x.is_floating_point() or y.shape != x.shape[:1]:
        raise AttackError(
            f"x is {x.dtype} {tuple(x.shape)} and y {tuple(y.shape)}; expected floats (B, C, H, W) and (B,)."
        )
    if y.dtype != torch.int64:
        raise AttackError(f"y is {y.dtype}; expected class numbers as torch.int64: y.long().")
    if len(x) and not (x.amin() >= 0 and x.amax() <= 1):
        raise AttackError(
            f"Images range from {x.amin():.4g} to {x.amax():.4g}; expected [0, 1]. "
            "Put the normalisation into the model."
        )


def check_counts(**counts: int) -> None:
    """Raise ``AttackError`` unless every count (steps, restarts, …) is a whole number of at least 1."""
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise AttackError(f"{name} is {count!r}; expected 1 or more, a whole number.")


def check_positive(**values: float) -> None:
    """Raise ``AttackError`` unless every number (a length of steps, a rate, …) is finite and above 0."""
    for name, value in values.items():
        if not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise AttackError(f"{name} is {value!r}; expected a finite number above 0.")


def check_not_negative(**values: float) -> None:
    """Raise ``AttackError`` unless every number (a share that is kept, a margin, …) is finite and 0 or more."""
    for name, value in values.items():
        if not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise AttackError(f"{name} is {value!r}; expected a finite number, 0 or more.")


def check_finite(flags: Iterable[Tensor]) -> None:
    """Raise ``AttackError`` unless all of the flags ``finite`` of ``Ascent`` are true.

    Asked once at the end rather than at each step, since every question makes a GPU wait for the CPU; and asked of the
    gradient, since the sign of a NaN is 0 and the attack would stand still in silence.
    """
    if not torch.stack([*flags]).all():
        raise AttackError(
            "The model gave a gradient that is not a finite number, so the attack means nothing. Expected finite "
            "gradients for every image in the ball; look for divisions, roots, logarithms, or float16."
        )


def check_threat(threat: ThreatModel) -> None:
    """Raise ``AttackError`` unless ``threat`` is a threat model: its radius is none."""
    if not isinstance(threat, ThreatModel):
        raise AttackError(f"threat is {threat!r}; expected ThreatModel('linf', 8 / 255), for example.")


def nothing_to_do(x: Tensor, threat: ThreatModel) -> bool:
    """Whether the only answer is the images themselves: an empty batch, or a ball without radius.

    Raises:
        AttackError: ``threat`` is none.
    """
    check_threat(threat)
    return len(x) == 0 or threat.eps == 0


def randomness(generator: torch.Generator | None, x: Tensor) -> torch.Generator:
    """The given generator, or a fresh one with seed 0: the global state is neither read nor moved.

    Raises:
        AttackError: it is a seed, or lives on another kind of device than the images.
    """
    if generator is None:
        return torch.Generator(x.device).manual_seed(0)
    if isinstance(generator, int):
        raise AttackError(f"generator is {generator!r}; expected one: torch.Generator('{x.device}').manual_seed(0).")
    if generator.device.type != x.device.type:
        raise AttackError(
            f"The generator is on {generator.device} and the images on {x.device}; expected both on one device: "
            f"torch.Generator('{x.device}')."
        )
    return generator
