"""The first training path: same bits after an interruption, methods as published, records complete."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from sparta_hub import ThreatModel
from sparta_hub.data import Images
from sparta_hub.provenance import provenance, wilson
from training import engine, publish
from training.config import TrainConfig
from training.methods import METHODS
from training.recipes import RECIPES

TINY = TrainConfig("tiny", "resnet10t", "sparta", epochs=2, batch_size=8, arguments={"hidden": 8}, seed=3)


@pytest.fixture
def data():
    x = torch.randint(0, 256, (24, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Images(x, torch.arange(24) % 10, "cifar10")


def test_a_run_ends_with_averaged_weights_and_a_complete_record(data, tmp_path):
    record = engine.train(TINY, data, tmp_path)
    assert record["steps"] == 6
    assert len(record["losses"]) == 6
    assert record["images"] == 48
    assert {"commit", "torch", "hardware", "seconds", "config"} <= record.keys()
    averaged = load_file(tmp_path / "averaged.safetensors")
    trained = load_file(tmp_path / "checkpoint.safetensors")
    assert not torch.equal(averaged["fc.weight"], trained["model.fc.weight"])
    engine.make_model(TINY, 10).load_state_dict(averaged)


def test_an_interrupted_run_goes_on_to_the_same_bits(data, tmp_path, monkeypatch):
    engine.train(TINY, data, tmp_path / "whole", checkpoint_every=2)

    calls = 0
    attack = METHODS["n_fgsm"]

    def interrupted(*arguments):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return attack(*arguments)

    monkeypatch.setitem(METHODS, "n_fgsm", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.train(TINY, data, tmp_path / "parts", checkpoint_every=2)
    monkeypatch.setitem(METHODS, "n_fgsm", attack)
    record = engine.train(TINY, data, tmp_path / "parts", checkpoint_every=2)
    whole, parts = (load_file(tmp_path / name / "averaged.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert len(record["losses"]) == 6


def test_twins_share_their_hosts_first_weights():
    sparta, relu = (engine.make_model(replace(TINY, family=family), 10) for family in ("sparta", "relu"))
    own = sparta.state_dict()
    assert all(torch.equal(tensor, own[key]) for key, tensor in relu.state_dict().items())


def test_n_fgsm_is_its_algorithm():
    """δ = η + ε·sign ∇L(x + η), η ~ U(-2ε, 2ε), no clipping, on a model whose gradient is known."""
    weight = torch.randn(2, 12)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))
    model[1].weight.data = weight
    x, y, threat = torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 0, 1, 0]), ThreatModel("linf", 0.1)
    noise = 2 * 0.1 * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) - 1)
    towards = torch.where(y[:, None] == 0, weight[1] - weight[0], weight[0] - weight[1]).sign().view_as(x)
    x_adv = METHODS["n_fgsm"](model, x, y, threat, torch.Generator().manual_seed(1))
    assert torch.allclose(x_adv, x + noise + 0.1 * towards, atol=1e-6)
    assert not x_adv.requires_grad
    assert model[1].weight.grad is None


def test_augmentation_crops_and_flips_each_image_for_itself():
    x = torch.rand(50, 3, 8, 8)
    out = engine.augment(x, torch.Generator().manual_seed(0))
    padded = F.pad(x, (4, 4, 4, 4))
    found = 0
    for image, source in zip(out, padded, strict=True):
        shifts = [source[:, i : i + 8, j : j + 8] for i in range(9) for j in range(9)]
        found += any(torch.equal(image, s) or torch.equal(image, s.flip(2)) for s in shifts)
    assert found == 50
    assert len({tuple(image.flatten()[:20].tolist()) for image in out}) > 25


def test_one_cycle_rises_and_falls_to_nothing():
    factors = [engine.one_cycle(step, 100) for step in range(100)]
    assert factors[29] == pytest.approx(1)
    assert factors[0] == pytest.approx(1 / 30)
    assert factors == sorted(factors[:30]) + sorted(factors[30:], reverse=True)
    assert factors[99] == pytest.approx(1 / 70)


def test_nan_stops_with_the_last_good_checkpoint(data, tmp_path, monkeypatch):
    attack = METHODS["n_fgsm"]
    monkeypatch.setitem(METHODS, "n_fgsm", lambda model, x, y, *rest: attack(model, x, y, *rest) * float("nan"))
    with pytest.raises(FloatingPointError, match=r"The loss is nan at step 0; the last good checkpoint is in"):
        engine.train(TINY, data, tmp_path)


def test_recipes_are_complete_and_twins_differ_in_the_activation_alone():
    for name, recipe in RECIPES.items():
        assert recipe().name == name
    sparta, relu = RECIPES["cpu_sparta_res18_cifar"](), RECIPES["cpu_relu_res18_cifar"]()
    assert replace(relu, name=sparta.name, family="sparta") == sparta


def test_wilson_against_known_values():
    assert wilson(50, 100) == (pytest.approx(40.38, abs=0.01), pytest.approx(59.62, abs=0.01))
    low, high = wilson(0, 10)
    assert (low, high) == (0, pytest.approx(27.75, abs=0.01))


def test_provenance_names_commit_and_hardware():
    row = provenance(torch.device("cpu"))
    assert len(str(row["commit"]).removesuffix("+changes")) == 40
    assert row["torch"] == torch.__version__
    assert row["hardware"]


def test_the_command_trains_and_publishing_makes_an_artifact_that_loads(tmp_path, monkeypatch):
    import sparta_hub

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8), np.arange(30) % 10
    np.savez(tmp_path / "cifar10.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    monkeypatch.setenv("SPARTA_DATA", str(tmp_path))
    command = ["cpu_sparta_res18_cifar", "--out", str(tmp_path / "run"), "--limit", "0.5"]
    changes = ["--set", "epochs=1", "--set", "batch_size=8", "--set", "host=resnet10t"]
    done = subprocess.run(
        [sys.executable, "-m", "training.run", *command, *changes],
        cwd=publish.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "training.json").read_text())["steps"] == 2

    monkeypatch.setattr(publish, "ROOT", tmp_path)
    (tmp_path / "sparta_hub").mkdir()
    (tmp_path / "sparta_hub" / "registry.json").write_text("{}")
    folder = publish.publish(tmp_path / "run", "tiny", count=4, with_host=True, remark="r", comparison="c")
    assert sparta_hub.load(folder)(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert "resnet10t" in (folder / "README.md").read_text()
    assert json.loads((tmp_path / "sparta_hub" / "registry.json").read_text())["tiny"]["revision"] is None


def test_an_unknown_field_is_answered():
    done = subprocess.run(
        [sys.executable, "-m", "training.run", "cpu_sparta_res18_cifar", "--out", "x", "--set", "epoch=1"],
        cwd=publish.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no field epoch; the fields are name, host" in done.stderr
