"""Finding the places in a timm network where an activation can go; timm's classes are matched by name, not imported."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from sparta_hub.errors import SiteError, first_words, short
from sparta_hub.placement import Site, check_placement, select

POST_ADD = {  # timm's block -> (its activation after the residual addition, the convolution that says the channels)
    "timm.models.resnet.BasicBlock": ("act2", "conv2"),
    "timm.models.resnet.Bottleneck": ("act3", "conv3"),
    "timm.models.resnest.ResNestBottleneck": ("act3", "conv3"),
    "timm.models.sknet.SelectiveKernelBasic": ("act", "conv2.conv"),
    "timm.models.sknet.SelectiveKernelBottleneck": ("act", "conv3.conv"),
}

REFUSED = {  # class of block or network -> why a block placement cannot be right there
    "timm.models.res2net.Bottle2neck": "Res2Net calls one activation object several times in a block",
    "timm.models.regnet.RegNet": "RegNet's stages (s1 to s4) have widths that no published activation set has",
    "timm.models.convnext.ConvNeXt": "ConvNeXt has no activation after the residual addition",
    "timm.models.resnetv2.ResNetV2": "pre-activation ResNets (ResNetV2) have no activation after the residual addition",
    "timm.models.byobnet.ByobNet": "ByobNet's blocks are configured one by one and have no common place to be",
    "timm.models.hrnet.HighResolutionNet": "HRNet has residual blocks in its first stage only, the others are branches",
    "timm.models._features.FeatureHookNet": "features_only with hooks keeps layers, but not the stages they were in; "
    "where the network has stages, leave feature_cls out",
    "timm.models._features.FeatureGetterNet": "features_only with a getter keeps the network inside: give its .model",
    "torchvision.models.resnet.BasicBlock": "torchvision's blocks call one activation object several times",
    "torchvision.models.resnet.Bottleneck": "torchvision's blocks call one activation object several times",
}

ACTIVATIONS = (  # what placement "every" replaces; gates (sigmoid, hard sigmoid, tanh) are no activations in this sense
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Softplus, nn.Hardswish,
)  # fmt: skip
TIMM_ACTIVATIONS = {"Swish", "Mish", "HardSwish", "HardMish", "GELU", "GELUTanh", "QuickGELU", "PReLU", "SwishMe",
                    "MishMe", "HardSwishMe", "HardMishMe", "GammaAct", "StarReLU", "SquaredReLU"}  # fmt: skip
TIMM_ACTIVATION_FILES = {"timm.layers.activations", "timm.layers.activations_me", "timm.models.metaformer",
                         "timm.models.nfnet"}  # fmt: skip
OURS = "sparta_hub.injected.InjectedActivation"  # stands for the activation that it replaced


def sites(host: nn.Module, placement: str = "all", *, need_channels: bool = True) -> tuple[Site, ...]:
    """Find the places of ``host`` that ``placement`` names.

    Args:
        host: a timm network, on any device, the meta device included; not a wrapper around one.
        placement: ``last``, ``all``, blocks such as ``G{1,2}.B{1}``, or ``every`` (activation modules; what a network
            calls as a function is not seen).
        need_channels: only for ``every``: find the channels too, which takes one forward pass of one black image.

    Raises:
        SiteError: the host has no such place; the message says why.
        SpecError: ``placement`` is not written in a known way.
    """
    placement = check_placement(placement)
    host = uncompiled(host)
    _refuse_wrapper(host)
    if placement == "every":
        return _every_site(host, need_channels)
    return select(_block_sites(host), placement)


def uncompiled(host: nn.Module) -> nn.Module:
    """The network inside what ``torch.compile`` returned; any other network is returned as it is.

    Raises:
        SiteError: ``host`` is no network.
    """
    if not isinstance(host, nn.Module):
        raise SiteError(f"Got {short(host)}; expected a network, such as timm.create_model('resnet18').")
    return getattr(host, "_orig_mod", host)


def places(host: nn.Module, module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Everywhere in ``host`` where this very object is kept: parents and the names they have for it."""
    return [(parent, name) for parent in host.modules() for name, child in parent._modules.items() if child is module]


def image_shape(host: nn.Module) -> tuple[int, ...]:
    """(1, C, H, W) of an image that ``host`` takes, as far as it says so; else (1, 3, 224, 224)."""
    size = (getattr(host, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))[1:]
    return 1, next((module.in_channels for module in host.modules() if isinstance(module, nn.Conv2d)), 3), *size


