"""Intervals and origins of figures."""

import pytest
import torch

from sparta_hub.provenance import provenance, wilson


def test_wilson_against_known_values():
    assert wilson(50, 100) == (pytest.approx(40.38, abs=0.01), pytest.approx(59.62, abs=0.01))
    low, high = wilson(0, 10)
    assert (low, high) == (0, pytest.approx(27.75, abs=0.01))


def test_provenance_names_commit_and_hardware():
    row = provenance(torch.device("cpu"))
    assert len(str(row["commit"]).removesuffix("+changes")) == 40
    assert row["torch"] == torch.__version__
    assert row["hardware"]
