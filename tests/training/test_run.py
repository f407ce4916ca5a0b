"""The command line, in processes of its own."""

import json
import sys
import time
from pathlib import Path

import pytest
import torch

from sparta_hub.artifacts import sha256_of
from tests.conftest import HOST
from tests.processes import Program, together
from training import run
from training.parallel import World
from training.recipes import RECIPES
from training.step import compile_mode

SMALL = ["epochs=2", "batch_size=8", "validation=6", f"host={HOST}", "arguments.hidden=8", "precision=fp32"]


def arguments(*words, settings=SMALL):
    changes = [word for setting in settings for word in ("--set", setting)]
    return [*map(str, words), *changes, "--device", "cpu"]


def began(environment, *words):
    return Program("training.run", *words, environment=environment)


def main(monkeypatch, *words):
    """The command in this process: for what ends before any training."""
    monkeypatch.setattr(sys, "argv", ["training.run", *words])
    run.main()


def test_it_stops_on_sigterm_and_goes_on_with_the_same_bits(tmp_path, environment):
    long = [*SMALL[1:], "epochs=6", "validate_every=2"]
    words = ("cpu_sparta_res18_cifar", "--limit", "0.9", "--seed", "5", "--checkpoint-every", "0")
    process = began(environment, *arguments(*words, "--out", tmp_path / "parts", settings=long))
    while not (metrics := tmp_path / "parts/metrics.jsonl").exists() or not metrics.read_text():
        assert process.is_alive(), process.finish()
        time.sleep(0.02)
    process.ask_to_stop()
    assert "of 36: SIGTERM. To go on: python -m training.run --resume " in process.finish()
    assert not (tmp_path / "parts/training.json").exists()
    assert "Done: 36 steps." in began(environment, "--resume", tmp_path / "parts").finish()
    record = json.loads((tmp_path / "parts/training.json").read_text())
    assert (record["config"]["seed"], record["data"]["limit"], record["data"]["images"]) == (5, 0.9, 49)
    began(environment, tmp_path / "parts/training.json", "--out", tmp_path / "again", "--device", "cpu").finish()
    for name in ("last", "best"):
        assert len({sha256_of(tmp_path / place / f"{name}.safetensors") for place in ("parts", "again")}) == 1


def test_a_time_budget_is_kept(tmp_path, environment):
    together(print, count=1)  # the first process of all waits until torch is imported
    started = time.monotonic()
    words = ("cpu_relu_res18_cifar", "--out", tmp_path / "run", "--time-budget", "8")
    said = began(environment, *arguments(*words, settings=["epochs=100000", *SMALL[1:4]])).finish()
    assert time.monotonic() - started < 18  # leaving the interpreter is not in the budget
    assert "the time budget is used up. To go on: python -m training.run --resume" in said
    assert (tmp_path / "run/checkpoint.safetensors").exists()


