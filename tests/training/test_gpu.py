"""On a GPU: nothing in a step waits for it, and a run with compiled passes goes through."""

from dataclasses import replace

import pytest
import torch

from tests.training.conftest import noise
from training.data import in_memory
from training.engine import Options, train
from training.methods import METHODS
from training.parallel import World
from training.step import assemble, length_of, train_step

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]


@pytest.mark.parametrize("compiled", [None, "default", "reduce-overhead"])
def test_no_step_waits_for_the_device(tiny, compiled):
    world = World(torch.device("cuda"))
    config = replace(tiny, precision="bf16", epochs=5)
    data = in_memory(config, noise(), world)
    parts, length = assemble(config, 10, world, compiled=compiled), length_of(config, data.batches.per_epoch)
    stream = data.batches.stream(0)
    for step in range(8):
        if step % data.batches.per_epoch == 1:  # the order of a new pass comes from the CPU
            torch.cuda.set_sync_debug_mode("error" if step > data.batches.per_epoch else "default")
        elif step % data.batches.per_epoch == 0:
            torch.cuda.set_sync_debug_mode("default")
        x, y = next(stream)
        train_step(config, parts, x, y, step=step, length=length, world=world)
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("compiled", [None, "default", "reduce-overhead"])
def test_a_run_goes_through_and_goes_on(tiny, tmp_path, compiled, method):
    """With CUDA graphs a pass writes over what the one before gave, and torch raises where that is still read."""
    world = World(torch.device("cuda"))
    few = {"steps": 2} if method in ("pgd", "trades") else {}
    config = replace(tiny, precision="bf16", method=method, method_arguments=few)
    options = Options(compiled=compiled, log_every=2, checkpoint_seconds=0)
    outcome = train(config, in_memory(config, noise(), world), tmp_path, world=world, options=options)
    assert outcome.step == outcome.steps == 8
    (tmp_path / "training.json").unlink()
    assert train(config, in_memory(config, noise(), world), tmp_path, world=world, options=options).step == 8
