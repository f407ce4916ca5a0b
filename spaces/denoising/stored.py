"""Precomputed results: attacks on the examples, and accuracy against ε, each with the weights it belongs to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import Attacked, Settings
from networks import HERE, Entry
from safetensors.torch import load_file, save_file
from torch import Tensor

FOLDER = HERE / "precomputed"
SETTINGS = Settings()  # what is precomputed: the first screen's


@dataclass(frozen=True)
class Stored:
    """What ``precompute.py`` kept of one network.

    Args:
        attacks: by example.
        record: weights, settings, accuracies, and where and when they were computed.
        stale: whether the network has other weights by now; nothing of this may then be shown as its own.
    """

    attacks: Mapping[str, Attacked]
    record: Mapping[str, Any]
    stale: bool


def read_stored(entry: Entry, folder: Path = FOLDER) -> Stored | None:
    """What is kept of a network, if anything is."""
    record, tensors = folder / f"{entry.name}.json", folder / f"{entry.name}.safetensors"
    if not record.is_file() or not tensors.is_file():
        return None
    told, images = json.loads(record.read_text(encoding="utf-8")), load_file(tensors)
    attacks = {name: Attacked(images[name], row["aim"], tuple(row["losses"])) for name, row in told["examples"].items()}
    return Stored(attacks, told, told["weights_sha256"] != entry.weights_sha256)


def write_stored(name: str, attacks: Mapping[str, Attacked], record: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """Keep attacks by example; ``record`` is everything else that belongs to them."""
    rows = {example: {"aim": done.aim, "losses": list(done.losses)} for example, done in attacks.items()}
    images: dict[str, Tensor] = {example: done.x.contiguous() for example, done in attacks.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(images, folder / f"{name}.safetensors")
    text = json.dumps({**record, "examples": rows}, indent=1, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
