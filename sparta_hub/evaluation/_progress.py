"""What makes a long evaluation safe: files that are whole or not there, and batches shared between processes.

Each process keeps its finished batches in ``OUT.partN`` beside the report ``OUT`` and nobody else writes there. A
process group is used if there is one: ``accelerate.Accelerator()`` or ``torch.distributed.init_process_group`` is
enough.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist

from sparta_hub.errors import ReportError, SpartaError, short
from sparta_hub.evaluation._outcome import Outcome, Protocol
from sparta_hub.evaluation._outcome_json import (
    FORMAT_VERSION,
    check_format,
    outcome_from_json,
    outcome_to_json,
    protocol_from_json,
    protocol_to_json,
    read_object,
)

FORMAT = "sparta-hub evaluation in progress"
Done = dict[int, Outcome]


def process() -> tuple[int, int]:
    """Number of this process and how many there are: (0, 1) without a process group."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def leave_processes() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        time.sleep(0.1)  # lets gloo's threads drop their last tensors: before torch 2.8 they and the next line deadlock
        dist.destroy_process_group()


def gathered(value: Any) -> list[Any]:
    """The values of all processes, in their order, in each of them. ``value`` must survive pickling."""
    count = process()[1]
    if count == 1:
        return [value]
    values: list[Any] = [None] * count
    dist.all_gather_object(values, value)
    return values


def gathered_or_raise(value: Any, error: Exception | None) -> list[Any]:
    """As ``gathered``, but where one process failed, all of them raise instead of waiting for it."""
    if process()[1] == 1 and error:
        raise error
    found = gathered((value, None if error is None else f"{type(error).__name__}: {error}"))
    if error:
        raise error
    if failed := [f"process {i} stopped: {text}" for i, (_, text) in enumerate(found) if text]:
        raise SpartaError("; ".join(failed))
    return [item for item, _ in found]


def read_json(path: Path) -> Any:
    """Parse a record; one that is not JSON is a ``ReportError``."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReportError(f"{path} cannot be read as JSON ({error}); delete it to begin again.") from error


def write_json(path: Path, value: Any) -> None:
    """Write a record; whoever reads it finds the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.tmp")
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)


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
