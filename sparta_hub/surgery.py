"""Putting activations into timm networks and taking them out: the one file that knows timm's insides."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparta_hub.activations import Argument, build, find_family
from sparta_hub.errors import ArtifactError, SiteError
from sparta_hub.injected import Frozen, InjectedActivation
from sparta_hub.placement import Site, block_of, check_placement, select
from sparta_hub.spec import ActivationSpec, SiteSpec

POST_ADD = {  # timm's block -> (its activation after the residual addition, the convolution that says how many channels)
    "timm.models.resnet.BasicBlock": ("act2", "conv2"),
    "timm.models.resnet.Bottleneck": ("act3", "conv3"),
    "timm.models.resnest.ResNestBottleneck": ("act3", "conv3"),
    "timm.models.sknet.SelectiveKernelBasic": ("act", "conv2.conv"),
    "timm.models.sknet.SelectiveKernelBottleneck": ("act", "conv3.conv"),
}

REFUSED = {  # timm's class of block or network -> why a block placement cannot be right there
    "timm.models.res2net.Bottle2neck": "Res2Net calls one activation object several times in a block",
    "timm.models.regnet.RegNet": "RegNet's stages (s1 to s4) have widths that no published activation set has",
    "timm.models.convnext.ConvNeXt": "ConvNeXt has no activation after the residual addition",
    "timm.models.resnetv2.ResNetV2": "pre-activation ResNets (ResNetV2) have no activation after the residual addition",
    "timm.models.byobnet.ByobNet": "ByobNet's blocks are configured one by one and have no common place after the addition",
}

ACTIVATIONS = (  # what placement "every" replaces; gates (sigmoid, hard sigmoid, tanh) are no activations in this sense
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Softplus, nn.Hardswish,
)  # fmt: skip
TIMM_ACTIVATIONS = {"Swish", "Mish", "HardSwish", "HardMish", "GELU", "GELUTanh", "QuickGELU", "PReLU", "SwishMe",
                    "MishMe", "HardSwishMe", "HardMishMe"}  # fmt: skip


@dataclass(frozen=True)
class SiteStatus:
    """What stands at one site: see ``status``."""

    site: str
    path: str
    family: str
    frozen: Frozen
    enabled: bool
    training: bool
    parameters: int
    checksum: str


def sites(host: nn.Module, placement: str = "all", *, need_channels: bool = True) -> tuple[Site, ...]:
    """Find the places of ``host`` that ``placement`` names.

    Args:
        host: a timm network, on any device, the meta device included.
        placement: ``last``, ``all``, blocks such as ``G{1,2}.B{1}``, or ``every``.
        need_channels: only for ``every``: find the channels too, which takes one forward pass of one black image.

    Raises:
        SiteError: the host has no such place; the message says why.
        SpecError: ``placement`` is not written in a known way.
    """
    placement = check_placement(placement)
    if placement == "every":
        return _every_site(host, need_channels)
    return select(_block_sites(host), placement)


def inject(
    host: nn.Module,
    activation: str | ActivationSpec,
    *,
    placement: str = "last",
    arguments: Mapping[str, Argument] | None = None,
    state: Mapping[str, Tensor] | None = None,
    frozen: Frozen = False,
) -> ActivationSpec:
    """Replace activations of ``host`` in place, keeping its mode, device, dtype and memory format.

    Args:
        host: a timm network.
        activation: a family's name, or a spec; with a spec its own placement and arguments hold.
        placement: where, for a family's name.
        arguments: the family's arguments, for a family's name.
        state: tensors by file key (``stage4.block2.conv2.weight``); without it the activations are freshly initialised.
        frozen: True, False, or ``"weights"`` (BatchNorm statistics may follow, weights not).

    Returns:
        The spec of what was put in, with the host's own sites.

    Raises:
        SiteError: no such place, other channels, or the place is taken. The host is then as it was.
        ArtifactError: ``state`` lacks tensors, has others, or of other shapes. The host is then as it was.
    """
    if isinstance(activation, ActivationSpec):
        spec, found = activation, match_sites(activation, host)
    else:
        family = find_family(activation)
        found = sites(host, placement, need_channels=family.per_channel)
        known = tuple(SiteSpec(site.name, site.channels if family.per_channel else None) for site in found)
        spec = ActivationSpec(activation, {**family.defaults, **(arguments or {})}, check_placement(placement), known)
    _refuse_taken(host, found)
    named = tuple(SiteSpec(site.name, old.channels) for site, old in zip(found, spec.sites, strict=True))
    new = ActivationSpec(spec.family, spec.arguments, spec.placement, named)
    modules = build_modules(spec, state)
    for site, known, module in zip(found, named, modules, strict=True):
        original = host.get_submodule(site.path)
        _like(module, host, site.path)
        injected = InjectedActivation(module, original, known, new)
        if frozen:
            injected.freeze(frozen)
        for parent, name in _places(host, original):
            setattr(parent, name, injected)
    return new


def build_modules(spec: ActivationSpec, state: Mapping[str, Tensor] | None) -> list[nn.Module]:
    """Make the modules of ``spec``, in its order, and fill them strictly from ``state`` where it is given.

    With a state the modules are laid out without memory first, and compared with what is there: a spec cannot make
    this allocate more than its file holds.
    """
    if state is None:
        return [build(spec.family, site.channels, spec.arguments) for site in spec.sites]
    with torch.device("meta"):
        modules = [build(spec.family, site.channels, spec.arguments) for site in spec.sites]
    expected = {f"{s.key}.{k}": t for s, m in zip(spec.sites, modules, strict=True) for k, t in m.state_dict().items()}
    _compare(expected, state)
    for site, module in zip(spec.sites, modules, strict=True):
        own = {key: state[f"{site.key}.{key}"].clone() for key in module.state_dict()}
        module.load_state_dict(own, strict=True, assign=True)
    return modules


def match_sites(spec: ActivationSpec, host: nn.Module) -> tuple[Site, ...]:
    """Find the host's sites for ``spec``, in its order; ``last`` pairs stages, whatever number the block has."""
    per_channel = find_family(spec.family).per_channel
    found = sites(host, spec.placement, need_channels=per_channel)
    if spec.placement == "last" and len(found) != len(spec.sites):
        raise SiteError(f"The activation set has {len(spec.sites)} stages, {type(host).__name__} has {len(found)}.")
    if spec.placement != "last" and [s.name for s in found] != [s.name for s in spec.sites]:
        raise SiteError(
            f"The activation set ({spec.placement}) has sites {', '.join(s.name for s in spec.sites)}; "
            f"{type(host).__name__} has {', '.join(s.name for s in found)}."
        )
    for site, own in zip(found, spec.sites, strict=True):
        if per_channel and site.channels != own.channels:
            raise SiteError(
                f"At {site.name} the activation set has {own.channels} channels and {type(host).__name__} has "
                f"{site.channels} ({'/'.join(str(s.channels) for s in spec.sites)} against "
                f"{'/'.join(str(s.channels) for s in found)}). "
                f"sparta_hub.compatible_hosts(...) lists the timm hosts that fit."
            )
    return found


