"""Does an activation set fit a network? Asked before anything is changed, and without memory for weights."""

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from torch import nn

from sparta_hub.activations import check_arguments, find_family
from sparta_hub.errors import SiteError, SpecError, short
from sparta_hub.matching import check_match, match_sites
from sparta_hub.placement import Site, block_of, select
from sparta_hub.site_search import POST_ADD, sites
from sparta_hub.spec import ActivationSpec
from sparta_hub.surgery import refuse_taken


@dataclass(frozen=True)
class Compatibility:
    """Answer of ``check_spec``.

    Args:
        compatible: whether ``inject`` would accept the set.
        reason: the sites it would take, or why there are none.
        warnings: what would work, but perhaps not as well as where the set was trained.
        hosts: if not compatible, the timm networks that are.
    """

    compatible: bool
    reason: str
    warnings: tuple[str, ...]
    hosts: tuple[str, ...]


def check_spec(spec: ActivationSpec, host: nn.Module | str, *, input_size: int | None = None) -> Compatibility:
    """Say whether ``spec`` fits ``host``, why or why not, and what to mind.

    Args:
        spec: the activation set.
        host: a timm network, which is not changed, or the name of one.
        input_size: height and width of the images that the network will see, in pixels; timm's default for it if None.

    Raises:
        SiteError: timm knows no network of that name.
        SpecError: ``input_size`` is no size, or the family of ``spec``, or an argument, does not exist.
    """
    if input_size is not None and (type(input_size) is not int or input_size < 1):
        raise SpecError(
            f"input_size is {input_size!r}; expected the height and width of the images, one number of pixels."
        )
    check_arguments(spec.family, spec.arguments)
    if isinstance(host, str):
        from sparta_hub.hosts import host_on_meta

        network = host_on_meta(host)
    else:
        network = host
    try:
        found = match_sites(spec, network)
        refuse_taken(network, found)
    except SiteError as error:
        return Compatibility(False, str(error), (), compatible_hosts(spec))
    paths = ", ".join(site.path for site in found[:8]) + (", ..." if len(found) > 8 else "")
    warnings = tuple(_warnings(spec, network, input_size))
    return Compatibility(True, f"All {len(found)} sites fit: {paths}.", warnings, ())


def compatible_hosts(spec: ActivationSpec) -> tuple[str, ...]:
    """Names of timm's ResNets, ResNeSts and SK-ResNets and of our hosts that ``spec`` fits.

    The first call takes some seconds.

    Raises:
        SpecError: ``spec`` is none, but a name, say.
    """
    if not isinstance(spec, ActivationSpec):
        raise SpecError(f"spec is {short(spec)}; expected an ActivationSpec, such as sparta_hub.info(name).spec.")
    import timm

    import sparta_hub.hosts  # noqa: F401  registers them

    modules = dict.fromkeys(["hosts", *(kind.split(".")[2] for kind in POST_ADD if kind.startswith("timm.models."))])
    names = [name for module in modules for name in timm.list_models(module=module)]
    return tuple(name for name in names if _fits(spec, name))


def _fits(spec: ActivationSpec, name: str) -> bool:
    from sparta_hub.hosts import host_on_meta

    try:
        if spec.placement == "every":
            return bool(match_sites(spec, host_on_meta(name)))
        thin = "pruned" not in name  # pruning makes the blocks of a stage differ
        blocks = _blocks(name, thin)
        if thin and spec.placement != "last":
            widths = {block_of(site.name): site.channels for site in blocks}
            for site in spec.sites:
                stage = (block_of(site.name) or (0, 0))[0]
                if site.channels is not None and widths.get((stage, 1)) != site.channels:
                    return False
            blocks = _blocks(name, False)
        check_match(spec, select(blocks, spec.placement), name)
    except (SiteError, TypeError, ValueError, RuntimeError):  # timm may know names that this version cannot build
        return False
    return True


@cache  # the name alone decides it, and it is asked of a hundred and more
def _blocks(name: str, thin: bool) -> tuple[Site, ...]:
    """The sites of all blocks of a timm network; ``thin``: with one block a stage, built in a blink and as wide."""
    from sparta_hub.hosts import host_on_meta

    if thin:
        with suppress(TypeError, KeyError):  # some networks of older timm have no such argument
            return sites(host_on_meta(name, layers=(1, 1, 1, 1)))
    return sites(host_on_meta(name))


def _warnings(spec: ActivationSpec, host: nn.Module, input_size: int | None) -> list[str]:
    origin = spec.origin
    cfg = getattr(host, "pretrained_cfg", None) or {}
    size = input_size or (cfg.get("input_size") or (0,))[-1]
    info = getattr(host, "feature_info", None) or []
    reductions = [stage["reduction"] for stage in getattr(info, "info", info)]
    found = []
    if size and reductions and find_family(spec.family).per_channel and math.ceil(size / reductions[-1]) == 1:
        found.append(
            f"Images of {size}×{size} leave a last feature map of 1×1, where attention over positions has nothing to "
            "tell apart: use larger images, or a host with a stem for small ones, such as resnet18_cifar."
        )
    if origin and reductions and (stem := "3x3" if reductions[0] == 1 else "timm") != origin.stem:
        found.append(
            f"The host's stem is {stem!r}; the set was trained in {origin.host}, whose stem is {origin.stem!r}."
        )
    if origin and size and size != origin.input_size:
        found.append(
            f"The host sees images of {size}×{size}; the set was trained with {origin.input_size}×{origin.input_size}."
        )
    return found
