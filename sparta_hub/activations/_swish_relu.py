"""Swish-ReLU: ReLU gated by the sigmoid of its own input."""

import torch.nn.functional as F
from torch import Tensor, nn


def swish_relu(x: Tensor) -> Tensor:
    """``relu(x) * sigmoid(x)``, elementwise, written as ``silu(relu(x))``: same value, same derivative."""
    return F.silu(F.relu(x))


class SwishRelu(nn.Module):
    """``relu(x) * sigmoid(x)`` (compared with in Guo et al. 2021, arXiv:2105.08269), any shape to the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to x."""
        return swish_relu(x)
