"""SmoothReLU: ReLU with a continuous derivative, its sharpness learned."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FLOOR = 1e-6  # keeps alpha positive, and the division by it finite, should the weight pass through 0


def smooth_relu(x: Tensor, alpha: Tensor) -> Tensor:
    """``x - log(alpha x + 1) / alpha`` for x >= 0, else 0; the derivative is ``alpha x / (1 + alpha x)`` and 0.

    Written on ``relu(x)``, so that no branch computes a logarithm of a negative number whose NaN a gradient could meet.
    Float16 goes through float32: in its own range ``alpha x`` is infinite from x = 164 on, at alpha = 400.
    """
    if x.dtype == alpha.dtype == torch.float16:
        return smooth_relu(x.float(), alpha.float()).half()
    positive = F.relu(x)
    return positive - torch.log1p(alpha * positive) / alpha


class SmoothRelu(nn.Module):
    """SmoothReLU (Xie et al. 2020, arXiv:2006.14536, equation 5), any shape to the same shape.

    ``alpha`` is one learned number a layer, ``root ** 2`` as in the authors' code, so that it stays positive.

    Args:
        alpha: its value at the start.
    """

    def __init__(self, alpha: float = 400.0) -> None:
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"alpha is {alpha}; expected a positive number such as 400.")
        self.root = nn.Parameter(torch.full((1,), alpha**0.5))

    @property
    def alpha(self) -> Tensor:
        """The sharpness, shape (1,), positive."""
        return self.root.square() + _FLOOR

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to x."""
        return smooth_relu(x, self.alpha)
