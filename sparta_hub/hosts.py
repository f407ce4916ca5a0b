"""Hosts for small images, registered with timm when this module is imported: 3×3 stem, no max-pool, images in [0, 1].

The first four have timm's BasicBlock or Bottleneck, so SPARTA goes into them; the last two are pre-activation
networks, without an activation after the addition, and serve as baselines and for placement ``every``.
"""

import difflib
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any, TypeVar, cast

import timm
import torch
from timm.layers.create_conv2d import create_conv2d
from timm.layers.norm_act import BatchNormAct2d
from timm.models import build_model_with_cfg, generate_default_cfgs, get_pretrained_cfg, register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sparta_hub.errors import SiteError

_Net = TypeVar("_Net", bound=nn.Module)

_CFG = {
    "input_size": (3, 32, 32),
    "num_classes": 10,
    "pool_size": (4, 4),
    "mean": (0.0, 0.0, 0.0),  # images in [0, 1] go in as they are
    "std": (1.0, 1.0, 1.0),
    "crop_pct": 1.0,
    "interpolation": "bilinear",
}

_CFG_RESNET = {**_CFG, "first_conv": "conv1", "classifier": "fc"}
_CFG_PREACT = {**_CFG, "first_conv": "stem.conv", "classifier": "head.fc"}

default_cfgs = generate_default_cfgs(
    {
        "resnet18_cifar.untrained": _CFG_RESNET,
        "resnet18_w16_cifar.untrained": _CFG_RESNET,
        "resnet18_w24_cifar.untrained": _CFG_RESNET,
        "resnet34_cifar.untrained": _CFG_RESNET,
        "resnet50_cifar.untrained": _CFG_RESNET,
        "preact_resnet18.untrained": _CFG_PREACT,
        "wide_resnet34_10.untrained": _CFG_PREACT,
    }
)

_PREACT = {"conv_layer": create_conv2d, "norm_layer": BatchNormAct2d, "basic": True, "bottle_ratio": 1.0}


def _stem(in_chans: int, like: nn.Module) -> nn.Conv2d:
    """The convolution that takes the place of ``like``, timm's, or of the last one of it: 3×3, stride 1."""
    last = like[-1] if isinstance(like, nn.Sequential) else like
    assert isinstance(last, nn.Conv2d)
    weight = last.weight
    conv = nn.Conv2d(in_chans, last.out_channels, 3, padding=1, bias=False, device=weight.device, dtype=weight.dtype)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _finer(feature_info: list[dict[str, Any]]) -> None:
    """Say how far each feature map is reduced, now that neither the stem nor a pool does it."""
    feature_info[0]["reduction"] = 1
    for info in feature_info[1:]:
        info["reduction"] //= 4


