"""Convolution, BatchNorm, ReLU, mean over positions and outer product, as fast as eager PyTorch allows.

Every shortcut gives the value and the derivatives of the plain call. They were measured on CPU and are taken there
only; compiled code and other devices get the plain call, which their own compilers and kernels know.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolve(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """``conv(x)`` with odd kernel K, a bias, and zero padding that keeps the size."""
    assert conv.bias is not None
    return _convolve(x, conv.weight, conv.bias)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """For 1x1 kernels a product of matrices where that is faster: with one output, and on large contiguous maps.

    oneDNN would reorder contiguous maps into its own layout and back, which takes as long as the product. On small maps
    it wins, but not with one output, for which its derivatives are slow in every layout.
    """
    outputs, channels, size, _ = weight.shape
    if size == 1 and _eager_cpu(x):
        matrix, (height, width) = weight.flatten(1), x.shape[2:]
        if outputs == 1 and x.stride(1) == 1:
            return F.linear(x.permute(0, 2, 3, 1), matrix, bias).permute(0, 3, 1, 2)
        if x.stride(3) == 1 and (outputs == 1 or height * width >= 4 * channels):
            matrices = matrix.expand(len(x), -1, -1)
            return torch.baddbmm(bias[:, None], matrices, x.flatten(2)).unflatten(2, (height, width))
    return F.conv2d(x, weight, bias, padding=size // 2)


def conv_bn_relu(x: Tensor, conv: nn.Conv2d, bn: nn.BatchNorm2d) -> Tensor:
    """``relu(bn(conv(x)))``; in eval mode BatchNorm is folded into the convolution: one pass over the maps less.

    Folding costs one product of the size of the weight, so nothing is cached and nothing can be out of date.
    ReLU works in place, since neither BatchNorm nor the convolution needs its output for its derivative.
    """
    if bn.training:
        return F.relu_(bn(convolve(x, conv)))
    weight, bias = conv.weight, conv.bias
    assert bias is not None
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight * (bn.running_var + bn.eps).rsqrt()
    return F.relu_(_convolve(x, weight * scale[:, None, None, None], bn.bias + (bias - bn.running_mean) * scale))


def mean_over_positions(x: Tensor) -> Tensor:
    """``x.mean((2, 3))``: (B, C, H, W) to (B, C).

    In channels_last it is a product with a row of 1/(H·W), whose derivative comes out in channels_last too; that of
    ``mean`` comes out contiguous, and what follows has to mix two layouts. Else it is a sum, whose derivative is one
    number for all positions, where that of ``mean`` is written out as a map; not where a sum could overflow.
    """
    if not _eager_cpu(x):
        return x.mean((2, 3))
    if x.stride(1) != 1:
        return x.sum((2, 3)) / (x.shape[2] * x.shape[3]) if x.dtype == torch.float32 else x.mean((2, 3))
    positions = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H*W, C)
    count = positions.shape[1]
    return torch.bmm(x.new_full((1, 1, 1), 1 / count).expand(len(x), 1, count), positions)[:, 0]


def sigmoid_of_product(spatial: Tensor, channel: Tensor, like: Tensor) -> Tensor:
    """``sigmoid(spatial * channel)``: (B, 1, H, W) and (B, C, 1, 1) to (B, C, H, W), in the layout of ``like``.

    As a product of matrices its derivatives are two products more, where broadcasting first writes maps and then sums
    them. And broadcasting gives contiguous maps whatever the layout of the rest: in channels_last what follows would
    have to mix two layouts, which takes three times as long.
    """
    if not _eager_cpu(like):
        return torch.sigmoid_(spatial * channel)
    by_position, by_channel = spatial.flatten(1), channel.flatten(1)  # (B, H*W), (B, C)
    if like.stride(1) == 1:
        gate = torch.sigmoid_(torch.bmm(by_position[:, :, None], by_channel[:, None]))
        return gate.unflatten(1, spatial.shape[2:]).permute(0, 3, 1, 2)
    return torch.sigmoid_(torch.bmm(by_channel[:, :, None], by_position[:, None])).unflatten(2, spatial.shape[2:])


def _eager_cpu(x: Tensor) -> bool:
    tracing = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not tracing
