"""Hosts for small images, registered with timm when this module is imported: 3×3 stem, no max-pool, images in [0, 1].

The first three have timm's BasicBlock or Bottleneck, so SPARTA goes into them; the last two are pre-activation networks,
without an activation after the addition, and serve as baselines and for placement ``every``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from timm.layers import BatchNormAct2d, create_conv2d
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.resnetv2 import ResNetV2
from torch import nn

_CFG = {
    "input_size": (3, 32, 32),
    "num_classes": 10,
    "pool_size": (4, 4),
    "mean": (0.0, 0.0, 0.0),  # images in [0, 1] go in as they are
    "std": (1.0, 1.0, 1.0),
    "crop_pct": 1.0,
    "interpolation": "bilinear",
}

default_cfgs = generate_default_cfgs(
    {f"{name}.untrained": {**_CFG, "first_conv": "conv1", "classifier": "fc"} for name in ("resnet18_cifar", "resnet34_cifar", "resnet50_cifar")}
    | {f"{name}.untrained": {**_CFG, "first_conv": "stem.conv", "classifier": "head.fc"} for name in ("preact_resnet18", "wide_resnet34_10")}
)  # fmt: skip

_PREACT = {"conv_layer": create_conv2d, "norm_layer": BatchNormAct2d, "basic": True, "bottle_ratio": 1.0}


def _stem(in_chans: int, out_chans: int, like: nn.Conv2d) -> nn.Conv2d:
    conv = nn.Conv2d(in_chans, out_chans, 3, padding=1, bias=False, device=like.weight.device, dtype=like.weight.dtype)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _finer(feature_info: list[dict[str, Any]]) -> None:
    """Say how far each feature map is reduced, now that neither the stem nor a pool does it."""
    feature_info[0]["reduction"] = 1
    for info in feature_info[1:]:
        info["reduction"] //= 4


def _small_resnet(in_chans: int = 3, num_classes: int = 10, **kwargs: Any) -> ResNet:
    model = ResNet(in_chans=in_chans, num_classes=num_classes, **kwargs)
    model.conv1 = _stem(in_chans, 64, model.conv1)
    model.maxpool = nn.Identity()
    _finer(model.feature_info)
    return model


def _small_preact(in_chans: int = 3, num_classes: int = 10, **kwargs: Any) -> ResNetV2:
    model = ResNetV2(in_chans=in_chans, num_classes=num_classes, **kwargs)
    model.stem.conv = _stem(in_chans, model.stem.conv.out_channels, model.stem.conv)
    model.stem.pool = nn.Identity()
    _finer(model.feature_info)
    return model


def _build(name: str, factory: Callable[..., nn.Module], pretrained: bool, **kwargs: Any) -> nn.Module:
    return build_model_with_cfg(factory, name, pretrained, **kwargs)


@register_model
def resnet18_cifar(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 for small images: 11,173,962 parameters with 10 classes."""
    return _build("resnet18_cifar", partial(_small_resnet, block=BasicBlock, layers=(2, 2, 2, 2)), pretrained, **kwargs)


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
    """Pre-activation ResNet-18 for small images (He et al. 2016, arXiv:1603.05027)."""
    shape = {"layers": (2, 2, 2, 2), "channels": (64, 128, 256, 512)}
    return _build("preact_resnet18", partial(_small_preact, **shape, **_PREACT), pretrained, feature_cfg={"flatten_sequential": True}, **kwargs)


@register_model
def wide_resnet34_10(pretrained: bool = False, **kwargs: Any) -> ResNetV2:
    """Wide ResNet-34-10 for small images (Zagoruyko & Komodakis 2016, arXiv:1605.07146): three stages."""
    shape = {"layers": (5, 5, 5), "channels": (160, 320, 640), "stem_chs": 16}
    feature_cfg = {"flatten_sequential": True, "out_indices": (0, 1, 2, 3)}
    return _build("wide_resnet34_10", partial(_small_preact, **shape, **_PREACT), pretrained, feature_cfg=feature_cfg, **kwargs)
