"""``results.json``: the figures of an artifact, shown only if they are the ones its config lists."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparta_hub.artifacts import RESULTS, check_file, read_json
from sparta_hub.errors import ArtifactError, SpartaError, short
from sparta_hub.evaluation import Accuracy, Report, figures, read_gain
from sparta_hub.spec import ArtifactConfig
from sparta_hub.transfer import read_transfers

_KINDS = {"training": dict, "overhead": dict, "evaluation": list, "gains": list, "reports": list, "transfers": list,
          "remark": str, "comparison": str, "diagnosis": str, "copies": str}  # fmt: skip
_ROW = {"attack": str, "accuracy": int | float, "low": int | float, "high": int | float, "images": int}


def read_results(folder: Path, config: ArtifactConfig) -> dict[str, Any]:
    """The figures in ``folder/results.json``; empty if the config lists none, for such a file is of some other set.

    Raises:
        ArtifactError: it is missing, damaged, or holds no figures as sparta-hub writes them.
    """
    if RESULTS not in config.files:
        return {}
    path = folder / RESULTS
    check_file(path, config.files[RESULTS])
    value = read_json(path)
    try:
        _check(value)
    except (TypeError, KeyError, ValueError, OverflowError, SpartaError) as error:
        raise ArtifactError(
            f"{path} cannot be read ({type(error).__name__}: {error}); expected figures as sparta-hub writes them. "
            "Those who published it have to save it again."
        ) from error
    return value


def _check(value: Any) -> None:
    """Look at everything that is read from it without another look; other keys are left alone."""
    if not isinstance(value, dict):
        raise TypeError(f"{short(value)} is no object")
    for key in _KINDS.keys() & value.keys():
        _of(_KINDS[key], value[key], key)
    for row in value.get("evaluation", ()):
        for key, kind in _ROW.items():
            _of(kind, row[key], key)
        if not 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 100 or row["images"] < 1:
            raise ValueError(f"{short(row['attack'])} has {short([row[key] for key in _ROW][1:])}, which cannot be")
        if not row["attack"].isprintable():
            raise ValueError(f"attack is {short(row['attack'])}, which no terminal shows as it is")
    if value.get("reports"):
        _check_rows(value.get("evaluation", ()), [Report.from_json(report) for report in value["reports"]])
    for row in value.get("gains", ()):
        read_gain(row)
    read_transfers(value.get("transfers", ()))


def _check_rows(rows: Sequence[Mapping[str, Any]], reports: Sequence[Report]) -> None:
    """What is shown has to be what the flags of every image say, which are what ``verify`` measures again."""
    measured = {figure.attack: Accuracy.of(figure.flags) for figure in figures(reports)}
    for row in rows:
        found, shown = measured.get(row["attack"]), (row["accuracy"], row["low"], row["high"], row["images"])
        if found is None or shown != (found.percent, found.low, found.high, found.images):
            raise ValueError(
                f"{short(row['attack'])} is shown as {row['accuracy']} % on {row['images']} images, and its reports "
                f"have {f'{found.percent} % on {found.images}' if found else 'no such attack'}"
            )


def _of(kind: Any, value: Any, key: str) -> None:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{key} is {short(value)}")