def _class_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _refuse_wrapper(host: nn.Module) -> None:
    """Refuse DDP, which knows its parameters from the start, and modules around a timm network: paths would not fit."""
    if isinstance(host, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise SiteError(
            f"The host is wrapped in {type(host).__name__}, which would not see new parameters: "
            "put the activation into model.module first, and wrap the result."
        )
    inside = [(path, module) for path, module in host.named_modules() if path and hasattr(module, "pretrained_cfg")]
    if inside and not hasattr(host, "pretrained_cfg"):
        path, module = inside[0]
        raise SiteError(
            f"{type(host).__name__} is not a timm network but holds one, {type(module).__name__} at {path!r}: "
            f"pass model.get_submodule({path!r}) instead of model."
        )


def _block_sites(host: nn.Module) -> list[Site]:
    """Sites after the residual addition, stage by stage."""
    for kind in map(_class_name, type(host).__mro__):
        if kind in REFUSED:
            raise _refusal(host, kind)
    found: list[Site] = []
    known: dict[nn.Module, str] = {}
    stage = 1
    while isinstance(blocks := getattr(host, f"layer{stage}", None), nn.Sequential):
        for number, block in enumerate(blocks, 1):
            kind = _class_name(type(block))
            if kind not in POST_ADD:
                raise _refusal(host, kind)
            name = f"G{stage}.B{number}"
            if known.setdefault(block, name) != name:
                raise SiteError(f"{known[block]} and {name} are one block used twice: it has no activation for each.")
            activation, convolution = POST_ADD[kind]
            channels = cast(nn.Conv2d, block.get_submodule(convolution)).out_channels
            found.append(Site(name, f"layer{stage}.{number - 1}.{activation}", channels))
        stage += 1
    if not found:
        raise _refusal(host, _class_name(type(host)))
    return found


def _refusal(host: nn.Module, kind: str) -> SiteError:
    cfg = getattr(host, "pretrained_cfg", None) or {}
    name = cfg.get("architecture") or type(host).__name__
    reason = REFUSED.get(kind, f"it has {kind}, and not one of the blocks whose activation after the addition is known")
    return SiteError(
        f"{name} has no site for a block placement: {reason}. Use a ResNet or ResNeXt of timm, such as resnet34 or "
        "resnet34_cifar, or placement 'every' with an elementwise family."
    )


def _every_site(host: nn.Module, need_channels: bool) -> tuple[Site, ...]:
    ours = tuple(f"{path}." for path, module in host.named_modules() if _class_name(type(module)) == OURS)
    paths = {
        path: module for path, module in host.named_modules() if _is_activation(module) and not path.startswith(ours)
    }
    if not paths:
        raise SiteError(f"{type(host).__name__} has no activation module that could be replaced.")
    if digits := [path for path in paths if path[0].isdigit()]:
        raise SiteError(
            f"{type(host).__name__} has an activation at {digits[0]!r}, which can be no name of a site. Give its "
            "layers names: nn.Sequential(OrderedDict(conv=..., act=...)), or make it an attribute of a module of yours."
        )
    if not need_channels:
        return tuple(Site(path, path, None) for path in paths)
    shapes = _observe(host, paths)
    for path, seen in shapes.items():
        if len(seen) != 1 or len(seen[0]) != 4:
            raise SiteError(
                f"{path} of {type(host).__name__} is called {len(seen)} times on one image, on maps {seen}; "
                "a family with weights per channel needs one map (batch, channels, height, width) there. "
                "Use an elementwise family, or a block placement."
            )
    return tuple(Site(path, path, seen[0][1]) for path, seen in shapes.items())


def _is_activation(module: nn.Module) -> bool:
    kind = type(module)
    timms = kind.__module__ in TIMM_ACTIVATION_FILES and kind.__name__ in TIMM_ACTIVATIONS
    return kind in ACTIVATIONS or timms or _class_name(kind) == OURS


@torch.no_grad()
def _observe(host: nn.Module, paths: Mapping[str, nn.Module]) -> dict[str, list[tuple[int, ...]]]:
    """Shapes each activation puts out while the host sees one black image in eval mode; the host is left as found.

    A map (batch, height, width, channels), as between the linear layers of ConvNeXt, is told from the usual one by the
    layer that ran last, and given without its batch, so that it has no 4 dimensions.
    """
    seen: dict[str, list[tuple[int, ...]]] = {path: [] for path in paths}
    channels_at_the_end = False

    def after_weights(module: nn.Module, _inputs: tuple[Tensor, ...], _out: Tensor) -> None:
        nonlocal channels_at_the_end
        channels_at_the_end = isinstance(module, nn.Linear)

    def after_activation(path: str, out: Any) -> None:
        shape = tuple(out.shape)
        seen[path].append(shape[1:] if len(shape) == 4 and channels_at_the_end else shape)

    hooks = [m.register_forward_hook(after_weights) for m in host.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    hooks += [
        module.register_forward_hook(lambda _m, _i, out, path=path: after_activation(path, out))
        for path, module in paths.items()
    ]
    modes = [(module, module.training) for module in host.modules()]
    like = next(host.parameters(), torch.empty(0))
    image = torch.zeros(image_shape(host), device=like.device, dtype=like.dtype)
    try:
        host.eval()(image)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise SiteError(
            f"{type(host).__name__} fails on one black image {tuple(image.shape)}, which is to tell the channels: "
            f"{first_words(error)} Use an elementwise family, which needs none; or say which images "
            "the network takes: model.pretrained_cfg = {'input_size': (3, 32, 32)}."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    return seen
