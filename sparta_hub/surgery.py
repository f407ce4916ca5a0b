"""Putting activations into networks and taking them out; where they can go is ``site_search.py``'s matter."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparta_hub.activations import Argument, find_family
from sparta_hub.errors import SiteError, SpecError, short
from sparta_hub.injected import Frozen, InjectedActivation, check_frozen, checksum, parameter_count
from sparta_hub.matching import build_modules, match_sites, site_names
from sparta_hub.placement import Site, check_placement
from sparta_hub.site_search import places, sites, uncompiled
from sparta_hub.spec import ActivationSpec, SiteSpec


@dataclass(frozen=True)
class SiteStatus:
    """What stands at one site: see ``status``.

    Args:
        site: its name, such as ``G4.B2``.
        path: where it is in the network.
        family: of the activation.
        frozen: True, False or ``"weights"``.
        enabled: False inside ``disabled``.
        training: whether it, or a BatchNorm layer in it, is in training mode.
        parameters: learned values, frozen or not.
        checksum: of weights and statistics; ``"meta"`` for a model without storage.
        overwritten: whether something has written into what is frozen since, as ``model.init_weights()`` does.
    """

    site: str
    path: str
    family: str
    frozen: Frozen
    enabled: bool
    training: bool
    parameters: int
    checksum: str
    overwritten: bool


def inject(
    host: nn.Module,
    activation: str | ActivationSpec,
    *,
    placement: str = "last",
    arguments: Mapping[str, Argument] | None = None,
    state: Mapping[str, Tensor] | None = None,
    frozen: Frozen = False,
) -> ActivationSpec:
    """Replace activations of ``host`` in place, keeping its mode, device, dtype, memory format and hooks.

    Hooks on what is replaced see the new activation, as all that is asked for by its path does.

    Weights that are not frozen are new parameters: build the optimiser after this, or it will not move them.

    Args:
        host: a timm network.
        activation: a family's name, or a spec; with a spec its own placement and arguments hold.
        placement: where, for a family's name.
        arguments: the family's arguments, for a family's name.
        state: tensors by file key (``stage4.block2.conv2.weight``); without it the activations are freshly initialised,
            and the origin of a spec is left out: it is that of other weights.
        frozen: True, False, or ``"weights"`` (BatchNorm statistics may follow, weights not).

    Returns:
        The spec of what was put in, with the host's own sites.

    Raises:
        SiteError: no such place, other channels, or the place is taken. The host is then as it was.
        SpecError: an unknown family, argument, placement or ``frozen``, or both a spec and what it already says.
        ArtifactError: ``state`` lacks tensors, has others, or of other shapes. The host is then as it was.
    """
    check_frozen(frozen)
    host = uncompiled(host)
    if isinstance(activation, ActivationSpec):
        if arguments is not None or placement not in ("last", activation.placement):
            raise SpecError("inject got a spec and arguments or a placement too; a spec has its own: leave them out.")
        spec, found = activation, match_sites(activation, host)
    else:
        family = find_family(activation)
        found = sites(host, placement, need_channels=family.per_channel)
        known = tuple(SiteSpec(site.name, site.channels if family.per_channel else None) for site in found)
        if arguments is not None and not isinstance(arguments, Mapping):
            raise SpecError(f"arguments is {short(arguments)}; expected names and values: {dict(family.defaults)}.")
        spec = ActivationSpec(activation, {**family.defaults, **(arguments or {})}, check_placement(placement), known)
    refuse_taken(host, found)
    new = replace(
        spec,
        sites=tuple(SiteSpec(site.name, old.channels) for site, old in zip(found, spec.sites, strict=True)),
        origin=None if state is None else spec.origin,
    )
    with torch.device("meta" if any(p.is_meta for p in host.parameters()) else "cpu"):
        modules = build_modules(spec, state)  # on the CPU whatever the host's device: the same seed, the same weights
    ready: list[InjectedActivation] = []
    for site, known, module in zip(found, new.sites, modules, strict=True):
        _like(module, host, site.path)
        ready.append(InjectedActivation(module, host.get_submodule(site.path), known, new))
        if frozen:
            ready[-1].freeze(frozen)
    for site, module in zip(found, ready, strict=True):  # nothing can fail from here on
        for parent, name in places(host, module.original) if new.placement == "every" else [_place(host, site)]:
            setattr(parent, name, module)
        alone = places(host, module.original) == [(module, "original")]  # else the host calls it elsewhere, too
        module.take_hooks(shared=not alone)
        if alone:
            module.keep_original()
    return new


def injected(model: nn.Module) -> dict[str, InjectedActivation]:
    """All injected activations of ``model`` by path, in order; DDP and ``torch.compile`` are seen through."""
    if not isinstance(model, nn.Module):
        raise SiteError(f"Got {short(model)}; expected a network, such as sparta_hub.load(...) returns.")
    return {path: module for path, module in model.named_modules() if isinstance(module, InjectedActivation)}


def spec_of(model: nn.Module) -> ActivationSpec:
    """The spec of the activation set inside ``model``.

    It has an origin only while all weights and statistics are those that were put in with it: trained on, they come
    from elsewhere.
    """
    modules = _one_set(model)
    spec = modules[0].spec
    moved = spec.origin is not None and any(checksum(m.activation.state_dict()) != m.given for m in modules)
    return replace(spec, origin=None) if moved else spec


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Tensors of the activation set inside ``model``, by file key."""
    return {f"{m.site.key}.{key}": t for m in _one_set(model) for key, t in m.activation.state_dict().items()}


