"""The checkpoint file: strict when read, whole or not there when written, also on a full disk."""

import os
import resource
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.processes import FORKS
from tests.training.conftest import noise
from training import checkpoints
from training.checkpoints import NAME, Checkpoint, Progress, alone_in, read_checkpoint, write_checkpoint
from training.data import in_memory
from training.engine import Options, train
from training.errors import CheckpointError
from training.parallel import World
from training.stopping import Stop
from training.validation import Validation

PROGRESS = Progress(7, 1.5, [0.1], 0.1 + 0.2, 2, [Validation(4, 1.0, 2.0, 3.0, 4.0)], [{"kind": "loss", "step": 6}])


def checkpoint(size=3, progress=PROGRESS):
    tensors = {
        "model.a": torch.arange(size) / 3,
        "model.b.c": torch.ones(2, dtype=torch.int64),
        "best.a": torch.ones(1),
    }
    return Checkpoint({"epochs": 2}, {"sha256": "x"}, progress, tensors)


def test_what_is_written_is_read(tmp_path):
    write_checkpoint(tmp_path, checkpoint())
    found = read_checkpoint(tmp_path)
    assert (found.config, found.data, found.progress) == ({"epochs": 2}, {"sha256": "x"}, PROGRESS)
    assert found.progress.loss_sum == 0.1 + 0.2  # to the last bit
    assert torch.equal(found.part("model")["a"], torch.arange(3) / 3)
    assert found.part("model").keys() == {"a", "b.c"}
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_the_bytes_are_on_the_disk_before_the_name_is_and_then_that_is_too(tmp_path, monkeypatch):
    """Else a machine that loses its power could have the new name with nothing in it."""
    events, fsync, replace = [], os.fsync, Path.replace

    def synced(number):
        found = os.fstat(number)
        events.append("folder" if stat.S_ISDIR(found.st_mode) else found.st_size)
        fsync(number)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", lambda self, target: (events.append("name"), replace(self, target))[1])
    write_checkpoint(tmp_path, checkpoint())
    assert events == [(tmp_path / NAME).stat().st_size, "name", "folder"]


def test_damage_is_told_apart(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no checkpoint.safetensors; expected the --out folder of a run"):
        read_checkpoint(tmp_path)
    (tmp_path / NAME).write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match="checkpoint.safetensors cannot be read: it looks like an HTML page"):
        read_checkpoint(tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / NAME, metadata={"state": "{}"})
    with pytest.raises(CheckpointError, match="has the format of an older engine; this engine writes and reads 1"):
        read_checkpoint(tmp_path)


def test_a_checkpoint_of_a_later_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 2)
    write_checkpoint(tmp_path, checkpoint())
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"has the format 2; this engine writes and reads 1. Go on with the comm"):
        read_checkpoint(tmp_path)


def test_the_checkpoint_of_a_long_run_is_read(tmp_path):
    """Its log is in the header: a line every twenty of 687,500 steps, as the longest recipe has, of 170 bytes."""
    progress = replace(PROGRESS, log=[{"kind": "x" * (170 * 687_500 // 20)}])
    write_checkpoint(tmp_path, checkpoint(progress=progress))
    assert read_checkpoint(tmp_path).progress == progress


def test_a_cut_file_is_refused(tmp_path):
    write_checkpoint(tmp_path, checkpoint())
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="cannot be read: it is damaged, truncated"):
        read_checkpoint(tmp_path)


def _limited(limit: int, work, *arguments) -> str:
    """The message of the error that ``work`` ends with where files may have so many bytes: as on a full disk."""
    ours, theirs = FORKS.Pipe()
    process = FORKS.Process(target=_work, args=(limit, theirs, work, arguments))
    process.start()
    message = ours.recv()
    process.join()
    assert process.exitcode == 0
    return message


def _work(limit, pipe, work, arguments):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        pipe.send(str(work(*arguments)))
    except CheckpointError as error:
        pipe.send(f"CheckpointError: {error}")


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    write_checkpoint(tmp_path, checkpoint())
    message = _limited(100_000, write_checkpoint, tmp_path, checkpoint(100_000, Progress(9)))
    assert message.startswith(f"CheckpointError: {tmp_path / NAME} (0.4 MB) cannot be written: File too large. The one")
    assert f"The one before is whole: --resume {tmp_path}. Free some space" in message
    assert read_checkpoint(tmp_path).progress.step == 7
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_full_disk_without_a_checkpoint_says_so(tmp_path):
    message = _limited(100_000, write_checkpoint, tmp_path, checkpoint(100_000))
    assert "There is none before it. Free some space first, or give another --out." in message
    assert not list(tmp_path.iterdir())


def go(config, out: Path, stop=None):
    data = in_memory(config, noise(), World())
    return train(config, data, out, options=Options(log_every=2, checkpoint_seconds=0), stop=stop)


def test_a_run_on_a_full_disk_stops_before_any_work(tiny, tmp_path):
    message = _limited(1_000_000, go, tiny, tmp_path / "run")
    assert "checkpoint.safetensors" in message
    assert "File too large. There is none before it" in message
    assert not (tmp_path / "run/training.json").exists()


def test_a_disk_that_fills_up_on_the_way_keeps_the_run(tiny, tmp_path):
    go(tiny, tmp_path, Stop(deadline=0))  # a checkpoint without momentum: smaller than the next ones
    room = (tmp_path / NAME).stat().st_size + 100_000
    assert "The one before is whole: --resume" in _limited(room, go, tiny, tmp_path)
    assert read_checkpoint(tmp_path).progress.step in (0, 2)
    assert go(tiny, tmp_path).step == 8


def test_two_runs_are_not_in_one_folder_at_once(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "PATIENCE", 0)
    with (
        alone_in(tmp_path),
        pytest.raises(CheckpointError, match="Another run is in .* Wait for its end, or give another --out."),
    ):
        train(tiny, in_memory(tiny, noise(), World()), tmp_path)
    assert not list(tmp_path.iterdir())
    with alone_in(tmp_path):
        """The one before has ended, and left nothing."""


def test_a_run_waits_for_what_a_killed_one_left(tmp_path, monkeypatch):
    first = alone_in(tmp_path)
    first.__enter__()
    monkeypatch.setattr(checkpoints.time, "sleep", lambda _: first.__exit__(None, None, None))
    with alone_in(tmp_path):
        assert tmp_path.is_dir()


def test_a_folder_that_cannot_be_made_is_named(tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="file/run cannot be made: Not a directory. Give another --out."):
        train(tiny, in_memory(tiny, noise(), World()), tmp_path / "file/run")
