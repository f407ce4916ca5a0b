"""Which recorded networks may stand side by side: those that were trained alike but for their activation."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sparta_hub.errors import ReportError
from sparta_hub.evaluation import Gain
from training.config import TrainConfig
from training.entries import RECORDS, Entry, entries, read_entry, read_record
from training.errors import ConfigError
from training.figures import gains_over, reports_of
from training.settings import differences, to_json, trained


@dataclass(frozen=True)
class Place:
    """All of a training but the activation: what has to be alike in networks that are compared.

    Args:
        config: of the training, with ReLU.
        limit: share of the images.
        weights: which of the run: ``best`` or ``last``.
    """

    config: TrainConfig
    limit: float
    weights: str

    @classmethod
    def of(cls, config: TrainConfig, limit: float, weights: str) -> "Place":
        """The place of a network that was trained so."""
        plain = replace(config, name="any", family="relu", arguments={}, placement="last", activation="", frozen=False)
        return cls(plain, limit, "last" if weights == "averaged" else weights)  # as older engines called the same

    @property
    def seedless(self) -> "Place":
        """The same for all seeds."""
        return replace(self, config=replace(self.config, seed=0))

    @property
    def sha256(self) -> str:
        """Checksum of all of it."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**to_json(self.config), "limit": self.limit, "weights": self.weights}

    def unlike(self, other: "Place") -> list[str]:
        """In what ``other`` differs, in words: there and here."""
        return differences(other.to_json(), self.to_json())


@dataclass(frozen=True)
class Network:
    """A recorded network, with the configuration and the share of the images that it was trained with."""

    entry: Entry
    config: TrainConfig
    limit: float

    @cached_property
    def place(self) -> Place:
        """What it shares with those that it is compared with."""
        return Place.of(self.config, self.limit, self.entry.weights)

    @property
    def is_relu(self) -> bool:
        """Whether it is a host as it is."""
        return self.config.family == "relu" and not self.config.activation

    def has_the_activation_of(self, other: "Network") -> bool:
        """Whether its activation is that of ``other``: the same weights, or of the same kind and at the same sites."""
        mine, theirs = (
            (n.entry.giver_sha256, c.frozen)
            if (c := n.config).activation
            else (c.family, dict(c.arguments), c.placement)
            for n in (self, other)
        )
        return mine == theirs


def networks(root: Path) -> Iterator[Network]:
    """All that were recorded."""
    yield from (network_of(root, entry) for entry in entries(root))


def network_of(root: Path, entry: Entry) -> Network:
    """What was recorded of one."""
    return Network(entry, *trained(read_record(root / RECORDS / entry.training)))


def check_twin(name: str, place: Place, twin: Network) -> None:
    """Make sure that a network may stand beside its twin.

    Args:
        name: of the network.
        place: of it.
        twin: the other one.

    Raises:
        ConfigError: the other one has no ReLU, or the two were not trained alike; the message says in what they differ.
    """
    if not twin.is_relu:
        raise ConfigError(f"{twin.entry.name} has {twin.config.family}; expected the --twin of {name} to have ReLU.")
    if found := place.unlike(twin.place):
        raise ConfigError(
            f"{name} and its twin {twin.entry.name} were not trained alike: {', '.join(found)}. Expected the same of "
            "both but for the activation: publish the one again that is out of date, or name another --twin."
        )


def left_behind(root: Path, *, own: str = "") -> dict[str, str]:
    """Networks that their twin does not fit any more, each with the reason, as after a new run of it; ``own`` apart."""
    found = {}
    for entry in entries(root):
        if entry.twin and entry.name != own:
            try:
                gains_by_seed(root, entry)
            except (ConfigError, ReportError) as error:
                found[entry.name] = str(error)
    return found


def gains_by_seed(root: Path, entry: Entry) -> dict[int, list[Gain]]:
    """What networks like this one gain over ReLU, by seed: itself over its twin, others over that of their own seed.

    Under the attacks that this one was measured with; a worst case is one of the same attacks.

    Raises:
        ConfigError: its twin was not trained like it.
        ReportError: two were not measured on the same images, with the same batches and seed.
    """
    own, twin, there = network_of(root, entry), network_of(root, read_entry(root, entry.twin)), list(networks(root))
    check_twin(entry.name, own.place, twin)
    twins = {own.config.seed: (entry, twin.entry)}
    for network in there:
        if network.has_the_activation_of(own) and network.place.seedless == own.place.seedless:
            relu = next((other for other in there if other.is_relu and other.place == network.place), None)
            if relu:
                twins.setdefault(network.config.seed, (network.entry, relu.entry))
    mine = reports_of(root, entry)
    return {seed: gains_over(*(reports_of(root, each) for each in twins[seed]), like=mine) for seed in sorted(twins)}