def eject(model: nn.Module) -> nn.Module:
    """Put the host's own activations back, for good. Its logits are then what they were without ours, bit for bit.

    Weights of the host's own activations, such as PReLU's, are buffers meanwhile and new parameters after this: build
    the optimiser then. To go on training in DDP, wrap the result anew: what it knows of the parameters is out of date.
    """
    for module in _some(model):
        original = module.release_original()
        for parent, name in places(model, module):
            setattr(parent, name, original)
    return model


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """Inside the ``with``, ``model`` is its host as it was, bit for bit; may be nested.

    It holds for the model, not for a thread: while one thread is inside, the others see the host too, and the
    activations are back when the last one has left. A copy made inside is the host, too, and stays so: ``eject`` it.
    With gradient checkpointing, which runs the forward pass again, the backward pass has to be inside as well.
    """
    modules = _some(model)
    for module in modules:
        module.switched_off.append(None)
    try:
        yield model
    finally:
        for module in modules:
            module.switched_off.pop()


def freeze(model: nn.Module, *, frozen: Frozen = True) -> nn.Module:
    """Freeze all injected activations: their weights leave ``parameters()``; ``"weights"`` lets statistics adapt.

    Freeze before wrapping in DDP. ``SyncBatchNorm.convert_sync_batchnorm`` leaves frozen statistics alone; with
    ``"weights"``, where they follow the data, it has to run before freezing. What writes into tensors, such as
    ``model.init_weights()`` or ``load_state_dict``, reaches frozen ones too: ``status`` then says ``overwritten``. What
    averages weights and was made before, such as torch's ``AveragedModel``, pairs ``parameters()`` wrongly: make it
    after this, and after ``unfreeze``.

    Raises:
        SpecError: ``frozen`` is neither True nor ``"weights"``.
    """
    for module in _some(model):
        module.freeze(frozen)
    return model


def unfreeze(model: nn.Module) -> nn.Module:
    """Let injected activations train again. Their weights are new parameters: build the optimiser after this.

    Averaged copies of the model, too: see ``freeze``.

    Raises:
        SiteError: ``model`` is wrapped in DDP, which would not average the gradients of the new parameters.
    """
    modules = _some(model)
    ddp = any(isinstance(module, nn.parallel.DistributedDataParallel) for module in model.modules())
    if ddp and any(module.frozen for module in modules):
        raise SiteError(
            "DistributedDataParallel knows the parameters it was made with, and would not average the gradients of "
            "unfrozen ones: call sparta_hub.unfreeze(model.module), and wrap the result anew."
        )
    for module in modules:
        module.unfreeze()
    return model


def status(model: nn.Module) -> tuple[SiteStatus, ...]:
    """Say what stands at every injected site; empty if nothing is injected."""
    return tuple(
        SiteStatus(
            site=module.site.name,
            path=path,
            family=module.spec.family,
            frozen=module.frozen,
            enabled=module.enabled,
            training=any(part.training for part in (module.activation, *_batchnorms(module.activation))),
            parameters=parameter_count(module),
            checksum=checksum(module.activation.state_dict()),
            overwritten=module.overwritten,
        )
        for path, module in injected(model).items()
    )


def _batchnorms(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def _some(model: nn.Module) -> list[InjectedActivation]:
    modules = list(injected(model).values())
    if not modules:
        raise SiteError(
            f"{type(model).__name__} holds no activation of ours; put one in with sparta_hub.load(..., model=...)."
        )
    return modules


def _one_set(model: nn.Module) -> list[InjectedActivation]:
    """The injected activations of ``model``, if they are one whole set: a part or two of them would pass for it."""
    modules = _some(model)
    spec = modules[0].spec
    if [m.site.name for m in modules] != [s.name for s in spec.sites] or any(m.spec != spec for m in modules):
        raise SiteError(
            f"{type(model).__name__} does not hold one whole activation set ({site_names(spec.sites)}) but "
            f"{site_names([m.site for m in modules])}; pass the one host whose set you mean."
        )
    return modules


def refuse_taken(host: nn.Module, found: Sequence[Site]) -> None:
    """Raise ``SiteError`` if ``host`` holds activations of ours, at the sites ``found`` or elsewhere."""
    for site in found:
        module = host.get_submodule(site.path)
        if isinstance(module, InjectedActivation):
            raise SiteError(f"{site.name} holds {module.spec.family} already; call sparta_hub.eject(model) first.")
    if inside := injected(host):
        raise SiteError(
            f"The host holds activations already ({', '.join(inside)}); call sparta_hub.eject(model) first."
        )


def _place(host: nn.Module, site: Site) -> tuple[nn.Module, str]:
    parent, _, name = site.path.rpartition(".")
    return host.get_submodule(parent), name


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
