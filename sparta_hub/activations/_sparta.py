"""SPARTA: spatially attentive and adversarially robust activation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparta_hub.activations._pointwise import conv_bn_relu, convolve, mean_over_positions, sigmoid_of_product


def sparta(x: Tensor, spatial: Tensor, channel: Tensor) -> Tensor:
    """``relu(x) * sigmoid(spatial ⊗ channel)``: x (B, C, H, W), spatial (B, 1, H, W), channel (B, C, 1, 1).

    The gate is never negative, so ReLU may come after it, where it works in place: one map less to write and to keep.
    """
    return F.relu_(x * sigmoid_of_product(spatial, channel, x))


def dynamic_conv(spatial: Tensor, kernel: Tensor) -> Tensor:
    """Filter each map (B, 1, H, W) with its own kernel (B, K, K), zero padding, same size."""
    size = kernel.shape[-1]
    if size == 1:
        return spatial * kernel[:, None]
    height, width = spatial.shape[-2:]
    patches = F.unfold(spatial, size, padding=size // 2)  # (B, K*K, H*W)
    return (patches * kernel.flatten(1)[:, :, None]).sum(1).view(-1, 1, height, width)


class Sparta(nn.Module):
    """SPARTA activation (Guo et al. 2021, arXiv:2105.08269), shape (B, C, H, W) to the same shape.

    ``Y = relu(X) * sigmoid(S(X) ⊗ Ch(X))``, where ``S`` gives one map HxW and ``Ch`` one number a channel:

    - SANet: conv1 C→C_o, BN, ReLU, conv2 C_o→C_o, BN, ReLU, conv4 C_o→1, conv5 1→1 with a predicted kernel;
    - CANet: conv6 C_o→C on conv1's features, then the mean over positions;
    - DPNet: conv3 C→C_o, BN, ReLU, mean over positions, linear C_o→K·K, which is conv5's kernel.

    The wiring is a reconstruction from the paper's text (its figure is not in the text, and no official code is known).
    It was checked against the published sizes: on the last block of each stage it adds 811,528 parameters to ResNet-18
    (published: 0.82 M, 11.17 M to 11.99 M) and as many to ResNet-34 (published: about 0.83 M).

    Two identities save time and change nothing else: conv1 and conv3 read the same input, so one convolution,
    ``conv1_3``, computes both (conv1's channels first); conv6 is linear, so the mean over positions is taken first.
    DPNet starts at the identity kernel (linear's bias is a delta), so that at the start conv5 passes its input on.

    Args:
        channels: C.
        kernel_size: K of all convolutions, odd; the paper's final version has 1, its first one 3.
        hidden: C_o; by default ``min(256, C)``.
        dynamic: with DPNet; without it conv5 is an ordinary learned convolution (the paper's "w/o DPNet").
        neighborhood: N: the gate is computed on NxN averages and each NxN patch shares a score (its equation 6).
            Sizes that N does not divide are allowed; the last row and column of patches are then smaller.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 1,
        hidden: int | None = None,
        dynamic: bool = True,
        neighborhood: int = 1,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or kernel_size < 1:
            raise ValueError(f"kernel_size is {kernel_size}; expected an odd number such as 1 or 3.")
        if neighborhood < 1:
            raise ValueError(f"neighborhood is {neighborhood}; expected 1, 2, 4, ...")
        if hidden is not None and hidden < 1:
            raise ValueError(f"hidden is {hidden}; expected a number from 1 on, or None for min(256, channels).")
        self.channels, self.kernel_size, self.neighborhood, self.dynamic = channels, kernel_size, neighborhood, dynamic
        self.hidden = hidden or min(256, channels)
        branches = 2 * self.hidden if dynamic else self.hidden
        self.conv1_3 = self._conv(channels, branches)
        self.bn1_3 = nn.BatchNorm2d(branches)
        self.conv2 = self._conv(self.hidden, self.hidden)
        self.bn2 = nn.BatchNorm2d(self.hidden)
        self.conv4 = self._conv(self.hidden, 1)
        self.conv6 = self._conv(self.hidden, channels)
        if dynamic:
            self.kernel = nn.Linear(self.hidden, kernel_size**2)
            with torch.no_grad():
                self.kernel.bias.zero_()[kernel_size**2 // 2] = 1
        else:
            self.conv5 = self._conv(1, 1)

    def _conv(self, inputs: int, outputs: int) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, self.kernel_size, padding=self.kernel_size // 2)

    def extra_repr(self) -> str:
        """Arguments that rebuild this module."""
        return (
            f"{self.channels}, kernel_size={self.kernel_size}, hidden={self.hidden}, dynamic={self.dynamic}, "
            f"neighborhood={self.neighborhood}"
        )

    def gate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the attention: ``S`` (B, 1, H, W) and ``Ch`` (B, C, 1, 1); the gate is ``sigmoid(S * Ch)``."""
        patch = 1 if self.neighborhood == 1 else min(self.neighborhood, max(x.shape[2:]))  # one is enough for all
        small = x if patch == 1 else F.avg_pool2d(x, patch, ceil_mode=True)
        features = conv_bn_relu(small, self.conv1_3, self.bn1_3)
        first, *third = features.split(self.hidden, 1)  # of conv1, and of conv3 where there is one
        spatial = convolve(conv_bn_relu(first, self.conv2, self.bn2), self.conv4)
        if self.dynamic:
            kernel = self.kernel(mean_over_positions(third[0]))
            spatial = dynamic_conv(spatial, kernel.unflatten(1, (self.kernel_size, self.kernel_size)))
        else:
            spatial = self.conv5(spatial)
        if patch > 1:
            spatial = spatial.repeat_interleave(patch, 2)[:, :, : x.shape[2]]
            spatial = spatial.repeat_interleave(patch, 3)[:, :, :, : x.shape[3]]
        return spatial, self._mean_of_conv6(first)

    def _mean_of_conv6(self, features: Tensor) -> Tensor:
        """``conv6(features).mean((2, 3))`` as (B, C, 1, 1): the means of the KxK shifted windows, then one product."""
        pad = self.kernel_size // 2
        if pad == 0:
            return self.conv6(mean_over_positions(features)[:, :, None, None])
        windows = F.avg_pool2d(F.pad(features, (pad, pad, pad, pad)), features.shape[-2:], stride=1)
        return F.conv2d(windows, self.conv6.weight, self.conv6.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to x (B, C, H, W)."""
        return sparta(x, *self.gate(x))