def _small_resnet(
    in_chans: int = 3, num_classes: int = 10, *, stem_type: str = "", stem_width: int = 64, **kwargs: Any
) -> ResNet:
    assert not stem_type, "these hosts have one convolution as their stem: leave stem_type at its default"
    # timm's plain stem is 64 wide whatever is asked for, its deep one twice stem_width
    deep = {} if stem_width == 64 else {"stem_type": "deep", "stem_width": stem_width // 2}
    model = ResNet(in_chans=in_chans, num_classes=num_classes, **deep, **kwargs)
    model.conv1 = _stem(in_chans, model.conv1)
    model.maxpool = nn.Identity()
    _finer(model.feature_info)
    return model


def _small_preact(in_chans: int = 3, num_classes: int = 10, **kwargs: Any) -> ResNetV2:
    if "basic" not in signature(ResNetV2).parameters:
        raise SiteError("The pre-activation hosts need timm 1.0.10 or newer: pip install -U timm")
    model = ResNetV2(in_chans=in_chans, num_classes=num_classes, **kwargs)
    model.stem.conv = _stem(in_chans, model.stem.get_submodule("conv"))
    model.stem.pool = nn.Identity()
    _finer(model.feature_info)
    return model


def _build(name: str, factory: Callable[..., _Net], pretrained: bool, **kwargs: Any) -> _Net:
    return cast(_Net, build_model_with_cfg(factory, name, pretrained, **kwargs))


@register_model
def resnet18_cifar(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 for small images: 11,173,962 parameters with 10 classes."""
    return _build("resnet18_cifar", partial(_small_resnet, block=BasicBlock, layers=(2, 2, 2, 2)), pretrained, **kwargs)


@register_model
def resnet18_w16_cifar(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 for small images, a quarter as wide, for comparisons over many seeds: 701,466 with 10 classes."""
    shape = {"layers": (2, 2, 2, 2), "channels": (16, 32, 64, 128), "stem_width": 16}
    return _build("resnet18_w16_cifar", partial(_small_resnet, block=BasicBlock, **shape), pretrained, **kwargs)


@register_model
def resnet18_w24_cifar(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """``resnet18_w16_cifar`` half as wide again, to set against activations with many parameters: 1,575,202."""
    shape = {"layers": (2, 2, 2, 2), "channels": (24, 48, 96, 192), "stem_width": 24}
    return _build("resnet18_w24_cifar", partial(_small_resnet, block=BasicBlock, **shape), pretrained, **kwargs)


@register_model
def resnet34_cifar(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-34 for small images: 21,282,122 parameters with 10 classes."""
    return _build("resnet34_cifar", partial(_small_resnet, block=BasicBlock, layers=(3, 4, 6, 3)), pretrained, **kwargs)


@register_model
def resnet50_cifar(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 for small images: 23,520,842 parameters with 10 classes."""
    return _build("resnet50_cifar", partial(_small_resnet, block=Bottleneck, layers=(3, 4, 6, 3)), pretrained, **kwargs)


@register_model
def preact_resnet18(pretrained: bool = False, **kwargs: Any) -> ResNetV2:
    """Pre-activation ResNet-18 for small images (He et al. 2016, arXiv:1603.05027): 11,172,170 with 10 classes.

    As in the paper, a last BatchNorm and ReLU stand before the pool; the variant without them, which is also found in
    the literature, has 1,024 parameters less (11,171,146).
    """
    shape = {"layers": (2, 2, 2, 2), "channels": (64, 128, 256, 512)}
    feature_cfg = {"flatten_sequential": True}
    factory = partial(_small_preact, **shape, **_PREACT)
    return _build("preact_resnet18", factory, pretrained, feature_cfg=feature_cfg, **kwargs)


@register_model
def wide_resnet34_10(pretrained: bool = False, **kwargs: Any) -> ResNetV2:
    """Wide ResNet-34-10 for small images (Zagoruyko & Komodakis 2016, arXiv:1605.07146): 46,160,474 with 10 classes."""
    shape = {"layers": (5, 5, 5), "channels": (160, 320, 640), "stem_chs": 16}
    feature_cfg = {"flatten_sequential": True, "out_indices": (0, 1, 2, 3)}
    factory = partial(_small_preact, **shape, **_PREACT)
    return _build("wide_resnet34_10", factory, pretrained, feature_cfg=feature_cfg, **kwargs)


def create_host(name: str, num_classes: int | None = None, **kwargs: Any) -> nn.Module:
    """Make the timm network ``name``, freshly initialised; an unknown name is a ``SiteError`` with the nearest ones.

    Args:
        name: as timm knows it, one of the hosts above included; a tag of pretrained weights is checked, and not used.
        num_classes: classes of its head; timm's default for that network if None, no head if 0.
        **kwargs: passed on to ``timm.create_model``.
    """
    check_num_classes(num_classes, name)
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise SiteError(f"timm has no model {name!r}.{hint} timm.list_models() shows all.")
    try:
        get_pretrained_cfg(name)
    except RuntimeError as error:
        architecture, _, tag = name.partition(".")
        raise SiteError(
            f"timm has no weights {tag!r} of {architecture}; leave the tag out: {architecture!r}."
        ) from error
    if num_classes is not None:
        kwargs["num_classes"] = num_classes
    return timm.create_model(name, **kwargs)


def check_num_classes(num_classes: int | None, name: str) -> None:
    """Raise ``SiteError`` unless ``num_classes`` is a number of classes for the network ``name``, or None."""
    if num_classes is not None and (type(num_classes) is not int or num_classes < 0):
        raise SiteError(f"num_classes is {num_classes!r}; expected a whole number, or None for {name}'s own.")


class _NothingDrawn(TorchFunctionMode):
    """Inside, tensors without memory get no initial values; drawing what nothing holds is half the time of building."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == nn.init.__name__:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


def host_on_meta(name: str, num_classes: int | None = None, **kwargs: Any) -> nn.Module:
    """The network that ``create_host`` would make, without memory for its weights."""
    try:
        with torch.device("meta"), _NothingDrawn():
            return create_host(name, num_classes, **kwargs)
    except (NotImplementedError, RuntimeError):  # some networks of older timm look at values while they are made
        return create_host(name, num_classes, **kwargs)
