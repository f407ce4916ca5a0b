"""Maxout: the largest of a few learned linear maps."""

import torch
from torch import Tensor, nn


def maxout(lines: Tensor, pieces: int) -> Tensor:
    """``max_k z_k``: lines (B, k·C, H, W) holds the k maps z_k one after the other; returns (B, C, H, W)."""
    return lines.unflatten(1, (pieces, -1)).amax(1)


class Maxout(nn.Module):
    """Maxout (Goodfellow et al. 2013, arXiv:1302.4389), shape (B, C, H, W) to the same shape.

    ``max_k (W_k x + b_k)``, each W_k a 1x1 convolution. It starts as ReLU, the first map as the identity and the
    others at zero, because random maps in place of a trained host's ReLU would undo what the host has learned. From
    the third on maps are a little off zero: equal ones would get equal gradients, and stay one map for ever.

    Args:
        channels: C.
        pieces: k, the number of maps.
    """

    def __init__(self, channels: int, *, pieces: int = 2) -> None:
        super().__init__()
        if pieces < 2:
            raise ValueError(f"pieces is {pieces}; expected 2, 3, ...")
        self.pieces = pieces
        self.conv = nn.Conv2d(channels, pieces * channels, 1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # pyright: ignore[reportArgumentType]
        with torch.no_grad():
            nn.init.eye_(self.conv.weight[:channels, :, 0, 0])
            nn.init.normal_(self.conv.weight[2 * channels :], std=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to x (B, C, H, W)."""
        return maxout(self.conv(x), self.pieces)
