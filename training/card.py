"""Cards and the README's tables from the records: ``python -m training.card [NAME ...]``; all published by default."""

import argparse
import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sparta_hub.artifacts import CARD, CONFIG, RESULTS, digests, read_artifact
from sparta_hub.cards import render_card, transfer_table
from sparta_hub.errors import answered
from sparta_hub.saving import to_json_bytes
from sparta_hub.transfer import read_transfers
from sparta_hub.zoo import NAMESPACE, Entry, read_registry, write_registry
from training.checkpoints import write_whole
from training.comparison import tables
from training.entries import ROOT, entries, read_entry
from training.errors import ConfigError
from training.results import results_of
from training.transfers import transfers_of
from training.twins import left_behind

BEGIN, END = "<!-- transfers: written by python -m training.card -->", "<!-- /transfers -->"
COMPARED = "<!-- comparisons: written by python -m training.card -->", "<!-- /comparisons -->"


def published(root: Path) -> list[str]:
    """Names of the sets in ``model_cards``."""
    return sorted(path.parent.name for path in (root / "model_cards").glob(f"*/{CONFIG}"))


def rewrite(root: Path, names: Iterable[str] | None = None) -> None:
    """Write results, card and checksums of published sets anew, and the README's tables of transfers and comparisons.

    Args:
        root: of the repository.
        names: of the sets; None: all. One that was never recorded is an error.
    """
    for name in published(root) if names is None else names:
        _rewrite_card(root, name)
    readme = root / "README.md"
    if readme.is_file():
        text = _between(readme, readme.read_text(encoding="utf-8"), (BEGIN, END), matrix(root))
        if compared := tables(root):
            text = _between(readme, text, COMPARED, compared)
        write_whole(readme, text.encode())


def _between(readme: Path, text: str, lines: tuple[str, str], body: str) -> str:
    """The text of the README with ``body`` between two lines of it."""
    begin, end = lines
    if begin not in text or end not in text:
        raise ConfigError(f"{readme} has no lines {begin} and {end}, between which a table stands.")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{body}\n{end}{rest.split(end)[1]}"


def matrix(root: Path) -> str:
    """The table of all transfers that the published sets have in their results."""
    results = [root / "model_cards" / name / RESULTS for name in published(root)]
    there = filter(Path.is_file, results)  # a publication that was interrupted has none yet
    rows = [row for path in there for row in read_transfers(json.loads(path.read_text()).get("transfers", ()))]
    return transfer_table(rows) or "Nothing was transferred yet."


def refresh(root: Path, *, own: str = "") -> None:
    """After a new evaluation: the cards of all sets that were recorded, but for those that are ``left_behind``.

    Args:
        root: of the repository.
        own: a set whose card has to be written, whatever its twin is.
    """
    recorded = {entry.name for entry in entries(root)} - left_behind(root, own=own).keys()
    rewrite(root, [name for name in published(root) if name in recorded])


def _rewrite_card(root: Path, name: str) -> None:
    folder = root / "model_cards" / name
    artifact, results = read_artifact(folder), results_of(root, read_entry(root, name))
    results["transfers"] = [row.to_json() for row in transfers_of(root, name)]
    blob = to_json_bytes(results)
    config = replace(artifact.config, files={**artifact.config.files, RESULTS: hashlib.sha256(blob).hexdigest()})
    values = sum(tensor.numel() for tensor in artifact.tensors.values())
    card = render_card(name, config, results, values=values)
    write_whole(folder / RESULTS, blob)
    write_whole(folder / CONFIG, to_json_bytes(config.to_json()))
    write_whole(folder / CARD, card.encode())
    register(root, name)


def register(root: Path, name: str) -> None:
    """Put the checksums of ``model_cards/NAME`` into the registry; changed files are no longer the published commit.

    The repository stays: a commit means nothing in another one.
    """
    path, folder = root / "sparta_hub" / "registry.json", root / "model_cards" / name
    known, files = read_registry(path), digests(folder)
    old = known.get(name, Entry(name, f"{NAMESPACE}/{name}", None, {}))
    revision = old.revision if old.files == files else None
    write_registry(path, {**known, name: replace(old, revision=revision, files=files)})


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(prog="python -m training.card", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    with answered("training.card"):
        rewrite(ROOT, options.names or None)


if __name__ == "__main__":
    main()
