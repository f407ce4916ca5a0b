"""ReLU forward, a smooth derivative backward: for the attacker, the optimiser or both."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHOICES = ("both", "attacker", "optimizer")


class _ReluSmoothBackward(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, alpha: float) -> Tensor:
        return F.relu(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        x, ctx.alpha = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return grad * torch.sigmoid(ctx.alpha * x), None


def relu_smooth_backward(x: Tensor, alpha: float = 10.0) -> Tensor:
    """``relu(x)`` forward; backward the derivative of parametric softplus, ``sigmoid(alpha x)``. Elementwise."""
    return _ReluSmoothBackward.apply(x, alpha)


class ReluSmoothBackward(nn.Module):
    """ReLU with smooth gradients (Xie et al. 2020, arXiv:2006.14536, section 4.1), any shape to the same shape.

    Who computes the gradient cannot be seen from inside a network, so the attacker says so: forward passes inside
    ``attacker_pass(model)`` are the attacker's, all others the optimiser's. What counts is where the forward pass was.
    Backward is on purpose not the derivative of forward, so there is no forward-mode one (``torch.func.jvp``).

    Args:
        alpha: sharpness of the softplus whose derivative is used.
        smooth: in whose passes the smooth derivative is used: ``"attacker"``, ``"optimizer"`` or ``"both"``.
    """

    def __init__(self, alpha: float = 10.0, smooth: Literal["both", "attacker", "optimizer"] = "both") -> None:
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"alpha is {alpha}; expected a positive number such as 10.")
        if smooth not in _CHOICES:
            raise ValueError(f"smooth is {smooth!r}; expected one of {', '.join(_CHOICES)}.")
        self.alpha, self.smooth = alpha, smooth
        self.attacking = False

    def extra_repr(self) -> str:
        """Arguments that rebuild this module."""
        return f"alpha={self.alpha}, smooth={self.smooth!r}"

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to x."""
        smooth = self.smooth == "both" or self.attacking == (self.smooth == "attacker")
        return relu_smooth_backward(x, self.alpha) if smooth else F.relu(x)


@contextmanager
def attacker_pass(model: nn.Module) -> Iterator[nn.Module]:
    """Inside the ``with``, forward passes of ``model`` are the attacker's; may be nested."""
    before = [(module, module.attacking) for module in model.modules() if isinstance(module, ReluSmoothBackward)]
    try:
        for module, _ in before:
            module.attacking = True
        yield model
    finally:
        for module, attacking in before:
            module.attacking = attacking
