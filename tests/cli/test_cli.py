import errno
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

import sparta_hub
from sparta_hub.cli import main
from sparta_hub.cli.options import at_home
from sparta_hub.data import CLASSES
from sparta_hub.errors import in_a_line
from sparta_hub.evaluation import Report
from sparta_hub.identity import state_sha256
from tests.conftest import HOST
from tests.hub.test_names import BUNDLED
from tests.processes import free_port


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_the_home_folder_may_be_written_as_in_a_shell(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["~/x", "--out=~/x", "dataset=~/x", "~", "a~/x", "~x", "x=a~/b", "--remark=~ 3"]
    home = str(tmp_path)
    assert at_home(words) == [f"{home}/x", f"--out={home}/x", f"dataset={home}/x", home, *words[4:]]
    assert f"{tmp_path}/nowhere is no folder; expected one with config.json" in run("info", "~/nowhere").output


def test_a_list_is_of_what_is_installed_whatever_folders_are_called_so(tmp_path, monkeypatch):
    expected = run("list").output
    (tmp_path / BUNDLED).mkdir()
    monkeypatch.chdir(tmp_path)
    assert run("list").output == expected


@pytest.mark.parametrize(
    ("number", "file", "words"),
    [(errno.ENOSPC, None, "The output cannot be written: No"), (errno.EDQUOT, "a.json", "a.json cannot be written: ")],
)
def test_a_full_disk_is_said_in_a_line(number, file, words):
    assert in_a_line(OSError(number, os.strerror(number), file)).startswith(words)
    with pytest.raises(OSError, match="Bad"):
        in_a_line(OSError(errno.EBADF, os.strerror(errno.EBADF)))


def test_list():
    done = run("list")
    assert done.exit_code == 0
    assert BUNDLED in done.output
    assert "dynamic_relu_b" in done.output
    data = json.loads(run("list", "--json").output)
    assert BUNDLED in [model["name"] for model in data["models"]]
    assert data["families"]["sparta"].startswith("Guo et al. 2021")


def test_info(artifact):
    done = run("info", BUNDLED)
    assert done.exit_code == 0
    assert "sparta(kernel_size=1, hidden=None, dynamic=True, neighborhood=1)" in done.output
    assert "trained in  resnet18_cifar (3x3 stem, 10 classes) on cifar10 at 32×32" in done.output
    assert "measured    thesis-pgd-20 (steps 20" in done.output
    assert json.loads(run("info", artifact, "--json").output)["activation"]["arguments"]["hidden"] == 16


def test_check_and_its_exit_codes():
    fits = run("check", BUNDLED, "resnet34_cifar")
    assert (fits.exit_code, fits.output.split(":")[0]) == (0, "compatible")
    no = run("check", BUNDLED, "resnet50", "--json")
    assert no.exit_code == 3
    assert "resnet18" in json.loads(no.output)["hosts"]
    warned = run("check", BUNDLED, "resnet18", "--input-size", 32)
    assert "1×1" in warned.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "sparta-res18"), "sparta-hub: Nothing is called 'sparta-res18'. Did you mean"),
        (("check", BUNDLED, "resnet1"), "sparta-hub: timm has no model 'resnet1'"),
    ],
)
def test_errors_are_one_line_and_exit_code_1(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "sparta_hub.cli", "info", "sparta-res18"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sparta-hub: Nothing is called 'sparta-res18'.")
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_exit_code_2():
    assert run("info").exit_code == 2
    assert run("demo", "--steps", "0").exit_code == 2
    assert run("nonsense").exit_code == 2


def test_authors_go_with_the_hub():
    done = run("list", "--author", "me")
    assert done.exit_code == 2
    assert "--author goes with --hub." in done.stderr


def test_a_folder_that_cannot_be_made_is_answered_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("sparta_hub.demo.run_demo", lambda *_, **__: pytest.fail("it was run all the same"))
    (tmp_path / "file").write_text("")
    done = run("demo", "--out", tmp_path / "file" / "folder")
    assert done.exit_code == 1
    assert done.stderr == f"sparta-hub: {tmp_path}/file/folder cannot be read or written: Not a directory.\n"


def test_help_names_every_command():
    text = run("--help").output
    assert all(command in text for command in ("list", "info", "check", "demo", "eval"))
    assert "org/name[@revision]" in text


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Six images of two data sets, one with the classes of the artifact's network and one with others."""
    x, y = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8), np.arange(6)
    for name in ("fashion_mnist", "gtsrb"):
        np.savez(tmp_path / f"{name}.npz", x_test=x, y_test=y)
    monkeypatch.setenv("SPARTA_DATA", str(tmp_path))
    return tmp_path


