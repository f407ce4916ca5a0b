"""What the attacks share: the model held still, and the gradient of a loss with respect to the images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sparta_hub.errors import AttackError


@contextmanager
def held_still(model: nn.Module) -> Iterator[nn.Module]:
    """Put ``model`` into eval mode without parameter gradients, and leave it as found, also on an error."""
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


def input_gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Gradient of ``loss(x).sum()`` with respect to x (B, C, H, W)."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(loss(leaf).sum(), leaf)[0].detach()


def check_batch(x: Tensor, y: Tensor) -> None:
    """Raise ``AttackError`` unless x is a batch of images in [0, 1] and y its classes."""
    if x.dim() != 4 or not x.is_floating_point() or y.shape != x.shape[:1]:
        raise AttackError(
            f"x is {x.dtype} {tuple(x.shape)} and y {tuple(y.shape)}; expected floats (B, C, H, W) and (B,)."
        )
    if len(x) and not (x.amin() >= 0 and x.amax() <= 1):
        raise AttackError(
            f"Images range from {x.amin():.4g} to {x.amax():.4g}; expected [0, 1]. "
            "Put the normalisation into the model."
        )
