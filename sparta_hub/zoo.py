"""Short names: the artifacts that ship inside this package, and where their repositories are."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sparta_hub.errors import NameNotFoundError, short
from sparta_hub.records import write_whole

NAMESPACE = "sparta-hub"  # whose the repositories are; `sparta-hub release --namespace` publishes under another one
_PACKAGE = Path(__file__).parent
REGISTRY = _PACKAGE / "registry.json"


@dataclass(frozen=True)
class Entry:
    """One short name.

    Args:
        name: such as ``sparta-res18-cifar``.
        repo: its repository on the Hub, ``org/name``.
        revision: 40-hex commit of that repository; None while it is not published.
        files: sha256 of every file of the artifact.
    """

    name: str
    repo: str
    revision: str | None
    files: Mapping[str, str]


def registry() -> dict[str, Entry]:
    """All short names, from ``registry.json``."""
    return read_registry(REGISTRY)


def read_registry(path: Path) -> dict[str, Entry]:
    """All rows of a registry file by name."""
    return {name: Entry(name=name, **row) for name, row in json.loads(path.read_text(encoding="utf-8")).items()}


def write_registry(path: Path, entries: Mapping[str, Entry]) -> None:
    """Write a registry file, sorted by name; it is replaced as a whole or not at all."""
    rows = {
        name: {"repo": entry.repo, "revision": entry.revision, "files": dict(entry.files)}
        for name, entry in sorted(entries.items())
    }
    write_whole(path, (json.dumps(rows, indent=2) + "\n").encode())


def bundled_folder(name: str) -> Path | None:
    """The folder of a short name inside this package, or in the source tree of an editable installation, or None."""
    for root in (_PACKAGE / "zoo", _PACKAGE.parent / "model_cards"):
        if (root / name / "config.json").is_file():
            return root / name
    return None


def find_entry(name: str) -> Entry:
    """Look a short name up; an unknown one is answered with the nearest and all known ones."""
    known = registry()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise NameNotFoundError(
            f"Nothing is called {short(name)}.{hint} Expected a folder, one of {', '.join(known) or '(none)'}, "
            "or a repository on the Hub as 'org/name' or 'org/name@revision'."
        )
    return known[name]
