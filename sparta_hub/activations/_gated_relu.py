"""ReLU times an attention gate other than SPARTA's, with as many parameters: baselines at equal size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WINDOW = 7  # CBAM's spatial kernel


def gated_relu(x: Tensor, gate: Tensor) -> Tensor:
    """``relu(x) * gate``: x (B, C, H, W), gate broadcast to it, in (0, 1)."""
    return F.relu(x) * gate


def sparta_size(channels: int) -> int:
    """Parameters of a default ``Sparta`` for this many channels: kernels 1x1, width C_o = min(256, C)."""
    width = min(256, channels)
    convolutions = 2 * width * (channels + 1) + width * (width + 1) + (width + 1) + channels * (width + 1)
    return convolutions + 3 * 2 * width + (width + 1)  # three BatchNorms of C_o, DPNet's linear


def matched_hidden(channels: int, other: int = 0) -> int:
    """Hidden width at which C→hidden→C with biases, and ``other`` parameters beside it, has SPARTA's size."""
    return max(1, round((sparta_size(channels) - channels - other) / (2 * channels + 1)))


class SeGatedRelu(nn.Module):
    """ReLU gated by squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507), (B, C, H, W) to the same shape.

    ``relu(x) * sigmoid(W2 relu(W1 mean(x)))``: one weight a channel, the same at all positions.

    Args:
        channels: C.
        hidden: width between W1 and W2; by default the one that gives SPARTA's number of parameters.
    """

    def __init__(self, channels: int, *, hidden: int | None = None) -> None:
        super().__init__()
        hidden = _checked(hidden, matched_hidden(channels))
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)

    def gate(self, x: Tensor) -> Tensor:
        """Return the attention for x (B, C, H, W): (B, C, 1, 1), in (0, 1)."""
        return torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to x (B, C, H, W)."""
        return gated_relu(x, self.gate(x))


class CbamGatedRelu(nn.Module):
    """ReLU gated by CBAM's two attentions (Woo et al. 2018, arXiv:1807.06521), (B, C, H, W) to the same shape.

    ``relu(x) * c * s`` with ``c = sigmoid(MLP(mean x) + MLP(max x))`` over positions, one weight a channel, and then
    ``s = sigmoid(conv7x7([mean(c x), max(c x)]))`` over channels, one weight a position.

    Args:
        channels: C.
        hidden: width inside the MLP; by default the one that gives SPARTA's number of parameters.
    """

    def __init__(self, channels: int, *, hidden: int | None = None) -> None:
        super().__init__()
        hidden = _checked(hidden, matched_hidden(channels, other=2 * _WINDOW**2))
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        self.conv = nn.Conv2d(2, 1, _WINDOW, padding=_WINDOW // 2, bias=False)

    def _mlp(self, pooled: Tensor) -> Tensor:
        return self.excite(F.relu(self.squeeze(pooled)))

    def gate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attentions for x (B, C, H, W): channel (B, C, 1, 1) and spatial (B, 1, H, W), in (0, 1)."""
        channel = torch.sigmoid(self._mlp(x.mean((2, 3))) + self._mlp(x.amax((2, 3))))[:, :, None, None]
        weighted = channel * x
        pooled = torch.cat([weighted.mean(1, keepdim=True), weighted.amax(1, keepdim=True)], 1)
        return channel, torch.sigmoid(self.conv(pooled))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to x (B, C, H, W)."""
        channel, spatial = self.gate(x)
        return gated_relu(x, channel * spatial)


def _checked(hidden: int | None, default: int) -> int:
    if hidden is not None and hidden < 1:
        raise ValueError(f"hidden is {hidden}; expected a number from 1 on, or None for SPARTA's size.")
    return default if hidden is None else hidden
