"""``sparta-hub diagnose`` as a user types it."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import sparta_hub
from sparta_hub.cli import main
from sparta_hub.diagnostics import CHECKS, Diagnosis


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def data(artifact, tmp_path, monkeypatch):
    """Two images of noise, of the classes that the artifact's network takes them for."""
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        y = sparta_hub.load(artifact).eval()(torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255).argmax(1)
    np.savez(tmp_path / "fashion_mnist.npz", x_test=x, y_test=y.numpy())
    monkeypatch.setenv("SPARTA_DATA", str(tmp_path))
    return tmp_path


def test_table_record_and_plot(artifact, data):
    out = data / "out"
    arguments = ("diagnose", artifact, "--data", "fashion_mnist", "--quick", "--twin", artifact, "--eps", "1/255")
    done = run(*arguments, "--out", out)
    assert done.exit_code == 0, done.output
    assert "12/12 [" in done.stderr  # the bar: twelve attacks, gates and twin among them
    assert all(f" {name} " in done.stdout for name in CHECKS)
    assert done.stdout.splitlines()[0] == f"{artifact}, 2 images of fashion_mnist, Linf 1/255"
    found = Diagnosis.from_json(json.loads((out / "diagnosis.json").read_text()))
    assert found.evidence.right == 2
    assert found.table() in done.stdout
    assert (out / "diagnosis.png").is_file()
    assert json.loads(run(*arguments, "--out", out, "--json").stdout) == found.to_json()


def test_strict_is_exit_code_1_where_something_is_suspect(artifact, data):
    model = sparta_hub.load(artifact)
    with torch.no_grad():
        model.get_submodule("fc").get_parameter("weight").mul_(3e5)  # the same predictions, and a softmax of 0 and 1
        model.get_submodule("fc").get_parameter("bias").mul_(3e5)
    folder = data / "saturated"
    sparta_hub.save(model, folder, with_host=True)
    arguments = ("diagnose", folder, "--data", "fashion_mnist", "--quick", "--out", data / "out")
    assert run(*arguments).exit_code == 0
    strict = run(*arguments, "--strict")
    assert strict.exit_code == 1
    assert "suspect         zero gradients  On 2 of 2 images the gradient" in strict.stdout


def test_what_is_wrong_is_one_line(artifact, data):
    done = run("diagnose", artifact, "--data", "fashion_mnist", "--eps", "0")
    assert done.exit_code == 1
    assert "sparta-hub: The threat is Linf 0/255; expected an untargeted one" in done.stderr
    assert run("diagnose", artifact).exit_code == 2  # no --data
    assert "Ask whether the network NAME is robust" in run("diagnose", "--help").output


def test_activations_alone_cannot_be_diagnosed(artifact, data):
    alone = data / "alone"
    sparta_hub.save(sparta_hub.load(artifact), alone)
    done = run("diagnose", alone, "--data", "fashion_mnist")
    assert done.exit_code == 1
    assert f"type: sparta-hub diagnose {alone} --model resnet18_cifar --weights FILE.safetensors" in done.stderr
