"""Convolutions on small maps as one product of matrices.

Matrix units of processors (Intel's AMX) take sixteen rows at a time. A library's convolution gives them the pixels of
one row of a map, of which the last stage of a ResNet at 32×32 has four, and so leaves three quarters of the unit idle.
With the pixels of all images laid out as one matrix it is busy: a layer of 512 channels at 4×4 takes half the
time forward, and its gradient for the weights a sixth.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDEST = 4  # maps, in pixels, up to which the product was the faster one
FEWEST = 128  # input channels from which on it was


class ProductConv2d(nn.Conv2d):
    """The same layer with the same parameters, computed as a product of matrices: ``ProductConv2d.of(conv)``.

    ``turned`` holds the weights as its input gradient wants them, if they stay as they are; else None.
    """

    turned: Tensor | None

    @classmethod
    def of(cls, conv: nn.Conv2d, *, fixed: bool = False) -> "ProductConv2d":
        """Take the place of ``conv``, one that ``suits``; the parameters are shared, not copied.

        Args:
            conv: a layer without groups, dilation and padding of another kind than zeros.
            fixed: its weights do not change from now on.
        """
        made = cls.__new__(cls)
        made.__dict__ = dict(conv.__dict__)  # parameters, hooks and settings as they are
        weight = conv.weight.detach()
        turned = weight.flip(2, 3).permute(1, 2, 3, 0).flatten(1) if fixed and conv.stride == (1, 1) else None
        made._parameters = dict(conv._parameters)
        made._buffers = dict(conv._buffers)
        made._non_persistent_buffers_set = {*conv._non_persistent_buffers_set, "turned"}
        made.register_buffer("turned", turned, persistent=False)
        return made

    def forward(self, input: Tensor) -> Tensor:
        """Output (B, C_out, H', W') in channels_last of the images or maps (B, C, H, W)."""
        x, weight, bias = input, self.weight, self.bias
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        stride, padding = cast(tuple[int, int], self.stride), cast(tuple[int, int], self.padding)
        y = cast(Tensor, _Product.apply(x, weight, self.turned, stride, padding))
        return y if bias is None else y + bias[:, None, None]


def suits(conv: nn.Module, width: int) -> bool:
    """Whether the layer is one that a product replaces, and with an output ``width`` pixels wide is the faster one."""
    return (
        type(conv) is nn.Conv2d
        and conv.groups == 1
        and conv.dilation == (1, 1)
        and conv.kernel_size != (1, 1)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and conv.in_channels >= FEWEST
        and width <= WIDEST
    )


def has_matrix_unit(device: torch.device) -> bool:
    """Whether products in bfloat16 run on a matrix unit that this was measured on."""
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


class _Product(torch.autograd.Function):
    """The convolution, and its derivatives in the cheapest form of each; they can be differentiated again."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, turned: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight, turned)
        ctx.stride, ctx.padding = stride, padding
        columns = _columns(x, weight.shape[2:], stride, padding)
        return F.linear(columns, weight.permute(0, 2, 3, 1).flatten(1)).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight, turned = ctx.saved_tensors
        kernel, of_x, of_weight = weight.shape[2:], None, None
        if ctx.needs_input_grad[0] and turned is not None:
            around = (kernel[0] - 1 - ctx.padding[0], kernel[1] - 1 - ctx.padding[1])
            of_x = F.linear(_columns(grad, kernel, (1, 1), around), turned).permute(0, 3, 1, 2)
        elif ctx.needs_input_grad[0]:  # turning the weights costs more than the product saves
            of_x = nn.grad.conv2d_input(x.shape, weight, grad, stride=ctx.stride, padding=ctx.padding)
        if ctx.needs_input_grad[1]:
            columns = _columns(x, kernel, ctx.stride, ctx.padding).flatten(0, 2)
            product = grad.permute(0, 2, 3, 1).flatten(0, 2).T @ columns
            of_weight = product.unflatten(1, (*kernel, x.shape[1])).permute(0, 3, 1, 2)
        return of_x, of_weight, None, None, None


def _columns(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """The pixels that each output pixel reads, (B, H', W', kernel height × kernel width × C)."""
    (height, width), (down, right) = kernel, stride
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    rows, columns = (padded.shape[1] - height) // down + 1, (padded.shape[2] - width) // right + 1
    return torch.cat(
        [
            padded[:, i : i + down * (rows - 1) + 1 : down, j : j + right * (columns - 1) + 1 : right]
            for i in range(height)
            for j in range(width)
        ],
        -1,
    )
