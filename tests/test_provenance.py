"""Intervals and origins of figures."""

import subprocess
from math import sqrt
from statistics import NormalDist

import pytest
import torch

from sparta_hub import provenance as source
from sparta_hub.provenance import commit, provenance, wilson


@pytest.mark.parametrize(("correct", "count"), [(50, 100), (0, 10), (10, 10), (30, 100), (213, 1000), (899, 10_000)])
def test_wilson_holds_those_shares_that_the_normal_test_does_not_reject(correct, count):
    """Its ends are the roots of ``|correct / count - p| = z·sqrt(p(1 - p) / count)``; three tell z from 1.96."""
    a = NormalDist().inv_cdf(0.975) ** 2 / count
    share = correct / count
    middle, root = 2 * share + a, sqrt((2 * share + a) ** 2 - 4 * (1 + a) * share**2)
    expected = [round(100 * (middle + sign * root) / (2 + 2 * a), 2) for sign in (-1, 1)]
    assert wilson(correct, count) == tuple(expected)


def test_provenance_names_commit_and_hardware():
    row = provenance(torch.device("cpu"))
    assert len(str(row["commit"]).removesuffix("+changes")) == 40
    assert row["torch"] == torch.__version__
    assert row["hardware"]


def test_a_commit_is_marked_where_code_differs_and_not_where_records_do(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "__file__", str(tmp_path / "package" / "provenance.py"))
    for name in ("package/__init__.py", "records/one.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    who = ("-c", "user.name=n", "-c", "user.email=e")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "first")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert len(commit()) == 40
    (tmp_path / "records/one.json").write_text("2")
    assert len(commit()) == 40
    (tmp_path / "package/__init__.py").write_text("2")
    assert commit().endswith("+changes")