def injected(model: nn.Module) -> dict[str, InjectedActivation]:
    """All injected activations of ``model`` by path, in order; wrappers such as DDP and ``torch.compile`` are seen through."""
    return {path: module for path, module in model.named_modules() if isinstance(module, InjectedActivation)}


def spec_of(model: nn.Module) -> ActivationSpec:
    """The spec of the activation set inside ``model``."""
    return _some(model)[0].spec


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Tensors of the activation set inside ``model``, by file key."""
    return {f"{m.site.key}.{key}": t for m in _some(model) for key, t in m.activation.state_dict().items()}


def eject(model: nn.Module) -> nn.Module:
    """Put the host's own activations back, for good. Its logits are then what they were without ours, bit for bit."""
    for module in _some(model):
        module.original.train(module.training)
        for parent, name in _places(model, module):
            setattr(parent, name, module.original)
    return model


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """Inside the ``with``, ``model`` is its host as it was, bit for bit; may be nested."""
    before = [(module, module.enabled) for module in _some(model)]
    try:
        for module, _ in before:
            module.enabled = False
        yield model
    finally:
        for module, enabled in before:
            module.enabled = enabled


def freeze(model: nn.Module, *, frozen: Frozen = True) -> nn.Module:
    """Freeze all injected activations: their weights leave ``parameters()``; ``"weights"`` lets statistics adapt."""
    for module in _some(model):
        module.freeze(frozen)
    return model


def unfreeze(model: nn.Module) -> nn.Module:
    """Let injected activations train again. Their weights are new parameters: build the optimiser after this."""
    for module in _some(model):
        module.unfreeze()
    return model


def status(model: nn.Module) -> tuple[SiteStatus, ...]:
    """Say what stands at every injected site; the checksum covers weights and statistics. Empty if nothing is injected."""
    return tuple(
        SiteStatus(
            site=module.site.name,
            path=path,
            family=module.spec.family,
            frozen=module.frozen,
            enabled=module.enabled,
            training=module.activation.training,
            parameters=parameter_count(module),
            checksum=checksum(module.activation.state_dict()),
        )
        for path, module in injected(model).items()
    )


def parameter_count(module: InjectedActivation) -> int:
    """Learned values of one injected activation, frozen or not."""
    frozen = sum(
        getattr(module.activation.get_submodule(path), name).numel()
        for path, names in module.frozen_parameters.items()
        for name in names
    )
    return frozen + sum(p.numel() for p in module.activation.parameters())


