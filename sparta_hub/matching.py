"""What a spec asks of others: sites with its channels of a host, and tensors of its shapes of a file."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sparta_hub.activations import build, find_family
from sparta_hub.errors import ArtifactError, SiteError, short
from sparta_hub.placement import Site, block_of
from sparta_hub.site_search import sites
from sparta_hub.spec import ActivationSpec, SiteSpec

PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def match_sites(spec: ActivationSpec, host: nn.Module) -> tuple[Site, ...]:
    """Find the host's sites for ``spec``, in its order; ``last`` pairs stages, whatever number the block has."""
    found = sites(host, spec.placement, need_channels=find_family(spec.family).per_channel)
    check_match(spec, found, type(host).__name__)
    return found


def check_match(spec: ActivationSpec, found: Sequence[Site], host: str) -> None:
    """Raise ``SiteError`` unless ``found``, what ``spec.placement`` is in a network called ``host``, has its sites."""
    per_channel = find_family(spec.family).per_channel
    if spec.placement == "last" and [_stage(s) for s in found] != [_stage(s) for s in spec.sites]:
        raise SiteError(
            f"The activation set has {len(spec.sites)} stages ({site_names(spec.sites)}), "
            f"{host} has {len(found)} ({site_names(found)})."
        )
    if spec.placement != "last" and [s.name for s in found] != [s.name for s in spec.sites]:
        raise SiteError(
            f"The activation set ({spec.placement}) has {site_names(spec.sites)}; {host} has {site_names(found)}."
        )
    for site, own in zip(found, spec.sites, strict=True):
        if per_channel and site.channels != own.channels:
            raise SiteError(
                f"At {site.name} the activation set has {own.channels} channels and {host} has "
                f"{site.channels} ({'/'.join(str(s.channels) for s in spec.sites)} against "
                f"{'/'.join(str(s.channels) for s in found)}). "
                f"sparta_hub.compatible_hosts(...) lists the timm hosts that fit."
            )


def build_modules(spec: ActivationSpec, state: Mapping[str, Tensor] | None) -> list[nn.Module]:
    """Make the modules of ``spec``, in its order, and fill them strictly from ``state`` where it is given.

    With a state the modules are laid out without memory first, and compared with what is there: a spec cannot make
    this allocate more than its file holds.
    """
    if state is not None and not isinstance(state, Mapping):
        raise ArtifactError(
            f"state is {short(state)}; expected tensors by file key, as load_file of safetensors gives."
        )
    if state is None:
        return [build(spec.family, site.channels, spec.arguments) for site in spec.sites]
    with torch.device("meta"):
        modules = [build(spec.family, site.channels, spec.arguments) for site in spec.sites]
    expected = {f"{s.key}.{k}": t for s, m in zip(spec.sites, modules, strict=True) for k, t in m.state_dict().items()}
    _compare(expected, state)
    with torch.random.fork_rng([]):  # first values are drawn and overwritten: nobody's random numbers are used up
        modules = [build(spec.family, site.channels, spec.arguments) for site in spec.sites]
    for site, module in zip(spec.sites, modules, strict=True):
        own = {key: state[f"{site.key}.{key}"].detach().clone() for key in module.state_dict()}
        module.load_state_dict(own, strict=True, assign=True)
    return modules


def site_names(known: Sequence[Site] | Sequence[SiteSpec]) -> str:
    """Sites in words, for a message; of many, the first five."""
    names = [site.name for site in known]
    return f"sites {', '.join(names)}" if len(names) <= 40 else f"{len(names)} sites, {', '.join(names[:5])}, ..."


def check_floats(key: str, tensor: Tensor) -> None:
    """Raise ``ArtifactError`` for a number that is none, or of a precision (8 bits) that does not tell such apart."""
    if not tensor.is_floating_point():
        return
    if tensor.dtype not in PRECISIONS:
        raise ArtifactError(f"{key} is {tensor.dtype}; expected one of {', '.join(map(str, PRECISIONS))}.")
    if not tensor.isfinite().all():
        raise ArtifactError(f"{key} holds NaN or infinite values: these weights are damaged, do not use them.")


def _stage(site: Site | SiteSpec) -> int | None:
    block = block_of(site.name)
    return block[0] if block else None


def _compare(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or extra:
        raise ArtifactError(
            f"The weights do not belong to this spec: {len(missing)} tensors are missing"
            f"{f' ({missing[0]}, ...)' if missing else ''} and "
            f"{len(extra)} are unknown{f' ({short(extra[0])}, ...)' if extra else ''}."
        )
    for key, tensor in expected.items():
        seen = state[key]
        floats = seen.is_floating_point() and tensor.is_floating_point()
        if seen.shape != tensor.shape or not (floats or seen.dtype == tensor.dtype):
            raise ArtifactError(
                f"{key} is {seen.dtype} {short(tuple(seen.shape))}; this spec needs {tensor.dtype} "
                f"{tuple(tensor.shape)}."
            )
        check_floats(key, seen)
