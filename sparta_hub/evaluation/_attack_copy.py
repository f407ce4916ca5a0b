"""The copy of a model that attacks run on: BatchNorm folded into the convolutions, channels_last, bfloat16, compiled.

The evaluator predicts every attacked image with the model itself, so a copy that is off can only make an attack
weaker, never count a success that there is not. ``_choice.py`` checks on a sample that it does not.

Compiling costs one to two minutes, for gradients and again for passes without, and gains nothing on a CPU
without matrix units: it is done when asked for.
"""

import copy
from collections import Counter
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sparta_hub.small_maps import has_matrix_unit, use_products

CLOSE = 1e-4  # largest difference of logits that folding may make, as a share of the largest logit


GRAPHS = 64  # a copy may be compiled for: with and without gradients, one image and several, other copies before it


class InBfloat16(nn.Module):
    """A model under autocast to bfloat16, with logits in float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of the images x (B, C, H, W)."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.model(x).float()


def attack_copy(model: nn.Module, x: Tensor) -> tuple[nn.Module, int]:
    """Copy ``model`` for attacks on images like ``x`` (B, C, H, W): eval mode, no parameter gradients, channels_last.

    Returns:
        The copy, and how many BatchNorm layers were folded; 0 where folding moved the logits by more than ``CLOSE``.
    """
    folded = _still(model)
    with torch.no_grad():
        expected = folded(x)
        count = _fold(folded, x)
        if count and not _close(folded(x), expected):
            folded, count = _still(model), 0
    return folded.requires_grad_(False).to(memory_format=torch.channels_last), count


class Compiled(nn.Module):
    """A copy, compiled with and without gradients apart: without, weights are constants and are packed for good."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._with_gradients = torch.compile(model, dynamic=True)
        self._without = torch.compile(model, dynamic=True, options={"freezing": True})

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of the images x (B, C, H, W)."""
        x = x.contiguous(memory_format=torch.channels_last)
        with torch._dynamo.config.patch(cache_size_limit=GRAPHS):
            return (self._with_gradients if torch.is_grad_enabled() else self._without)(x)


def in_bfloat16(copied: nn.Module, x: Tensor) -> nn.Module:
    """An ``attack_copy`` in bfloat16, for images like ``x``; where it changes, it is copied before."""
    if has_matrix_unit(x.device):
        copied = copy.deepcopy(copied)
        use_products(copied, fixed=True)
    return InBfloat16(copied)


def has_fast_bfloat16(x: Tensor) -> bool:
    """Whether the device of ``x`` (float32) computes bfloat16 products in hardware, rather than slowly in software."""
    if x.dtype != torch.float32:
        return False
    if x.is_cuda:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return x.device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


def _still(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval()


def _fold(model: nn.Module, x: Tensor) -> int:
    """Fold, in place, each BatchNorm that is alone in reading what one convolution gives; how many there were."""
    seen = _Seen(model)
    with seen:
        model(x)
    pairs = seen.pairs()
    for conv, norm in pairs:
        fused = fuse_conv_bn_eval(
            cast(nn.Conv2d, model.get_submodule(conv)), cast(nn.BatchNorm2d, model.get_submodule(norm))
        )
        model.set_submodule(conv, fused)
        model.set_submodule(norm, nn.Identity())
    return len(pairs)


class _Seen(TorchDispatchMode):
    """Watches one forward pass: what convolutions give, what BatchNorms get, and how many operations read a tensor.

    It watches rather than traces symbolically, since that fails at the first branch on a shape. Only layers of the
    plain types count, without hooks: a subclass, or a parametrised layer, may do more than its name says.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.given: dict[int, str] = {}
        self.got: dict[str, int] = {}
        self.reads, self.calls = Counter[int](), Counter[str]()
        self.alive: list[Tensor] = []  # so that no id is given to a second tensor
        plain = [
            (name, module)
            for name, module in model.named_modules()
            if type(module) in (nn.Conv2d, nn.BatchNorm2d)
            and not module._forward_hooks
            and not module._forward_pre_hooks
        ]
        self.handles = [module.register_forward_hook(self._hook(name)) for name, module in plain]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.reads.update(map(id, tensors))
        self.alive += tensors
        return func(*args, **(kwargs or {}))

    def __exit__(self, *error: Any) -> None:
        for handle in self.handles:
            handle.remove()
        super().__exit__(*error)

    def pairs(self) -> list[tuple[str, str]]:
        """Names of convolution and BatchNorm, of each pair that can be folded."""
        found = [(self.given[tensor], norm) for norm, tensor in self.got.items() if tensor in self.given]
        return [
            (conv, norm)
            for conv, norm in found
            if self.calls[conv] == self.calls[norm] == 1 and self.reads[self.got[norm]] == 1
        ]

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.calls[name] += 1
            self.alive.append(output)
            if isinstance(module, nn.Conv2d):
                self.given[id(output)] = name
            elif isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and not module.training:
                self.got[name] = id(inputs[0])

        return hook


def _close(seen: Tensor, expected: Tensor) -> bool:
    return bool((seen - expected).abs().max() <= CLOSE * expected.abs().max())
