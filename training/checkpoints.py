"""One file with all that a run needs to go on: it is whole or it is the one before, whatever happens and whenever."""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from sparta_hub.artifacts import looks_like, read_tensors
from sparta_hub.errors import ArtifactError
from training.errors import CheckpointError, TakenError
from training.settings import differences, from_json, to_json
from training.validation import Validation

NAME = "checkpoint.safetensors"
FORMAT_VERSION = 1
PATIENCE = 10.0  # seconds: processes that read images outlive a run that was killed by about five
MAX_HEADER_BYTES = 100_000_000  # as many as safetensors reads: the log of a run of many steps is in it


@dataclass
class Progress:
    """How far a run is, and what it has seen.

    Args:
        step: optimiser steps done.
        seconds: of training and validation, over all launches, but for work that was lost.
        pending: losses of the steps since the last line of the log.
        loss_sum, loss_count: of the losses since the last validation.
        history: the validations.
        log: lines of the log.
        launches: where the run was begun and gone on with: step and provenance.
    """

    step: int = 0
    seconds: float = 0.0
    pending: list[float] = field(default_factory=list)
    loss_sum: float = 0.0
    loss_count: int = 0
    history: list[Validation] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    launches: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """What the file holds.

    Args:
        config: the run's configuration as JSON.
        data: what identifies the images, as JSON.
        progress: how far it is.
        tensors: ``model.*``, ``average.*``, ``momentum.N``, ``method.RANK.*`` and ``best.*``.
    """

    config: Mapping[str, Any]
    data: Mapping[str, Any]
    progress: Progress
    tensors: Mapping[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``name.``, without it."""
        return {k.removeprefix(f"{name}."): t for k, t in self.tensors.items() if k.startswith(f"{name}.")}

    def refuse_other(self, path: Path, config: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Raise ``CheckpointError`` with the fields that differ unless it is of this configuration and these images."""
        own = to_json(from_json(self.config))  # with the defaults of fields that are newer than it
        if found := differences(own, config) + differences(self.data, data, "data."):
            raise CheckpointError(
                f"{path} is of another run: {'; '.join(found)}. Give another --out, or go on with that run: "
                f"--resume {path.parent}"
            )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make ``folder`` if need be; inside, no other run can be in it, and however this one ends, the next one can.

    Raises:
        TakenError: another run is in it.
        CheckpointError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be made: {error.strerror or error}. Give another --out.") from error
    end = time.monotonic() + PATIENCE
    try:
        while _is_taken(handle):
            if time.monotonic() > end:
                raise TakenError(f"Another run is in {folder}. Wait for its end, or give another --out.")
            time.sleep(0.1)
        yield
    finally:
        os.close(handle)


def is_taken(folder: Path) -> bool:
    """Whether another run is in ``folder`` just now."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # there is none
        return False
    try:
        return _is_taken(handle)
    finally:
        os.close(handle)


def _is_taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system that knows no locks
        return False
    return False


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint in ``folder``.

    Raises:
        CheckpointError: the disk is full, or there is another fault; the checkpoint before is then still there.
    """
    head = {
        "format_version": FORMAT_VERSION,
        "config": checkpoint.config,
        "data": checkpoint.data,
        "progress": asdict(checkpoint.progress),
    }
    write_whole(folder / NAME, save(dict(checkpoint.tensors), metadata={"run": json.dumps(head)}))


def write_whole(path: Path, blob: bytes) -> None:
    """Write a file so that whoever reads it, even after a crash of the machine, finds the old one or the new one.

    Raises:
        CheckpointError: the disk is full, or there is another fault; the old file is as it was.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too
        finally:
            os.close(folder)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        kept = f"The one before is whole: --resume {path.parent}" if path.exists() else "There is none before it"
        raise CheckpointError(
            f"{path} ({len(blob) / 1e6:.1f} MB) cannot be written: {error.strerror or error}. {kept}. Free some space "
            "first, or give another --out."
        ) from error


def read_head(folder: Path) -> dict[str, Any]:
    """What the checkpoint in ``folder`` says beside its tensors: ``config``, ``data`` and ``progress``, as JSON.

    Raises:
        CheckpointError: there is none, it is damaged, or of another version.
    """
    path = folder / NAME
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {NAME}; expected the --out folder of a run.")
    try:
        with safe_open(path, "pt") as file:
            head = json.loads((file.metadata() or {}).get("run", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {looks_like(path)} ({error}).") from error
    if head.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has the format {head.get('format_version', 'of an older engine')}; this engine writes and reads "
            f"{FORMAT_VERSION}. Go on with the commit that wrote it, or give another --out."
        )
    return head


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the checkpoint in ``folder``; errors as of ``read_head``."""
    head = read_head(folder)
    try:
        tensors = read_tensors(folder / NAME, max_header=MAX_HEADER_BYTES)
    except ArtifactError as error:
        raise CheckpointError(str(error)) from error
    saved = {f.name: head["progress"][f.name] for f in fields(Progress)}
    saved["history"] = [Validation(**row) for row in saved["history"]]
    return Checkpoint(head["config"], head["data"], Progress(**saved), tensors)


def state_tensors(
    model: nn.Module, average: ModelEmaV3 | None, optimizer: torch.optim.SGD, methods: list[dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Copies on the CPU of what a run moves, by the names that ``Checkpoint`` says.

    Args:
        model, average, optimizer: of this process, as they are the same in all.
        methods: the methods' state dicts of all processes.
    """
    parts = {"model": model.state_dict(), "average": average.module.state_dict() if average else {}}
    parts["momentum"] = {
        str(i): state["momentum_buffer"]
        for i, state in optimizer.state_dict()["state"].items()
        if state.get("momentum_buffer") is not None
    }
    parts |= {f"method.{rank}": state for rank, state in enumerate(methods)}
    return {f"{part}.{key}": on_cpu(t) for part, state in parts.items() for key, t in state.items()}


def on_cpu(tensor: Tensor) -> Tensor:
    """A copy on the CPU, contiguous."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def restore(
    checkpoint: Checkpoint,
    model: nn.Module,
    average: ModelEmaV3 | None,
    optimizer: torch.optim.SGD,
    method: nn.Module,
    rank: int,
) -> None:
    """Put everything back as it was when the checkpoint was written.

    Raises:
        CheckpointError: the method's state is that of another number of processes.
    """
    model.load_state_dict(checkpoint.part("model"))
    if average:
        average.module.load_state_dict(checkpoint.part("average"))
    saved, momentum = optimizer.state_dict(), checkpoint.part("momentum")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    saved["state"] = {  # in the memory format of its parameter: a fused optimiser walks through both side by side
        i: {"momentum_buffer": torch.empty_like(p).copy_(momentum[str(i)])}
        for i, p in enumerate(parameters)
        if str(i) in momentum
    }
    optimizer.load_state_dict(saved)
    state = checkpoint.part(f"method.{rank}") or checkpoint.part("method.0")
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"The state of the training method does not fit ({error}). Go on with as many processes as before."
        ) from error
