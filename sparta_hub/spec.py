"""The description of an activation set: frozen dataclasses that become JSON and come back the same."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sparta_hub.errors import SpecError, short
from sparta_hub.placement import check_placement, site_key
from sparta_hub.records import read_object

FORMAT_VERSION = 1
Argument = bool | int | float | str | None
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")
_MAX_CHANNELS = 1 << 16


@dataclass(frozen=True)
class SiteSpec:
    """A site as a file knows it: its name (``G4.B2``, or a path) and its channels, None if no tensor needs them."""

    name: str
    channels: int | None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or len(self.name) > 200 or not _PATH.fullmatch(self.name):
            raise SpecError(f"A site is called {short(self.name)}; expected a name such as 'G4.B2' or 'layer1.0.act1'.")
        if self.channels is not None and not (_is_int(self.channels) and 1 <= self.channels <= _MAX_CHANNELS):
            raise SpecError(
                f"Site {self.name} has channels {short(self.channels)}; expected an integer from 1 to {_MAX_CHANNELS}."
            )

    @property
    def key(self) -> str:
        """Prefix of this site's tensors in a file."""
        return site_key(self.name)


@dataclass(frozen=True)
class Origin:
    """Where an activation set was trained, so that a user can judge whether it fits.

    Args:
        host: timm name of the network.
        num_classes: its classes.
        input_size: height and width of the training images, in pixels.
        stem: how the host begins: ``"3x3"`` (no reduction) or ``"timm"`` (the host's own, usually by 4).
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
            _check_text(f"origin.{name}", getattr(self, name))
        for name in ("num_classes", "input_size"):
            _check_count(f"origin.{name}", getattr(self, name), least=1)


@dataclass(frozen=True)
class HostSpec:
    """Which network the host weights of an artifact are of, enough for timm to make it again.

    Args:
        name: timm name of the network.
        num_classes: of its head; 0 for none.
    """

    name: str
    num_classes: int

    def __post_init__(self) -> None:
        _check_text("host.name", self.name)
        _check_count("host.num_classes", self.num_classes, least=0)


@dataclass(frozen=True)
class ActivationSpec:
    """Which activations, where, and trained where: enough to rebuild the modules that a file of weights belongs to.

    Args:
        family: a key of ``sparta_hub.activations.FAMILIES``.
        arguments: arguments of the family.
        placement: ``last``, ``all``, ``every`` or explicit blocks.
        sites: the sites, in the host's order.
        origin: where it was trained; None for one that never was.
    """

    family: str
    arguments: Mapping[str, Argument]
    placement: str
    sites: tuple[SiteSpec, ...]
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.family, str):
            raise SpecError(f"family is {short(self.family)}; expected the name of an activation family.")
        if not isinstance(self.arguments, Mapping):
            raise SpecError(f"arguments is {short(self.arguments)}; expected an object of names and values.")
        for name, value in self.arguments.items():
            if not isinstance(name, str) or not isinstance(value, Argument):
                raise SpecError(
                    f"Argument {short(name)} is {short(value)}; expected a number, text, true, false or null."
                )
        check_placement(self.placement)
        if not self.sites or len(self.sites) > 10_000:
            raise SpecError(f"The spec names {len(self.sites)} sites; expected 1 to 10,000.")
        names = [site.name for site in self.sites]
        if len(set(names)) < len(names):
            raise SpecError(f"The spec names a site twice: {short(names)}.")

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        return {
            "family": self.family,
            "arguments": dict(self.arguments),
            "placement": self.placement,
            "sites": [asdict(site) for site in self.sites],
            "origin": asdict(self.origin) if self.origin else None,
        }

    @classmethod
    def from_json(cls, value: Any) -> "ActivationSpec":
        """Rebuild a spec from ``to_json``'s values; anything missing, unknown or of another type is a ``SpecError``."""
        data = _read(cls, value, "activation")
        if not isinstance(data["sites"], list):
            raise SpecError(f"activation.sites is {short(data['sites'])}; expected a list.")
        data["sites"] = tuple(SiteSpec(**_read(SiteSpec, site, "a site")) for site in data["sites"][:10_001])
        if data["origin"] is not None:
            data["origin"] = Origin(**_read(Origin, data["origin"], "origin"))
        return cls(**data)


@dataclass(frozen=True)
class ArtifactConfig:
    """What ``config.json`` holds.

    Args:
        activation: the activation set.
        files: sha256 (64 hex digits) of every other file of the artifact that is not a card.
        library_version: the sparta-hub that wrote it.
        format_version: version of this layout; another one is refused.
        host: the network that the host weights among the files are of, where it is not the one of the set's origin.
    """

    activation: ActivationSpec
    files: Mapping[str, str] = field(default_factory=dict)
    library_version: str = ""
    format_version: int = FORMAT_VERSION
    host: HostSpec | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.files, Mapping):
            raise SpecError(f"files is {short(self.files)}; expected an object of file names and sha256.")
        for name, digest in self.files.items():
            if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
                raise SpecError(f"files names {short(name)}; expected a plain file name, without a folder.")
            if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise SpecError(f"files gives {name} the sha256 {short(digest)}; expected 64 hexadecimal digits.")

    @property
    def trained_host(self) -> HostSpec | None:
        """The network that host weights are of: ``host``, or the one the set was trained in; None: nobody says."""
        origin = self.activation.origin
        return self.host or (HostSpec(origin.host, origin.num_classes) if origin else None)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``."""
        return {
            "format_version": self.format_version,
            "library_name": "sparta-hub",
            "library_version": self.library_version,
            "activation": self.activation.to_json(),
            **({"host": asdict(self.host)} if self.host else {}),
            "files": dict(sorted(self.files.items())),
        }

    @classmethod
    def from_json(cls, value: Any) -> "ArtifactConfig":
        """Rebuild a config; one of another format version or with unknown keys is a ``SpecError``."""
        if not isinstance(value, dict):
            raise SpecError(f"config.json holds {short(value)}; expected an object.")
        version = value.get("format_version")
        if version != FORMAT_VERSION:
            newer = isinstance(version, int) and version > FORMAT_VERSION
            todo = " Upgrade with: pip install -U sparta-hub" if newer else ""
            raise SpecError(f"format_version is {short(version)}; this sparta-hub reads {FORMAT_VERSION}.{todo}")
        if value.get("library_name") != "sparta-hub":
            raise SpecError(f"library_name is {short(value.get('library_name'))}; expected 'sparta-hub'.")
        rest = {key: item for key, item in value.items() if key != "library_name"}
        data = _read(cls, {"host": None, **rest}, "config.json")
        if data["host"] is not None:
            data["host"] = HostSpec(**_read(HostSpec, data["host"], "host"))
        return cls(**{**data, "activation": ActivationSpec.from_json(data["activation"])})


def _read(cls: type[Any], value: Any, what: str) -> dict[str, Any]:
    """Check that ``value`` is an object with exactly the fields of the dataclass ``cls``; a copy of it."""
    return read_object(value, (f.name for f in fields(cls)), what, SpecError)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise SpecError(f"{name} is {short(value)}; expected a short text, in one line.")


def _check_count(name: str, value: Any, least: int) -> None:
    if not (_is_int(value) and least <= value <= 1_000_000):
        raise SpecError(f"{name} is {short(value)}; expected an integer from {least} to 1,000,000.")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
