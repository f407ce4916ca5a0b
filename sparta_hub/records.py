"""Files written whole and JSON read strictly, as records of measurements are, and other things too."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparta_hub.errors import ReportError, SpartaError, short

FORMAT_VERSION = 1


def read_json(path: Path) -> Any:
    """Parse a record; one that is not JSON is a ``ReportError``."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReportError(
            f"{path} cannot be read as JSON ({error}); name another file, or delete it to begin again."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write a record, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_whole(path: Path, blob: bytes) -> None:
    """Write a file such that whoever reads it finds the old one or the new one, whole."""
    write_together(path.parent, {path.name: blob})


def write_together(folder: Path, blobs: Mapping[str, bytes]) -> None:
    """Write files, in this order, such that a full disk leaves the old ones, all of them."""
    parts = {name: folder / f".{name}.{os.getpid()}.part" for name in blobs}  # another process may write the same ones
    try:
        for name, blob in blobs.items():
            parts[name].write_bytes(blob)
        for name, part in parts.items():
            part.replace(folder / name)
    except OSError:  # a full disk, which half a file would fill further
        for part in parts.values():
            with suppress(OSError):
                part.unlink(missing_ok=True)
        raise


def check_format(data: Mapping[str, Any], expected: str) -> None:
    """Refuse a record of another kind or version."""
    if data["format"] != expected:
        raise ReportError(f"format is {short(data['format'])}; expected {expected!r}.")
    if data["format_version"] != FORMAT_VERSION:
        raise ReportError(f"format_version is {short(data['format_version'])}; this sparta-hub reads {FORMAT_VERSION}.")


def read_object(value: Any, known: Iterable[str], what: str, error: type[SpartaError] = ReportError) -> dict[str, Any]:
    """Check that ``value`` is an object with exactly these keys, or raise ``error``; a copy of it."""
    known = set(known)
    if not isinstance(value, dict):
        raise error(f"{what} is {short(value)}; expected an object.")
    if unknown := sorted(map(str, value.keys() - known)):
        raise error(f"{what} has unknown keys {short(unknown)}; known are {', '.join(sorted(known))}.")
    if missing := sorted(known - value.keys()):
        raise error(f"{what} lacks {', '.join(missing)}.")
    return dict(value)
