"""Feature denoising: ReLU and a residual block that filters the map."""

import torch.nn.functional as F
from torch import Tensor, nn

_OPERATIONS = ("softmax", "dot", "mean", "median")


def softmax_means(x: Tensor, theta: Tensor, phi: Tensor) -> Tensor:
    """Non-local means, embedded Gaussian: ``sum_j softmax_j(theta_i . phi_j / sqrt(d)) x_j`` over all positions j.

    x (B, C, H, W), theta and phi (B, d, H, W). Written out because fused attention has no second derivative.
    """
    scores = theta.flatten(2).transpose(1, 2) @ phi.flatten(2) / theta.shape[1] ** 0.5  # (B, H*W, H*W)
    return (x.flatten(2) @ scores.softmax(2).transpose(1, 2)).view(x.shape)


def dot_means(x: Tensor) -> Tensor:
    """Non-local means, dot product: ``sum_j (x_i . x_j) x_j / (H W)``; the sum over j comes first."""
    flat = x.flatten(2)
    return (flat @ flat.transpose(1, 2) / flat.shape[2] @ flat).view(x.shape)


def local_means(x: Tensor) -> Tensor:
    """Mean of the 3x3 neighbours inside the map, channel by channel."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def local_medians(x: Tensor) -> Tensor:
    """Median of the 3x3 neighbours, channel by channel; at the edge the map goes on with its own values."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4).median(4).values


class FeatureDenoising(nn.Module):
    """Feature denoising (Xie et al. 2019, arXiv:1812.03411), shape (B, C, H, W) to the same shape.

    ``z + BN(W denoise(z))`` with ``z = relu(x)`` and W a 1x1 convolution: the block stands after the ReLU, as in the
    authors' networks. BN's weight starts at zero, so that the whole starts as ReLU. On ResNet-18's stages the default
    adds 699,200 parameters (published: 0.70 M). In float16 the products of ``dot`` overflow where values reach some 20
    in 512 channels: use bfloat16.

    Args:
        channels: C.
        operation: ``softmax`` (non-local, on two learned 1x1 embeddings into C/2 channels), ``dot`` (non-local,
            nothing learned), ``mean`` or ``median`` (both 3x3).
    """

    def __init__(self, channels: int, *, operation: str = "softmax") -> None:
        super().__init__()
        if operation not in _OPERATIONS:
            raise ValueError(f"operation is {operation!r}; expected one of {', '.join(_OPERATIONS)}.")
        self.operation = operation
        if operation == "softmax":
            self.theta = _embedding(channels)
            self.phi = _embedding(channels)
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.bn.weight)

    def extra_repr(self) -> str:
        """What cannot be seen from the children."""
        return f"operation={self.operation!r}"

    def denoise(self, z: Tensor) -> Tensor:
        """Filter z (B, C, H, W), nothing added."""
        if self.operation == "softmax":
            return softmax_means(z, self.theta(z), self.phi(z))
        return {"dot": dot_means, "mean": local_means, "median": local_medians}[self.operation](z)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to x (B, C, H, W)."""
        z = F.relu(x)
        return z + self.bn(self.conv(self.denoise(z)))


def _embedding(channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, max(1, channels // 2), 1)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)  # pyright: ignore[reportArgumentType]
    return conv
