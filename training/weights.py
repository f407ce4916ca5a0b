"""Trained weights as safetensors, in one file or in several below a size."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from sparta_hub.artifacts import read_tensors
from training.checkpoints import write_whole
from training.errors import ConfigError


def write_weights(
    folder: Path, name: str, tensors: Mapping[str, Tensor], *, max_bytes: int | None = None
) -> dict[str, str]:
    """Write ``NAME.safetensors``, or ``NAME-00001-of-00003.safetensors`` and so on; file names and their sha256.

    Args:
        folder: where; files of that name from before are removed.
        name: ``best`` or ``last``.
        tensors: a state dict.
        max_bytes: of a file; one tensor is never split.
    """
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for key, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if max_bytes is not None and used + size > max_bytes and shards[-1]:
            shards.append({})
            used = 0
        shards[-1][key] = tensor
        used += size
    ends = [""] if len(shards) == 1 else [f"-{i:05d}-of-{len(shards):05d}" for i in range(1, len(shards) + 1)]
    blobs = {
        f"{name}{end}.safetensors": save(shard, metadata={"format": "pt"})
        for end, shard in zip(ends, shards, strict=True)
    }
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
