"""bfloat16 that a machine has to emulate is said before a run, with what to type."""

import sys
from dataclasses import replace

import pytest
import torch

from training import run
from training.plan import plan
from training.precision import slow_precision, without_bfloat16
from training.recipes import RECIPES

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
RECIPE = RECIPES["cpu_relu_res18_cifar"]()
SAID = "precision is bf16, and this CPU has no bf16 that oneDNN supports: many times slower than --set precision=fp32."


@pytest.fixture
def old(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)


@pytest.fixture
def new(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)


def test_a_processor_without_it(old):
    assert slow_precision(RECIPE, CPU) == SAID
    assert slow_precision(replace(RECIPE, precision="fp32"), CPU) is None


def test_a_processor_with_it(new):
    assert without_bfloat16(CPU) is None
    assert slow_precision(RECIPE, CPU) is None


@pytest.mark.parametrize(("has", "expected"), [(True, None), (False, "this GPU has no bf16")])
def test_a_gpu(monkeypatch, has, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: has and not including_emulation)
    assert without_bfloat16(CUDA) == expected


def test_a_plan_says_it(old, monkeypatch, tmp_path):
    monkeypatch.setenv("SPARTA_DATA", str(tmp_path))
    assert f"slow       {SAID}" in str(plan(RECIPE, CPU, measure=False)).splitlines()
    assert plan(replace(RECIPE, precision="fp32"), CPU, measure=False).slow is None


def test_a_run_says_it_before_it_begins(old, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SPARTA_DATA", str(tmp_path))  # where nothing is, so that it ends there
    monkeypatch.setattr(sys, "argv", ["training.run", RECIPE.name, "--device", "cpu", "--out", str(tmp_path / "r")])
    with pytest.raises(SystemExit):
        run.main()
    assert capsys.readouterr().err.splitlines()[0] == f"training.run: {SAID}"
