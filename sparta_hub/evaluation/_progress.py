"""The finished batches of an evaluation that goes on: each process keeps its own in ``OUT.partN`` beside ``OUT``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparta_hub.errors import ReportError, short
from sparta_hub.evaluation._outcome import Outcome, Protocol
from sparta_hub.evaluation._outcome_json import (
    outcome_from_json,
    outcome_to_json,
    protocol_from_json,
    protocol_to_json,
)
from sparta_hub.records import FORMAT_VERSION, check_format, read_json, read_object, write_json

FORMAT = "sparta-hub evaluation in progress"
Done = dict[int, Outcome]


def check_same(path: Path, found: Protocol, wanted: Protocol) -> None:
    """Refuse to go on from, or to replace, the record of another evaluation."""
    if different := found.differences(wanted):
        raise ReportError(
            f"{path} holds another evaluation: {different}. Choose another name for the new record, or delete that one."
        )


def part_of(out: Path, rank: int) -> Path:
    """Where a process keeps its batches."""
    return out.with_name(f"{out.name}.part{rank}")


def write_part(path: Path, protocol: Protocol, done: Done, provenance: list[Mapping[str, Any]]) -> None:
    """Keep finished batches."""
    batches = {str(i): outcome_to_json(outcome) for i, outcome in sorted(done.items())}
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "protocol": protocol_to_json(protocol)}
    write_json(path, head | {"batches": batches, "provenance": list(provenance)})


def read_parts(out: Path, protocol: Protocol) -> tuple[Done, list[Mapping[str, Any]]]:
    """The batches that earlier runs finished, and where.

    Raises:
        ReportError: a file is damaged or belongs to another evaluation.
    """
    done: Done = {}
    origins: list[Mapping[str, Any]] = []
    for path in parts(out):
        data = read_object(
            read_json(path), ("format", "format_version", "protocol", "batches", "provenance"), str(path)
        )
        check_format(data, FORMAT)
        check_same(path, protocol_from_json(data["protocol"]), protocol)
        if not isinstance(data["batches"], dict) or not isinstance(data["provenance"], list):
            raise ReportError(f"{path} holds no batches, but {short(data['batches'])}; delete it to begin again.")
        for key, value in data["batches"].items():
            start = int(key) * protocol.batch_size if key.isdigit() else protocol.images
            if start >= protocol.images:
                raise ReportError(f"{path} names a batch {short(key)} that there is not; delete it to begin again.")
            images = min(protocol.batch_size, protocol.images - start)
            done[int(key)] = outcome_from_json(value, images, len(protocol.attacks))
        origins += [entry for entry in data["provenance"] if entry not in origins]
    return done, origins


def parts(out: Path) -> list[Path]:
    """The files of all processes that are there."""
    start = f"{out.name}.part"
    if not out.parent.is_dir():
        return []
    return sorted(p for p in out.parent.iterdir() if p.name.startswith(start) and p.name.removeprefix(start).isdigit())
