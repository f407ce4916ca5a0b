"""The description of an activation set: frozen dataclasses that become JSON and come back the same."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sparta_hub.errors import SpecError
from sparta_hub.placement import check_placement, site_key

FORMAT_VERSION = 1
Argument = bool | int | float | str | None
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
_MAX_CHANNELS = 1 << 16


@dataclass(frozen=True)
class SiteSpec:
    """A site as a file knows it: its name (``G4.B2``, or a path) and the channels there, None if no tensor needs them."""

    name: str
    channels: int | None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or len(self.name) > 200 or not _NAME.fullmatch(self.name):
            raise SpecError(f"A site is called {str(self.name)[:80]!r}; expected a name such as 'G4.B2' or 'layer1.0.act1'.")
        if self.channels is not None and not (_is_int(self.channels) and 1 <= self.channels <= _MAX_CHANNELS):
            raise SpecError(f"Site {self.name} has channels {self.channels!r}; expected an integer from 1 to {_MAX_CHANNELS}.")

    @property
    def key(self) -> str:
        """Prefix of this site's tensors in a file."""
        return site_key(self.name)


@dataclass(frozen=True)
class ActivationSpec:
    """Which activations, and where: enough to rebuild the modules that a file of weights belongs to.

    Args:
        family: a key of ``sparta_hub.activations.FAMILIES``.
        arguments: all arguments of the family.
        placement: ``last``, ``all``, ``every`` or explicit blocks.
        sites: the sites, in the host's order.
    """

    family: str
    arguments: Mapping[str, Argument]
    placement: str
    sites: tuple[SiteSpec, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.family, str):
            raise SpecError(f"family is {self.family!r}; expected the name of an activation family.")
        if not isinstance(self.arguments, Mapping):
            raise SpecError(f"arguments is {self.arguments!r}; expected an object of names and values.")
        for name, value in self.arguments.items():
            if not isinstance(name, str) or not isinstance(value, Argument):
                raise SpecError(f"Argument {name!r} is {value!r}; expected a number, a text, true, false or null.")
        check_placement(self.placement)
        if not self.sites or len(self.sites) > 10_000:
            raise SpecError(f"The spec names {len(self.sites)} sites; expected 1 to 10,000.")
        names = [site.name for site in self.sites]
        if len(set(names)) < len(names):
            raise SpecError(f"The spec names a site twice: {', '.join(names)[:200]}.")


@dataclass(frozen=True)
class Origin:
    """Where an activation set was trained, so that a user can judge whether it fits.

    Args:
        host: timm name of the network.
        num_classes: its classes.
        input_size: height and width of the images in training.
        stem: how the host begins, in words: ``"3x3"`` or ``"timm"``.
        dataset: name of the data set.
        threat: the threat model it was trained against, as ``ThreatModel`` prints it.
    """

    host: str
    num_classes: int
    input_size: int
    stem: str
    dataset: str
    threat: str

    def __post_init__(self) -> None:
        for name in ("host", "stem", "dataset", "threat"):
            value = getattr(self, name)
            if not isinstance(value, str) or len(value) > 200:
                raise SpecError(f"origin.{name} is {str(value)[:80]!r}; expected a short text.")
        for name in ("num_classes", "input_size"):
            value = getattr(self, name)
            if not (_is_int(value) and 1 <= value <= 1_000_000):
                raise SpecError(f"origin.{name} is {value!r}; expected an integer from 1 on.")


@dataclass(frozen=True)
class ArtifactConfig:
    """What ``config.json`` holds.

    Args:
        activation: the activation set.
        origin: where it was trained, or None for one that never was.
        files: sha256 of every other file of the folder that carries weights or results.
        library_version: the sparta-hub that wrote it.
        format_version: version of this layout; another one is refused.
    """

    activation: ActivationSpec
    origin: Origin | None
    files: Mapping[str, str] = field(default_factory=dict)
    library_version: str = ""
    format_version: int = FORMAT_VERSION


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
