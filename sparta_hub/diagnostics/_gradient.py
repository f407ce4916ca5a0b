"""Models whose logits have no gradient with respect to the images: the plainest way to hide one."""

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import held_still


class ZeroGradient(nn.Module):
    """The same logits with a gradient of exactly zero, so that attacks can be asked, and found to have no way."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes)."""
        return self.model(x) + 0 * x.flatten(1).sum(1, keepdim=True)


def with_some_gradient(model: nn.Module, x: Tensor) -> nn.Module:
    """The model itself, or ``ZeroGradient`` around it where its logits at x (B, C, H, W) have no gradient at all."""
    with held_still(model), torch.enable_grad():
        leaf = x.detach().requires_grad_()
        logits = model(leaf)
        if not isinstance(logits, Tensor):  # the evaluation refuses it in words
            return model
        found = torch.autograd.grad(logits.sum(), leaf, allow_unused=True)[0] if logits.requires_grad else None
    return ZeroGradient(model) if found is None else model
