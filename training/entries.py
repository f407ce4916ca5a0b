"""Which records belong together: the training of a network, its evaluations, and what else its card says."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.checkpoints import write_whole
from training.errors import ConfigError

ROOT = Path(__file__).parent.parent
RECORDS = Path("training/records")  # below the root of the repository, as all paths here
EVALUATIONS, DIAGNOSES, ENTRIES = RECORDS / "evaluations", RECORDS / "diagnoses", RECORDS / "entries"


@dataclass(frozen=True)
class Entry:
    """A trained network: files of its records, by name, and what no record holds.

    Args:
        name: short name of a published set, else ``RECIPE-seedS``.
        training: in ``training/records``.
        evaluations: in ``training/records/evaluations``; all of the same weights.
        weights: which of the run: ``best``, ``last``, ``averaged``.
        giver_sha256: of the weights of the set that was put in, for a transfer.
        remark: a paragraph about the training.
        comparison: a paragraph that stands instead of the gains over ``twin``.
        twin: entry of the ReLU network of the same recipe, seed and budget.
        diagnosis: in ``training/records/diagnoses``.
        overhead: in ``benchmarks/records``: what the family costs.
    """

    name: str
    training: str
    evaluations: tuple[str, ...]
    weights: str
    giver_sha256: str = ""
    remark: str = ""
    comparison: str = ""
    twin: str = ""
    diagnosis: str = ""
    overhead: str = ""


def read_entry(root: Path, name: str) -> Entry:
    """The entry of ``name``.

    Raises:
        ConfigError: there is none.
    """
    path = root / ENTRIES / f"{name}.json"
    if not path.is_file():
        known = ", ".join(entry.name for entry in entries(root)) or "nothing"
        raise ConfigError(f"Nothing was recorded of {name!r}; publish or measure it first. Recorded: {known}.")
    return _read(path)


def entries(root: Path) -> Iterator[Entry]:
    """All entries, by name."""
    yield from map(_read, sorted((root / ENTRIES).glob("*.json")))


def write_entry(root: Path, entry: Entry) -> None:
    """Write or replace an entry; the records it names are never replaced."""
    path = root / ENTRIES / f"{entry.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(asdict(entry), indent=1, ensure_ascii=False) + "\n").encode())


def read_record(path: Path) -> dict[str, Any]:
    """A record as it was kept.

    Raises:
        ConfigError: it is not there, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a record: {type(error).__name__}: {error}") from error


def _read(path: Path) -> Entry:
    value = read_record(path)
    return Entry(**{**value, "evaluations": tuple(value["evaluations"])})
