"""Convolutions on small maps as one product of matrices.

Matrix units of processors (Intel's AMX) take sixteen rows at a time. A library's convolution gives them the pixels of
one row of a map, of which the last stage of a ResNet at 32×32 has four, and so leaves three quarters of the unit idle.
With the pixels of all images laid out as one matrix it is busy: a layer of 512 channels at 4×4 takes half the
time forward, and its gradient for the weights a sixth.
"""

from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

WIDEST = 4  # maps, in pixels, up to which the product was the faster one
FEWEST = 128  # input channels from which on it was


def has_matrix_unit(device: torch.device) -> bool:
    """Whether products in bfloat16 run on a matrix unit that this was measured on."""
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def use_products(model: nn.Module, *, fixed: bool = False) -> int:
    """Let the convolutions of ``model`` that can gain by it take ``ProductConv2d``'s way, in place; how many.

    Args:
        model: keeps its parameters, their names and its hooks.
        fixed: the weights do not change from now on; those of the layers in question become bfloat16.
    """
    suited = [(name, module) for name, module in model.named_modules() if _suits(module)]
    for name, module in suited:
        model.set_submodule(name, ProductConv2d.of(cast(nn.Conv2d, module), fixed=fixed))
    return len(suited)


def _suits(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.in_channels >= FEWEST
        and module.kernel_size != (1, 1)
        and module.groups == 1
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


class ProductConv2d(nn.Conv2d):
    """A convolution without groups and dilation that is a product of matrices where bfloat16 meets a small map.

    Elsewhere it is torch's own. ``turned`` holds the weights as the gradient of the input wants them, (C_in,
    height × width × C_out), where they are fixed; else None.
    """

    turned: Tensor | None

    @classmethod
    def of(cls, conv: nn.Conv2d, *, fixed: bool = False) -> Self:
        """Make one that shares its parameters, hooks and settings with ``conv``; see ``use_products``."""
        made = cls.__new__(cls)
        made.__dict__.update(conv.__dict__)
        made._parameters, made._buffers = dict(conv._parameters), dict(conv._buffers)
        turned = None
        if fixed:
            made.bfloat16()
            if conv.stride == (1, 1):
                turned = made.weight.detach().flip(2, 3).permute(1, 2, 3, 0).flatten(1)
        made.register_buffer("turned", turned, persistent=False)
        return made

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, C_out, H', W') from maps (B, C_in, H, W)."""
        device = input.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else input.dtype
        stride, padding = cast(tuple[int, int], self.stride), cast(tuple[int, int], self.padding)
        width = (input.shape[-1] + 2 * padding[1] - self.kernel_size[1]) // stride[1] + 1
        if input.dim() != 4 or dtype is not torch.bfloat16 or width > WIDEST:
            return super().forward(input)
        y = cast(Tensor, _Product.apply(input.to(dtype), self.weight.to(dtype), self.turned, stride, padding))
        return y if self.bias is None else y + self.bias.to(dtype)[:, None, None]


class _Product(torch.autograd.Function):
    """The convolution, and its derivatives in the cheapest form of each; they can be differentiated again."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, turned: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight, turned)
        ctx.stride, ctx.padding = stride, padding
        columns = _columns(x, (weight.shape[2], weight.shape[3]), stride, padding)
        return F.linear(columns, weight.permute(0, 2, 3, 1).flatten(1)).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight, turned = ctx.saved_tensors
        kernel, of_x, of_weight = (weight.shape[2], weight.shape[3]), None, None
        if ctx.needs_input_grad[0] and turned is not None:
            around = (kernel[0] - 1 - ctx.padding[0], kernel[1] - 1 - ctx.padding[1])
            of_x = F.linear(_columns(grad, kernel, (1, 1), around), turned).permute(0, 3, 1, 2)
        elif ctx.needs_input_grad[0]:  # turning the weights would cost more than the product saves
            of_x = conv2d_input(x.shape, weight, grad, stride=ctx.stride, padding=ctx.padding)
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
