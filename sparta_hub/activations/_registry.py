"""The registry of families, a visible dict, and the one place that makes a module from a name."""

from collections.abc import Mapping

from torch import nn

from sparta_hub.activations._family import Argument, Family
from sparta_hub.activations._sparta import Sparta
from sparta_hub.errors import SpecError

FAMILIES: dict[str, Family] = {
    "sparta": Family(
        Sparta,
        "Guo et al. 2021, arXiv:2105.08269",
        {"kernel_size": 1, "hidden": None, "dynamic": True, "neighborhood": 1},
        per_channel=True,
    ),
    "relu": Family(nn.ReLU, "Nair & Hinton 2010"),
}


def build(name: str, channels: int | None = None, arguments: Mapping[str, Argument] | None = None) -> nn.Module:
    """Make one activation module of the family ``name``.

    Args:
        name: a key of ``FAMILIES``.
        channels: channels of the map it will see; only families with ``per_channel`` ask for it.
        arguments: the family's own arguments, where they differ from its defaults.

    Raises:
        SpecError: for a family or an argument that does not exist, or a value that the family refuses.
    """
    family, arguments = find_family(name), dict(arguments or {})
    if unknown := set(arguments) - set(family.defaults):
        known = ", ".join(family.defaults) or "none"
        raise SpecError(f"{name} has no argument {', '.join(sorted(unknown))}; its arguments are: {known}.")
    if family.per_channel and (not isinstance(channels, int) or channels < 1):
        raise SpecError(f"{name} needs the number of channels, an integer from 1 on, and got {channels!r}.")
    try:
        return family.make(channels, **arguments) if family.per_channel else family.make(**arguments)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise SpecError(f"{name} cannot be made with {arguments}: {error}") from error


def find_family(name: str) -> Family:
    """Look a family up; an unknown name is answered with all known ones."""
    if name not in FAMILIES:
        raise SpecError(f"There is no activation family {name!r}; the families are {', '.join(FAMILIES)}.")
    return FAMILIES[name]