def test_list_shows_every_recipe(monkeypatch, capsys):
    main(monkeypatch, "--list")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
    column = lines[0].index("sparta in resnet18_cifar on cifar10: n_fgsm, 4 epochs")
    assert column > max(map(len, RECIPES))
    assert all(line[column - 2 : column] == "  " and line[column] != " " for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cpu_sparta_res18_cifar", "--set", "epoch=1"], "training.run: There is no field epoch; the fields are name,"),
        (["nothing"], "training.run: There is no recipe nothing; python -m training.run --list shows all"),
        (["cpu_sparta_res18_cifr"], f"shows all {len(RECIPES)}. Did you mean cpu_sparta_res18_cifar or"),
        (["CPU_SPARTA_RES18_CIFAR"], f"shows all {len(RECIPES)}. Did you mean cpu_sparta_res18_cifar or"),
        (["nothing.json"], "training.run: nothing.json is no record of a run: FileNotFoundError"),
        (["--resume", "nowhere"], "training.run: nowhere has no checkpoint.safetensors"),
        (["--resume", "nowhere", "--seed", "1"], "goes on with the run as it was begun; leave out --set, --seed"),
        (
            ["cpu_relu_res18_cifar", "--device", "nonsense"],
            "training.run: --device nonsense: this machine has none; expected",
        ),
        (
            ["cpu_relu_res18_cifar", "--device", "fpga"],
            "training.run: --device fpga: this machine has none; expected cpu,",
        ),
        (["cpu_relu_res18_cifar", "--device", "meta"], "training.run: --device meta holds no values to compute with;"),
        (["cpu_relu_res18_cifar", "--limit", "2"], "--limit is 2.0; expected a share above 0 and up to 1"),
        (["cpu_relu_res18_cifar", "--limit", "0"], "--limit is 0.0; expected a share above 0 and up to 1"),
        (["cpu_relu_res18_cifar", "--max-shard-mb", "nan"], "--max-shard-mb is nan; expected more than 0 MB."),
        (["cpu_relu_res18_cifar", "--max-shard-mb", "0"], "--max-shard-mb is 0.0; expected more than 0 MB."),
        (["cpu_relu_res18_cifar", "--max-shard-mb", "-1"], "--max-shard-mb is -1.0; expected more than 0 MB."),
        (["cpu_relu_res18_cifar", "--threads", "-3"], "--threads is -3; expected 1 to"),
        (["cpu_relu_res18_cifar", "--threads", "999999"], "--threads is 999999; expected 1 to"),
        (["cpu_relu_res18_cifar", "--workers", "-1"], "--workers is -1; expected 0 or more."),
        (["cpu_relu_res18_cifar", "--time-budget", "nan"], "--time-budget is nan; expected 0 seconds or more."),
        (["cpu_relu_res18_cifar", "--checkpoint-every", "-1"], "--checkpoint-every is -1.0; expected 0 seconds or"),
        (
            ["cpu_relu_res18_cifar", "--out", "cifar10.npz"],
            "--out is cifar10.npz; expected a folder, there or not",
        ),
        (["cpu_relu_res18_cifar", "--out", "cifar10.npz/run"], "--out is cifar10.npz/run; expected a folder, there"),
        (["cpu_relu_res18_cifar", "--device", "cpu", "--set", "lr=-1"], "lr is -1.0; expected a finite number, 0 or"),
        (["cpu_relu_res18_cifar", "--device", "cpu", "--set", "dataset=nothing"], "nothing.npz is not there"),
    ],
)
def test_a_mistake_is_answered_in_one_line(monkeypatch, environment, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARTA_DATA", environment["SPARTA_DATA"])
    with pytest.raises(SystemExit) as end:
        main(monkeypatch, *words)
    assert message in str(end.value)
    assert "\n" not in str(end.value)


def test_the_home_folder_may_be_written_as_in_a_shell(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit) as end:
        main(monkeypatch, "--resume=~/nowhere")
    assert f"{tmp_path}/nowhere has no checkpoint.safetensors" in str(end.value)


@pytest.mark.parametrize("words", [[], ["cpu_relu_res18_cifar", "--resume", "x"]])
def test_one_run_has_to_be_named(monkeypatch, capsys, words):
    with pytest.raises(SystemExit) as end:
        main(monkeypatch, *words)
    assert end.value.code == 2
    assert "expected a RECIPE (see --list), or --resume DIR" in capsys.readouterr().err


def test_a_dry_run_plans_and_writes_nothing(monkeypatch, environment, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARTA_DATA", environment["SPARTA_DATA"])
    before = list(tmp_path.iterdir())
    words = [word for setting in SMALL for word in ("--set", setting)]
    main(monkeypatch, "cpu_sparta_res18_cifar", *words, "--dry-run", "--device", "cpu")
    assert "12 steps of 8 images" in capsys.readouterr().out
    main(monkeypatch, "cpu_sparta_res18_cifar", *words, "--dry-run", "--device", "cpu", "--limit", "0.5")
    said = capsys.readouterr().out
    assert "30 images of 32×32 in 10 classes, 3 held out" in said
    assert "6 steps of 8 images" in said
    assert list(tmp_path.iterdir()) == before


def test_a_run_of_the_first_engine_is_done_again_as_it_was_done(monkeypatch, environment, capsys):
    """It held no images out, and had no field to say so."""
    monkeypatch.setenv("SPARTA_DATA", environment["SPARTA_DATA"])
    record = Path(run.__file__).parent / "records/cpu_relu_res18_cifar-seed0.json"
    main(monkeypatch, str(record), "--set", f"host={HOST}", "--set", "batch_size=60", "--dry-run", "--device", "cpu")
    assert "60 images of 32×32 in 10 classes, 0 held out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [((), None), (("--compile",), "default"), (("--compile", "reduce-overhead"), "reduce-overhead"),
     (("--compile", "none"), None)],
)  # fmt: skip
def test_the_compiler_gets_the_mode_that_was_asked_for(tmp_path, monkeypatch, environment, words, expected):
    modes = []

    class ReachedError(Exception):
        """The first step would be next."""

    def stop(*_, **__):
        raise ReachedError

    monkeypatch.setenv("SPARTA_DATA", environment["SPARTA_DATA"])
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, *, mode: modes.append(mode))
    monkeypatch.setattr("training.engine.train_step", stop)
    with pytest.raises(ReachedError):
        main(monkeypatch, *arguments("cpu_sparta_res18_cifar", *words, "--out", tmp_path / "run"))
    assert modes == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("wanted", "device", "processes", "expected"),
    [(None, "cpu", 1, None), (None, "cuda", 1, "default"), (None, "cuda", 2, None), ("default", "cuda", 2, "default"),
     ("none", "cuda", 1, None)],
)  # fmt: skip
def test_one_gpu_compiles_by_default(wanted, device, processes, expected):
    assert compile_mode(wanted, World(torch.device(device), count=processes)) == expected


def test_an_unknown_mode_of_the_compiler_is_refused(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        main(monkeypatch, "cpu_sparta_res18_cifar", "--compile", "fastest")
    assert "invalid choice: 'fastest'" in (said := capsys.readouterr().err)
    assert "reduce-overhead" in said
