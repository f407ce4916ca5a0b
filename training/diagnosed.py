"""Put a diagnosis onto the card of a published set: ``python -m training.diagnosed NAME DIAGNOSIS.json``.

The record goes to ``training/records/diagnoses/``. A diagnosis of other weights is refused.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from sparta_hub.cli.options import at_home
from sparta_hub.diagnostics import Diagnosis
from sparta_hub.errors import answered
from sparta_hub.hub import load
from sparta_hub.identity import state_sha256
from training.card import refresh
from training.entries import DIAGNOSES, ROOT, read_entry, read_record, write_entry
from training.errors import ConfigError
from training.records import keep


def put(root: Path, name: str, path: Path) -> None:
    """Write the record, the results and the card of ``NAME`` anew.

    Args:
        root: of the repository.
        name: of a published set with host weights.
        path: what ``sparta-hub diagnose NAME --out`` wrote.

    Raises:
        ConfigError: it was made with other weights.
    """
    diagnosis = Diagnosis.from_json(read_record(path))
    entry, folder = read_entry(root, name), root / "model_cards" / name
    if state_sha256(load(folder)) != diagnosis.evidence.report.protocol.weights_sha256:
        raise ConfigError(f"{path} is of other weights than {folder} holds; run sparta-hub diagnose {name} again.")
    kept = keep(diagnosis.to_json(), root / DIAGNOSES, name=name)
    write_entry(root, replace(entry, diagnosis=kept.name))
    refresh(root, own=name)


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(prog="python -m training.diagnosed", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("diagnosis", type=Path)
    options = parser.parse_args(at_home(sys.argv[1:]))
    with answered("training.diagnosed"):
        put(ROOT, options.name, options.diagnosis)


if __name__ == "__main__":
    main()
