"""``results.json``: the figures of an artifact, shown only if they are the ones its config lists."""

from pathlib import Path
from typing import Any

from sparta_hub.artifacts import RESULTS, check_file, read_json
from sparta_hub.errors import ArtifactError, short
from sparta_hub.evaluation import read_gain
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
    except (TypeError, KeyError, ValueError) as error:
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
    for row in value.get("gains", ()):
        read_gain(row)
    read_transfers(value.get("transfers", ()))


def _of(kind: Any, value: Any, key: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{key} is {short(value)}")
