"""Where a published set was put into other networks, from the records: each place with all that was trained alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from sparta_hub.artifacts import WEIGHTS
from sparta_hub.evaluation import Accuracy, figures
from sparta_hub.transfer import Mode, Transfer
from sparta_hub.zoo import read_registry
from training.figures import gains_over, reports_of
from training.results import copies_of
from training.twins import Network, Place, networks


def transfers_of(root: Path, name: str) -> Iterator[Transfer]:
    """Every place where the set ``name`` was put with the weights that it has now, with what was trained alike there:
    the same family with the host, and ReLU."""
    found = list(networks(root))
    sha256 = read_registry(root / "sparta_hub/registry.json")[name].files[WEIGHTS]
    giver = next(network for network in found if network.entry.name == name)
    places: list[Place] = []
    for place in (network.place for network in found if network.entry.giver_sha256 == sha256):
        if place not in places:
            places.append(place)
            yield from _rows(root, name, [(_mode(n, giver, sha256), n) for n in found if n.place == place])


def _mode(network: Network, giver: Network, sha256: str) -> Mode | None:
    """What a network is beside the transfers of a set with these weights; None if it does not belong there."""
    config = network.config
    if config.activation:
        if network.entry.giver_sha256 != sha256:
            return None
        return "weights" if config.frozen == "weights" else "frozen" if config.frozen else "tuned"
    return "relu" if network.is_relu else "joint" if network.has_the_activation_of(giver) else None


def _rows(root: Path, name: str, there: list[tuple[Mode | None, Network]]) -> Iterator[Transfer]:
    """The networks of one place in the order of ``Mode``; gains are those over its ReLU network."""
    relu = next((reports_of(root, network.entry) for mode, network in there if mode == "relu"), None)
    for mode in get_args(Mode):
        for network in (network for other, network in there if other == mode):
            reports, config = reports_of(root, network.entry), network.config
            yield Transfer(
                name, config.host, config.dataset, mode, config.seed, config.name, config.epochs, str(config.threat),
                {figure.attack: Accuracy.of(figure.flags) for figure in figures(reports)},
                tuple(gains_over(reports, relu)) if relu and mode != "relu" else (),
                "; ".join(copies_of(reports)), network.place.seedless.sha256,
            )  # fmt: skip
