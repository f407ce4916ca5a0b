"""Several processes are as one: by value, and in real processes that ``accelerate launch`` starts."""

import json
from dataclasses import replace

import pytest
import timm
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparta_hub.processes import leave_processes
from tests.processes import Program, free_port, together
from tests.training.conftest import noise
from training.data import in_memory
from training.engine import train as run_here
from training.errors import ConfigError
from training.parallel import World, statistics
from training.step import Length, assemble, train_step
from training.stopping import Stop


def test_rows_are_a_partition_of_the_batch():
    parts = [list(range(12))[World(rank=rank, count=3).rows(12)] for rank in range(3)]
    assert parts == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    with pytest.raises(ConfigError, match="batch_size is 12; expected a multiple of the 5 processes"):
        World(count=5).rows(12)


def test_frozen_statistics_are_not_averaged():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(4), nn.BatchNorm2d(5, track_running_stats=False))
    model[1].eval()
    assert [t.shape[0] for t in statistics(model)] == [3, 3]


class AsOnGpus(World):
    """Says what several GPUs would; the layers are made on the CPU, where one process alone can use them."""

    @property
    def synchronises(self):
        return True


def kinds(module):
    return {isinstance(m, nn.SyncBatchNorm) for m in module.modules() if isinstance(m, _BatchNorm)}


def test_on_gpus_batchnorm_of_the_model_and_of_the_methods_own_network_is_synchronised(tiny):
    """That statistics are then those of all processes is torch's promise; it takes several GPUs to see it."""
    assert [World(torch.device("cuda"), count=n).synchronises for n in (1, 2)] == [False, True]
    assert not World(count=2).synchronises
    config = replace(tiny, method="fgsm_sdi", method_arguments={"every": 1}, awp=0.01)
    plain, synchronised = (assemble(config, 10, world) for world in (World(), AsOnGpus()))
    assert kinds(plain.method) == kinds(plain.model) == {False}
    assert kinds(synchronised.method) == kinds(synchronised.model) == {True}
    x, y = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    weight = next(synchronised.method.parameters())
    first = weight.detach().clone()
    for step in range(2):  # g climbs at each
        for parts in (plain, synchronised):
            train_step(config, parts, x, y, step=step, length=Length(4, 4), world=World())
    assert not torch.equal(weight, first)
    for part in ("method", "model"):
        before, after = (getattr(parts, part).state_dict() for parts in (plain, synchronised))
        assert before.keys() == after.keys()
        assert all(torch.equal(t, after[key]) for key, t in before.items())


def test_a_method_that_differentiates_twice_is_refused_on_several_gpus(tiny):
    config = replace(tiny, method="fgsm_ga", awp=0.01)
    assert assemble(config, 10, World(count=2)).method.differentiates_twice  # several CPUs have their usual BatchNorm
    with pytest.raises(
        ConfigError, match=r"fgsm_ga differentiates twice, .*several GPUs cannot \(pytorch#61222\); expected one GPU"
    ):
        assemble(config, 10, AsOnGpus())


def launched(words, environment):
    """What ``accelerate launch`` does, which is tried itself in one test: two processes that are told of each other."""
    found = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    both = [Program("training.run", *words, environment={**environment, **found, **rank}) for rank in ranks]
    said = [program.finish() for program in both]
    assert said[1] == ""
    return said[0]


def alone(words, environment):
    return Program("training.run", *words, environment=environment).finish()


def launch_by_accelerate(words, environment):
    launcher = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    launcher += ["--dynamo_backend", "no", "--main_process_port", "0", "-m", "training.run"]
    return Program("accelerate.commands.launch", *launcher, *words, environment=environment).finish()


def train(out, environment, *, launch=launched, settings=(), time_budget=None, resume=False):
    changes = ["method=n_fgsm", "epochs=1", "batch_size=8", "validation=12", "lr=0.01", "ema_decay=0.9", *settings]
    words = ["--resume", str(out)] if resume else ["cpu_relu_res18_cifar", "--out", str(out)]
    words += [] if resume else [word for change in ("precision=fp32", *changes) for word in ("--set", change)]
    words += [] if time_budget is None else ["--time-budget", str(time_budget)]
    words += [] if resume and not torch.cuda.is_available() else ["--device", "cpu"]
    return launch(words, environment)


def one_is_asked_to_stop(rank, config, folder):
    """What one of two processes does; the second alone was told to stop, as if its clock were ahead."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    world, stop = World(rank=rank, count=2), Stop()
    stop.signalled = "SIGTERM" if rank else ""
    outcome = run_here(config, in_memory(config, noise(), world), folder / "run", world=world, stop=stop)
    (folder / f"{rank}.txt").write_text(f"{outcome.step} {outcome.reason}")
    leave_processes()


def test_where_one_process_has_a_reason_to_stop_all_do(tiny, tmp_path):
    together(one_is_asked_to_stop, tiny, tmp_path)
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)] == [
        "0 another process was asked to",
        "0 SIGTERM",
    ]


def found(out):
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


@pytest.mark.skipif(not timm.is_model("test_efficientnet_gn"), reason="timm has no small host without BatchNorm")
def test_two_processes_have_the_losses_of_one(tmp_path, environment):
    """GroupNorm: an image's logits do not depend on who else is in its process."""
    settings = ["host=test_efficientnet_gn", "augmentation=crop_flip"]
    train(tmp_path / "one", environment, launch=alone, settings=settings)
    train(tmp_path / "two", environment, launch=launch_by_accelerate, settings=settings)
    one, two = found(tmp_path / "one"), found(tmp_path / "two")
    assert [row["step"] for row in one] == [row["step"] for row in two] == [6, 6]
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-4)
    assert two[1]["pgd"] == one[1]["pgd"]
    first, second = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(first[key], second[key], atol=1e-4) for key in first)
    assert json.loads((tmp_path / "two/training.json").read_text())["processes"] == 2


@pytest.mark.skipif(not timm.is_model("test_resnet"), reason="timm has no small host")
def test_two_processes_stop_together_and_go_on(tmp_path, environment):
    """With BatchNorm, whose statistics are averaged, and Free-AT, whose δ each process has for its own rows."""
    settings = ["host=test_resnet", "method=free", "method_arguments.replays=2"]
    train(tmp_path / "whole", environment, settings=settings)
    said = train(tmp_path / "parts", environment, settings=settings, time_budget=0)
    assert "Stopped at step 0 of 6: the time budget is used up. To go on: accelerate launch --multi_gpu" in said
    train(tmp_path / "parts", environment, resume=True)
    whole, parts = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    held = load_file(tmp_path / "parts/checkpoint.safetensors")
    assert held["method.0.delta"].shape == held["method.1.delta"].shape == (4, 3, 32, 32)
    assert not torch.equal(held["method.0.delta"], held["method.1.delta"])
