"""Parametric softplus: a smooth stand-in for ReLU."""

import torch.nn.functional as F
from torch import Tensor, nn


def parametric_softplus(x: Tensor, alpha: float = 10.0) -> Tensor:
    """``log(1 + exp(alpha x)) / alpha``, elementwise; its derivative is ``sigmoid(alpha x)``.

    As in torch's softplus the result is x itself where ``alpha x > 20``: the difference is below 2e-9 / alpha.
    """
    return F.softplus(x, alpha)


class ParametricSoftplus(nn.Module):
    """Parametric softplus (Xie et al. 2020, arXiv:2006.14536, section 4.1), any shape to the same shape.

    Args:
        alpha: how sharp the bend is; the larger, the nearer to ReLU. Positive, fixed.
    """

    def __init__(self, alpha: float = 10.0) -> None:
        super().__init__()
        if not alpha > 0:
            raise ValueError(f"alpha is {alpha}; expected a positive number such as 10.")
        self.alpha = alpha

    def extra_repr(self) -> str:
        """Arguments that rebuild this module."""
        return f"alpha={self.alpha}"

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to x."""
        return parametric_softplus(x, self.alpha)
