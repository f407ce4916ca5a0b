"""Intervals and origins of figures."""

import subprocess

import pytest
import torch

from sparta_hub import provenance as source
from sparta_hub.provenance import commit, provenance, wilson


def test_wilson_against_known_values():
    assert wilson(50, 100) == (pytest.approx(40.38, abs=0.01), pytest.approx(59.62, abs=0.01))
    low, high = wilson(0, 10)
    assert (low, high) == (0, pytest.approx(27.75, abs=0.01))


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