def test_eval_prints_a_table_and_writes_a_report(artifact, images):
    out = images / "report.json"
    arguments = ("eval", artifact, "--data", "fashion_mnist", "--limit", 5, "--attack", "pgd", "--attack", "fgsm")
    arguments += ("--steps", 2, "--eps", "16/255", "--step-size", "1/255", "--batch-size", 3, "--out", out)
    done = run(*arguments)
    assert done.exit_code == 0
    assert "robust" in done.stderr  # the bar
    names = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert names == [
        "clean", "pgd(steps=2, step_size=0.003922), Linf 16/255", "fgsm, Linf 16/255", "worst case of each image",
    ]  # fmt: skip
    report = Report.from_json(json.loads(out.read_text()))
    assert report.protocol.images == 5
    assert report.protocol.model == str(artifact)
    assert json.loads(run(*arguments, "--json").stdout) == report.to_json()  # finished, so nothing is run again


def test_eval_fast_finds_what_exact_finds(artifact, images):
    arguments = ("eval", artifact, "--data", "fashion_mnist", "--limit", 5, "--steps", 3, "--json")
    arguments += ("--attack", "pgd", "--attack", "sparta-pgd-10")
    exact, fast = (json.loads(run(*arguments, *more).stdout) for more in ((), ("--fast", "--sample", 1)))
    assert (exact["protocol"]["speed"], fast["protocol"]["speed"]) == ("exact", "fast")
    reasons = [text for key, text in fast["provenance"][0].items() if key.endswith("ran on")]
    assert len(reasons) == 2
    assert all(": 0 of 1 flags differ, 1 may" in reason for reason in reasons)
    assert all(attack["arguments"]["early_stop"] for attack in fast["protocol"]["attacks"])
    assert fast["outcome"]["correct"] == exact["outcome"]["correct"]
    assert not any("early_stop" in attack["arguments"] for attack in exact["protocol"]["attacks"])


def test_eval_of_the_attack_of_the_papers(artifact, images):
    done = run("eval", artifact, "--data", "fashion_mnist", "--limit", 2, "--attack", "sparta-pgd-10", "--json")
    (attack,) = json.loads(done.stdout)["protocol"]["attacks"]
    assert attack == {
        "name": "sparta-pgd-10", "threat": {"norm": "linf", "eps": 16 / 255, "targeted": True},
        "arguments": {"steps": 10, "step_size": 1 / 255, "random_start": False},
        "function": "sparta_hub.attacks.pgd.pgd",
    }  # fmt: skip
    done = run("eval", artifact, "--data", "fashion_mnist", "--limit", 2, "--norm", "l2", "--targeted", "--steps", 1)
    assert "pgd(steps=1), L2 0.5 targeted" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "cifar10"), r"cifar10.npz is not there. .*python -c .*CIFAR10"),
        (("--data", "gtsrb"), "The model gives 10 logits and gtsrb has 43 classes; expected the same number"),
        (("--attack", "pgd", "--attack", "fgsm", "--attack", "pgd"), "pgd is named twice; expected each attack once."),
        (("--attack", "pdg"), "There is no attack 'pdg'; expected one of fgsm, pgd, .*preset: sparta-pgd-10"),
        (("--attack", "fgsm", "--restarts", 2), "--restarts means nothing to fgsm; leave it out"),
        (("--attack", "sparta-pgd-10", "--eps", "8/255"), "sparta-pgd-10 has its own threat model; leave out"),
        (("--attack", "sparta-pgd-10", "--steps", 5), "--steps means nothing to sparta-pgd-10"),
        (
            ("--attack", "pgd", "--attack", "cw"),
            "cw attacks in L2, which --norm l2 of sparta-hub eval gives it; in L∞ take cw_linf.",
        ),
        (("--step-size", "tiny"), "step size is 'tiny'; expected a fraction such as 1/255"),
        (("--weights", "{images}/gtsrb.npz"), "--weights needs the network that they belong to"),
        (("--model", HOST, "--weights", "{images}/gtsrb.npz"), "is not a readable safetensors file"),
    ],
)
def test_eval_says_what_is_wrong(artifact, images, options, message):
    options = [str(option).format(images=images) for option in options]
    done = run("eval", artifact, "--data", "fashion_mnist", "--limit", 1, *options)
    assert done.exit_code == 1
    assert re.search(message, done.stderr)


