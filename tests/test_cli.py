import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from sparta_hub.cli import main
from tests.test_hub import BUNDLED


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_list():
    done = run("list")
    assert done.exit_code == 0
    assert BUNDLED in done.output
    assert "dynamic_relu_b" in done.output
    data = json.loads(run("list", "--json").output)
    assert data["models"][0]["name"] == BUNDLED
    assert data["families"]["sparta"].startswith("Guo et al. 2021")


def test_info(artifact):
    done = run("info", BUNDLED)
    assert done.exit_code == 0
    assert "sparta(kernel_size=1, hidden=None, dynamic=True, neighborhood=1)" in done.output
    assert "trained in  resnet18_cifar (3x3 stem, 10 classes) on cifar10 at 32×32" in done.output
    assert "measured    PGD-20" in done.output
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
        (("check", BUNDLED, "resnet1"), "timm has no model 'resnet1'"),
    ],
)
def test_errors_are_one_line_and_exit_code_1(arguments, message):
    done = subprocess.run(
        [sys.executable, "-m", "sparta_hub.cli", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_exit_code_2():
    assert run("info").exit_code == 2
    assert run("demo", "--steps", "0").exit_code == 2
    assert run("nonsense").exit_code == 2


def test_help_names_every_command():
    text = run("--help").output
    assert all(command in text for command in ("list", "info", "check", "demo"))
    assert "org/name[@revision]" in text
