"""The record of a diagnosis refuses what does not follow from it."""

import copy
import json

import pytest

from sparta_hub.diagnostics import Diagnosis, diagnose
from sparta_hub.errors import ReportError
from tests.diagnostics.networks import THREAT


@pytest.fixture(scope="module")
def found(robust, images):
    return diagnose(robust, images, THREAT, limit=6, quick=True)


def test_json_both_ways(found):
    assert Diagnosis.from_json(json.loads(json.dumps(found.to_json()))) == found


def tampered(found, change):
    value = copy.deepcopy(found.to_json())
    change(value)
    return value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(format="sparta-hub evaluation"), "format is 'sparta-hub evaluation'; expected 'spa"),
        (lambda v: v.pop("probes"), "the diagnosis lacks probes"),
        (lambda v: v["probes"].update(gap="3"), "probes.gap is '3'; expected a number"),
        (lambda v: v["roles"].update(margin=[99]), r"roles is .*; expected lists of numbers of the 9 attacks"),
        (lambda v: v["roles"].pop("margin"), r"The roles are .*, which lack 'margin' of a diagnosis"),
        (lambda v: v["findings"][0].update(verdict="suspect"), "The findings are not those that follow"),
        (lambda v: v["probes"].update(zero_gradients=6), "The findings are not those that follow"),
        (lambda v: v["evaluation"]["summary"]["clean"].update(percent=100.0), "The summary says"),
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused(found, change, message):
    with pytest.raises(ReportError, match=message):
        Diagnosis.from_json(tampered(found, change))
