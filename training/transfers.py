"""Where a published set was put into other networks, from the records: each place with all that was trained alike."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from sparta_hub.artifacts import WEIGHTS
from sparta_hub.evaluation import Accuracy
from sparta_hub.transfer import Mode, Transfer
from sparta_hub.zoo import read_registry
from training.config import TrainConfig
from training.entries import RECORDS, Entry, entries, read_record
from training.results import copies_of, figures, gains_over, reports_of
from training.settings import trained


@dataclass(frozen=True)
class _Network:
    """A recorded network, with the configuration and the share of the images it was trained with."""

    entry: Entry
    config: TrainConfig
    limit: float

    @property
    def place(self) -> tuple[TrainConfig, float, str]:
        """What has to be alike to be compared: the configuration but for the activation, the share, which weights."""
        config = replace(self.config, name="any", family="relu", arguments={}, activation="", frozen=False)
        return config, self.limit, self.entry.weights

    def mode(self, giver: TrainConfig, sha256: str) -> Mode | None:
        """What it is beside the transfers of a set with these weights; None if it does not belong there."""
        if self.config.activation:
            if self.entry.giver_sha256 != sha256:
                return None
            return "weights" if self.config.frozen == "weights" else "frozen" if self.config.frozen else "tuned"
        if self.config.family == "relu":
            return "relu"
        alike = (self.config.family, self.config.arguments) == (giver.family, giver.arguments)
        return "joint" if alike else None


def transfers_of(root: Path, name: str) -> Iterator[Transfer]:
    """Every place where the set ``name`` was put with the weights that it has now, with what was trained alike there:
    the same family with the host, and ReLU."""
    found = [_network(root, entry) for entry in entries(root)]
    sha256 = read_registry(root / "sparta_hub/registry.json")[name].files[WEIGHTS]
    giver = next(network.config for network in found if network.entry.name == name)
    places: list[tuple[TrainConfig, float, str]] = []
    for place in (network.place for network in found if network.entry.giver_sha256 == sha256):
        if place not in places:
            places.append(place)
            yield from _rows(root, name, [(n.mode(giver, sha256), n) for n in found if n.place == place])


def _network(root: Path, entry: Entry) -> _Network:
    return _Network(entry, *trained(read_record(root / RECORDS / entry.training)))


def _rows(root: Path, name: str, there: list[tuple[Mode | None, _Network]]) -> Iterator[Transfer]:
    """The networks of one place in the order of ``Mode``; gains are those over its ReLU network."""
    relu = next((reports_of(root, network.entry) for mode, network in there if mode == "relu"), None)
    for mode in get_args(Mode):
        for network in (network for other, network in there if other == mode):
            reports, config = reports_of(root, network.entry), network.config
            yield Transfer(
                name, config.host, config.dataset, mode, config.seed, config.name, config.epochs, str(config.threat),
                {figure.attack: Accuracy.of(figure.flags) for figure in figures(reports)},
                tuple(gains_over(reports, relu)) if relu and mode != "relu" else (),
                "; ".join(copies_of(reports)),
            )  # fmt: skip