def checksum(state: Mapping[str, Tensor]) -> str:
    """First 16 hex digits of the sha256 over names, dtypes, shapes and bytes of ``state``, in the order of names."""
    digest = hashlib.sha256()
    for key in sorted(state):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _some(model: nn.Module) -> list[InjectedActivation]:
    modules = list(injected(model).values())
    if not modules:
        raise SiteError(
            f"{type(model).__name__} holds no activation of ours; put one in with sparta_hub.load(..., model=...) or inject."
        )
    return modules


def _class_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _block_sites(host: nn.Module) -> list[Site]:
    """Sites after the residual addition, stage by stage."""
    host = getattr(host, "_orig_mod", host)
    found: list[Site] = []
    stage = 1
    while isinstance(blocks := getattr(host, f"layer{stage}", None), nn.Sequential):
        for number, block in enumerate(blocks, 1):
            kind = _class_name(block)
            if kind not in POST_ADD:
                raise _refusal(host, kind)
            activation, convolution = POST_ADD[kind]
            channels = block.get_submodule(convolution).out_channels
            found.append(Site(f"G{stage}.B{number}", f"layer{stage}.{number - 1}.{activation}", channels))
        stage += 1
    if not found:
        raise _refusal(host, _class_name(host))
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
    paths = {path: module for path, module in host.named_modules() if _is_activation(module)}
    if not paths:
        raise SiteError(f"{type(host).__name__} has no activation module that could be replaced.")
    if not need_channels:
        return tuple(Site(path, path, None) for path in paths)
    shapes = _observe(host, paths)
    for path, seen in shapes.items():
        channels = {shape[1] for shape in seen if len(shape) == 4}
        if len(channels) != 1 or len(seen) != 1:
            raise SiteError(
                f"{path} of {type(host).__name__} is called {len(seen)} times on one image, on maps {seen}; "
                "a family with weights per channel needs one map of 4 dimensions there."
            )
    return tuple(Site(path, path, shapes[path][0][1]) for path in paths)


def _is_activation(module: nn.Module) -> bool:
    kind = type(module)
    return kind in ACTIVATIONS or (kind.__module__.startswith("timm.layers.activations") and kind.__name__ in TIMM_ACTIVATIONS)


@torch.no_grad()
def _observe(host: nn.Module, paths: Mapping[str, nn.Module]) -> dict[str, list[tuple[int, ...]]]:
    """Shapes each activation puts out while the host sees one black image in eval mode; the host is left as found."""
    seen: dict[str, list[tuple[int, ...]]] = {path: [] for path in paths}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, path=path: seen[path].append(tuple(out.shape)))
        for path, module in paths.items()
    ]
    modes = [(module, module.training) for module in host.modules()]
    cfg = getattr(host, "pretrained_cfg", None) or {}
    parameter = next(host.parameters())
    image = torch.zeros(1, *cfg.get("input_size", (3, 224, 224)), device=parameter.device, dtype=parameter.dtype)
    try:
        host.eval()(image)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    return seen


def _refuse_taken(host: nn.Module, found: Sequence[Site]) -> None:
    for site in found:
        module = host.get_submodule(site.path)
        if isinstance(module, InjectedActivation):
            raise SiteError(f"{site.name} holds {module.spec.family} already; call sparta_hub.eject(model) first.")
    if inside := injected(host):
        raise SiteError(f"The host holds activations of ours already ({', '.join(inside)}); call sparta_hub.eject(model) first.")


def _like(module: nn.Module, host: nn.Module, path: str) -> None:
    """Bring ``module`` to the device, dtype and memory format that the host has around ``path``."""
    near = [*host.get_submodule(path.rpartition(".")[0]).parameters(), *host.parameters()]
    floating = [p for p in near if p.is_floating_point()]
    if not floating:
        return
    target, maps = floating[0], [p for p in floating if p.dim() == 4 and not p.is_contiguous()]
    if target.is_meta:
        module.to_empty(device="meta")
    module.to(target.device, target.dtype)
    if maps and maps[0].is_contiguous(memory_format=torch.channels_last):
        module.to(memory_format=torch.channels_last)


def _places(host: nn.Module, module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Everywhere in ``host`` where this very object is kept."""
    return [(parent, name) for parent in host.modules() for name, child in parent._modules.items() if child is module]


def _compare(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or extra:
        raise ArtifactError(
            f"The weights do not belong to this spec: {len(missing)} tensors are missing"
            f"{f' ({missing[0]}, ...)' if missing else ''} and {len(extra)} are unknown{f' ({extra[0]}, ...)' if extra else ''}."
        )
    for key, tensor in expected.items():
        seen = state[key]
        if seen.shape != tensor.shape or seen.dtype.is_floating_point != tensor.dtype.is_floating_point:
            raise ArtifactError(
                f"{key} is {seen.dtype} {tuple(seen.shape)}; this spec needs {tensor.dtype} {tuple(tensor.shape)}."
            )
        if seen.is_floating_point() and not seen.isfinite().all():
            raise ArtifactError(f"{key} holds NaN or infinite values: these weights are damaged, do not use them.")
