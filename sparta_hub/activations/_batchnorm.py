"""Convolution, BatchNorm, ReLU in one step where BatchNorm is a fixed affine map."""

import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn_relu(x: Tensor, conv: nn.Conv2d, bn: nn.BatchNorm2d) -> Tensor:
    """``relu(bn(conv(x)))``; in eval mode BatchNorm is folded into the convolution: one pass over the maps less.

    Folding costs one product of the size of the weight, so nothing is cached and nothing can be out of date.
    """
    if bn.training:
        return F.relu(bn(conv(x)))
    scale = bn.weight * (bn.running_var + bn.eps).rsqrt()
    weight = conv.weight * scale[:, None, None, None]
    bias = bn.bias + (conv.bias - bn.running_mean) * scale
    return F.relu(F.conv2d(x, weight, bias, conv.stride, conv.padding))