def test_eval_warns_of_data_that_the_network_was_not_trained_on(artifact, images):
    (images / "fashion_mnist.npz").rename(images / "drawings.npz")
    done = run("eval", artifact, "--data", "drawings", "--limit", 1, "--attack", "fgsm")
    assert done.exit_code == 0
    assert (
        f"warning: {artifact} was trained on fashion_mnist, and its classes are not those of drawings: expect chance."
        in done.stderr
    )


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (CLASSES["fashion_mnist"], "class 1 is 'trouser' to {artifact} and 'ankle boot' in photos."),
        (tuple("abcdefghij"), "class 0 is 'T-shirt' to {artifact} and 'a' in photos."),
    ],
)
def test_eval_warns_of_folders_in_another_order_than_the_networks_classes(artifact, tmp_path, names, told):
    for name in names:
        (tmp_path / "photos/test" / name).mkdir(parents=True)
        Image.new("RGB", (64, 64), "red").save(tmp_path / "photos/test" / name / "0.png")
    done = run("eval", artifact, "--data", f"{tmp_path}/photos", "--limit", 1, "--attack", "fgsm")
    assert done.exit_code == 0, done.stderr
    assert f"warning: {told.format(artifact=artifact)} Folders are numbered in the order of their names" in done.stderr
    assert "expected those of fashion_mnist: T-shirt, trouser, pullover" in done.stderr


def test_the_sample_goes_with_fast():
    done = run("eval", "sparta-res18-cifar", "--data", "cifar10", "--sample", 3)
    assert done.exit_code == 2
    assert "--sample goes with --fast or --compile." in done.stderr


def test_eval_of_activations_needs_a_network_and_its_weights(artifact, images):
    alone, model = images / "alone", sparta_hub.load(artifact)
    sparta_hub.save(model, alone)
    done = run("eval", alone, "--data", "fashion_mnist")
    assert done.exit_code == 1
    assert f"sparta-hub eval {alone} --model resnet18_cifar --weights FILE.safetensors" in done.stderr
    arguments = ("eval", alone, "--data", "fashion_mnist", "--model", HOST, "--steps", 1, "--json")
    untrained = run(*arguments)
    assert f"warning: {HOST} is untrained but for the activations" in untrained.stderr
    weights = images / "all.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, weights)
    trained = run(*arguments, "--weights", weights)
    assert "warning" not in trained.stderr
    whole = run("eval", artifact, "--data", "fashion_mnist", "--steps", 1, "--json")
    assert "warning" not in whole.stderr
    checksums = [json.loads(done.stdout)["protocol"]["weights_sha256"] for done in (untrained, trained, whole)]
    assert checksums[0] != checksums[1] == checksums[2]
    save_file({"fc.weight": model.state_dict()["fc.weight"]}, weights)
    done = run(*arguments, "--weights", weights)
    assert f"in {HOST} with 10 classes: " in done.stderr


def test_eval_of_a_network_of_ones_own(images):
    torch.manual_seed(0)
    network, weights = timm.create_model(HOST, num_classes=10), images / "own.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, weights)
    arguments = ("eval", "--data", "fashion_mnist", "--steps", 1, "--json")
    done = run(*arguments, "--model", HOST, "--weights", weights)
    protocol = json.loads(done.stdout)["protocol"]
    assert (protocol["model"], protocol["weights_sha256"]) == (HOST, state_sha256(network))
    for options in ((), ("--model", HOST), ("--weights", weights)):
        done = run(*arguments, *options)
        assert done.exit_code == 1
        assert "There is no network to measure; expected the name of a set, or a network of your own" in done.stderr


@pytest.mark.slow
def test_eval_shares_the_work_between_launched_processes(artifact, images):
    """Two processes as ``torchrun`` and ``accelerate launch`` start them; only the first one speaks."""
    out, port = images / "report.json", free_port()
    launched = [
        subprocess.Popen(
            [sys.executable, "-m", "sparta_hub.cli", "eval", str(artifact), "--data", "fashion_mnist",
             "--batch-size", "2", "--steps", "1", "--out", str(out)],
            env=os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
                              "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        first, second = (process.communicate(timeout=120) for process in launched)
    finally:
        for process in launched:
            process.kill()
    assert [process.returncode for process in launched] == [0, 0], first[1] + second[1]
    assert first[0].startswith("clean")
    assert second[0] == ""
    assert Report.from_json(json.loads(out.read_text())).provenance[0]["processes"] == 2
