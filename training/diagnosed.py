"""Put a diagnosis onto the card of a published set: ``python -m training.diagnosed NAME DIAGNOSIS.json``.

The record goes to ``training/records/diagnoses/``. A diagnosis of other weights is refused.
"""

import argparse
import json
import sys
from pathlib import Path

from sparta_hub.artifacts import RESULTS, host_files, read_config
from sparta_hub.diagnostics import Diagnosis
from sparta_hub.errors import SpartaError
from sparta_hub.hub import load
from sparta_hub.provenance import state_sha256
from training import publish
from training.errors import ConfigError
from training.records import keep


def put(name: str, path: Path) -> None:
    """Write the record, the results and the card of ``NAME`` anew.

    Args:
        name: of a published set with host weights.
        path: what ``sparta-hub diagnose NAME --out`` wrote.

    Raises:
        ConfigError: it was made with other weights.
    """
    diagnosis = Diagnosis.from_json(json.loads(path.read_text(encoding="utf-8")))
    folder = publish.ROOT / "model_cards" / name
    model, protocol = load(folder), diagnosis.evidence.report.protocol
    if state_sha256(model) != protocol.weights_sha256:
        raise ConfigError(f"{path} is of other weights than {folder} holds; run sparta-hub diagnose {name} again.")
    keep(diagnosis.to_json(), publish.ROOT / "training" / "records" / "diagnoses", name=name)
    results = json.loads((folder / RESULTS).read_text(encoding="utf-8")) | {"diagnosis": in_words(diagnosis)}
    publish.write(name, model, results, with_host=bool(host_files(read_config(folder))))


def in_words(diagnosis: Diagnosis) -> str:
    """One paragraph: what was asked, of how many images, and what was found."""
    asked = [found.name for found in diagnosis.findings if found.verdict != "not applicable"]
    suspect = [f"{found.name}: {found.why}" for found in diagnosis.findings if found.verdict == "suspect"]
    verdict = "Suspect: " + " ".join(suspect) if suspect else "Nothing was suspect; few images prove little."
    protocol = diagnosis.evidence.report.protocol
    return (
        f"Hidden gradients were looked for with `sparta-hub diagnose` on the first {protocol.images:,} test images, "
        f"{diagnosis.evidence.right} of them right without attack ({', '.join(asked)}); under the worst of all attacks "
        f"in the ball {diagnosis.worst_case:.1f} % hold. {verdict}"
    )


def main() -> None:
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(prog="python -m training.diagnosed", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("diagnosis", type=Path)
    options = parser.parse_args()
    try:
        put(options.name, options.diagnosis)
    except SpartaError as error:
        sys.exit(f"training.diagnosed: {error}")


if __name__ == "__main__":
    main()
