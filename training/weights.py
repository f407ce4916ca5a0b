"""Trained weights as safetensors, in one file or in several below a size."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from sparta_hub.artifacts import read_tensors
from sparta_hub.saving import in_shards
from training.checkpoints import write_whole
from training.errors import ConfigError


def write_weights(
    folder: Path, name: str, tensors: Mapping[str, Tensor], *, max_bytes: int | None = None
) -> dict[str, str]:
    """Write the files of ``in_shards``; their names and sha256.

    Args:
        folder: where; files of that name from before are removed.
        name: ``best`` or ``last``.
        tensors: a state dict.
        max_bytes: of a file; None: all in one.
    """
    shards = in_shards(name, tensors, math.inf if max_bytes is None else max_bytes)
    blobs = {file: save(shard, metadata={"format": "pt"}) for file, shard in shards.items()}
    for old in _files(folder, name):
        old.unlink()
    for file, blob in blobs.items():
        write_whole(folder / file, blob)
    return {file: hashlib.sha256(blob).hexdigest() for file, blob in blobs.items()}


def read_weights(run: Path, which: str) -> tuple[str, dict[str, Tensor]]:
    """The weights of a finished run and what they are called.

    Args:
        run: its folder.
        which: ``best`` or ``last``; without validation the last ones are the best there are.

    Raises:
        ConfigError: the run has none.
    """
    names = ["last", "averaged"]  # the latter is what older engines wrote
    for name in ["best", *names] if which == "best" else names:
        if files := _files(run, name):
            return name, {key: t for file in files for key, t in read_tensors(file).items()}
    raise ConfigError(f"{run} has no weights, so it is not finished; go on with it: --resume {run}")


def _files(folder: Path, name: str) -> list[Path]:
    return [*folder.glob(f"{name}.safetensors"), *sorted(folder.glob(f"{name}-*-of-*.safetensors"))]
