"""Work of several processes, by value: this one is the second of two, and what the first one says is made up."""

import pytest

from sparta_hub import processes
from sparta_hub.errors import SpartaError
from sparta_hub.processes import in_each, in_first


@pytest.fixture
def first(monkeypatch):
    """What the first process has for this one: a value and no failure, or a failure."""
    told = {"value": "first's", "failure": None}
    monkeypatch.setattr(processes, "process", lambda: (1, 2))
    monkeypatch.setattr(processes, "gathered", lambda own: [(told["value"], told["failure"]), own])
    return told


def fails():
    raise OSError("the disk is full")


def test_each_gets_the_values_of_all_in_their_order(first):
    assert in_each(lambda: "second's") == ["first's", "second's"]


def test_a_failure_of_another_process_ends_this_one_too(first):
    first["failure"] = "ReportError: it is damaged"
    for together in (in_each, in_first):
        with pytest.raises(SpartaError, match="^process 0 stopped: ReportError: it is damaged$"):
            together(lambda: "second's")


def test_a_failure_of_its_own_is_told_to_the_others_and_raised_as_it_is(first, monkeypatch):
    told = []
    monkeypatch.setattr(processes, "gathered", lambda own: told.append(own) or [("first's", None), own])
    with pytest.raises(OSError, match="^the disk is full$"):
        in_each(fails)
    assert told == [(None, "OSError: the disk is full")]


def test_what_is_for_the_first_process_is_done_by_no_other(first):
    assert in_first(fails) == "first's"


def test_alone_a_process_does_it_all_itself():
    assert (in_each(lambda: 1), in_first(lambda: 2)) == ([1], 2)
    with pytest.raises(OSError, match="the disk is full"):
        in_first(fails)
