"""Precomputed results: attacks on the examples, and accuracy against ε, each with the weights it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import Attacked, Settings
from networks import HERE, Entry
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from sparta_hub.errors import ReportError
from sparta_hub.records import read_json, write_json, write_whole

FOLDER = HERE / "precomputed"
SETTINGS = Settings()  # what is precomputed: the first screen's


@dataclass(frozen=True)
class Stored:
    """What ``precompute.py`` kept of one network.

    Args:
        attacks: by example.
        record: weights, settings, accuracies, and where and when they were computed.
        stale: whether the network has other weights by now, or the first screen other settings; nothing of this may
            then be shown as its own.
    """

    attacks: Mapping[str, Attacked]
    record: Mapping[str, Any]
    stale: bool


def read_stored(entry: Entry, folder: Path = FOLDER) -> Stored | None:
    """What is kept of a network, if anything is; a damaged file is as none, and does not take the page down."""
    record, tensors = folder / f"{entry.name}.json", folder / f"{entry.name}.safetensors"
    if not record.is_file() or not tensors.is_file():
        return None
    try:
        told, images = read_json(record), load_file(tensors)
        rows = told["examples"].items()
        attacks = {name: Attacked(images[name], row["aim"], tuple(row["losses"])) for name, row in rows}
        made = (told["weights_sha256"], told["attack"]["eps_255"], told["attack"]["steps"])
    except (ReportError, SafetensorError, KeyError, TypeError, AttributeError):
        return None
    return Stored(attacks, told, made != (entry.weights_sha256, SETTINGS.eps, SETTINGS.steps))


def write_stored(name: str, attacks: Mapping[str, Attacked], record: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """Keep attacks by example; ``record`` is everything else that belongs to them."""
    rows = {example: {"aim": done.aim, "losses": list(done.losses)} for example, done in attacks.items()}
    images: dict[str, Tensor] = {example: done.x.contiguous() for example, done in attacks.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").unlink(missing_ok=True)  # an old record would call new pictures its own
    write_whole(folder / f"{name}.safetensors", save(images))
    write_json(folder / f"{name}.json", {**record, "examples": rows})
