"""What a card says of a network beside its ReLU twin: gains image by image, from the evaluations kept of both."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from sparta_hub.evaluation import Gain, Report
from training.errors import ConfigError


def latest_evaluation(artifact: str, folder: Path) -> Report:
    """The newest evaluation that was kept of an artifact, as ``NAME.json`` or ``NAME-K.json``.

    Raises:
        ConfigError: there is none.
    """
    found = ((re.fullmatch(rf"{re.escape(artifact)}(?:-(\d+))?", path.stem), path) for path in folder.glob("*.json"))
    numbered = {int(match[1] or 1): path for match, path in found if match}
    if not numbered:
        raise ConfigError(f"{folder} has no evaluation of {artifact}; publish it first, with the same --count.")
    return Report.from_json(json.loads(numbered[max(numbered)].read_text(encoding="utf-8")))


def in_words(twin: str, found: Sequence[Gain]) -> str:
    """One paragraph, whichever of the two is ahead."""
    rows = "; ".join(f"{gain.attack}: {gain}" for gain in found)
    return (
        f"Beside its ReLU twin `{twin}` (same recipe, seed and budget), on the same {found[0].images:,} images, it is "
        f"ahead (+) or behind (-) by, with 95 % intervals: {rows}. The intervals are those of these two networks; two "
        "seeds of one recipe can differ by more, so one pair proves little."
    )
