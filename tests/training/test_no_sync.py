"""No step of any method reads from the device or mixes devices: on the meta device, which has no values, it would fail.

It stands in for a GPU where there is none; ``test_gpu.py`` asks CUDA itself.
"""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from training.config import Schedule, TrainConfig
from training.methods import METHODS, Method
from training.parallel import World
from training.step import Length, assemble, train_step

META = World(torch.device("meta"))


@pytest.fixture(autouse=True)
def without_generators(monkeypatch):
    """The meta device knows neither generators nor autocast."""
    of_the_cpu = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device="cpu": of_the_cpu())
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())


def one_step(config: TrainConfig) -> torch.Tensor:
    parts = assemble(config, 10, META)
    x = torch.rand(config.batch_size, 3, 16, 16, device="meta")
    y = torch.randint(10, (config.batch_size,), device="meta")
    return train_step(config, parts, x, y, step=0, length=Length(10, 5), world=META)


@pytest.mark.parametrize("method", METHODS)
def test_no_step_reads_from_the_device(tiny, method):
    few = {"steps": 2} if method in ("pgd", "trades") else {}
    loss = one_step(replace(tiny, family="relu", arguments={}, method=method, method_arguments=few))
    assert loss.is_meta
    assert loss.shape == ()


def test_neither_do_activation_perturbation_and_averaging(tiny):
    assert one_step(replace(tiny, awp=0.005, label_smoothing=0.1)).is_meta


@pytest.mark.parametrize(
    "reads", [lambda x: x.max().item(), lambda x: x[x > 0], lambda x: x + torch.ones(16), lambda x: bool(x.max())]
)
def test_a_step_that_reads_would_be_seen(tiny, monkeypatch, reads):
    monkeypatch.setattr(Method, "loss", lambda self, model, batch, criterion: reads(batch.x))
    with pytest.raises((RuntimeError, NotImplementedError)):
        one_step(tiny)


def test_rate_and_momentum_of_a_step_are_the_schedules(tiny):
    config = replace(tiny, momentum=0.95, schedule=Schedule("one_cycle_by_epoch", rise=0.5, momentum_dip=0.1))
    parts = assemble(config, 10, META)
    x, y = torch.rand(8, 3, 16, 16, device="meta"), torch.randint(10, (8,), device="meta")
    seen = []
    for step in (0, 9, 19):  # the first of four epochs, the second, which is the peak, and the last
        train_step(config, parts, x, y, step=step, length=Length(20, 5), world=META)
        seen += [parts.optimizer.param_groups[0][name] for name in ("lr", "momentum")]
    assert seen == pytest.approx([0.1 / 25, 0.95, 0.1, 0.85, 0.1 / 250_000, 0.95])
