"""kill -9 at random moments, in a process of its own: the run ends with the bits of one that was left alone."""

import json
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sparta_hub.artifacts import sha256_of
from tests.processes import FORKS
from tests.training.conftest import noise
from training.config import TrainConfig
from training.data import in_memory
from training.engine import Options, train
from training.parallel import World

KILLS = 4


def run(config: TrainConfig, out: Path) -> None:
    """What the process does: it keeps a checkpoint every other step, so that many moments are those of writing."""
    torch.set_num_threads(1)
    data = in_memory(config, noise(), World())
    train(config, data, out, options=Options(log_every=2, checkpoint_seconds=0))


def began(config: TrainConfig, out: Path):
    process = FORKS.Process(target=run, args=(config, out))
    process.start()
    return process


def files(out: Path) -> dict[str, str]:
    return {name: sha256_of(out / f"{name}.safetensors") for name in ("last", "best")}


@pytest.mark.parametrize("method", ["n_fgsm", "fgsm_sdi"])
def test_a_run_that_was_killed_ends_with_the_same_bits(tiny, tmp_path, method):
    config = replace(tiny, method=method, epochs=4)
    whole = began(config, tmp_path / "whole")
    while not (tmp_path / "whole/metrics.jsonl").exists():  # the first process of all has to import first
        time.sleep(0.01)
    started = time.monotonic()
    whole.join()
    assert whole.exitcode == 0
    duration = time.monotonic() - started

    seed = time.time_ns()
    moments, out, ends = random.Random(seed), tmp_path / "killed", []
    while True:
        process = began(config, out)
        process.join(moments.uniform(0, duration) if ends.count(-signal.SIGKILL) < KILLS else None)
        process.kill()
        process.join()
        ends.append(process.exitcode)
        assert process.exitcode in (0, -signal.SIGKILL), f"seed {seed}, {ends}"
        if process.exitcode == 0 and -signal.SIGKILL in ends:
            break
        if process.exitcode == 0:  # it was faster than the first kill
            shutil.rmtree(out)
    assert files(out) == files(tmp_path / "whole"), f"seed {seed}, {ends}"
    steps = [(row["kind"], row["step"]) for row in map(json.loads, (out / "metrics.jsonl").read_text().splitlines())]
    assert len(steps) == len(set(steps)), f"seed {seed}: lines came twice"
    assert [step for kind, step in steps if kind == "loss"] == list(range(2, 17, 2)), f"seed {seed}"
