"""Reasons to stop."""

import os
import signal
import time

import pytest

from training.stopping import Interrupted, Stop


def test_without_a_reason_there_is_none():
    assert Stop().reason(1e9) == ""


def test_a_deadline_counts_what_is_still_to_do():
    stop = Stop(time.monotonic() + 100)
    assert stop.reason(50) == ""
    assert stop.reason(101) == "the time budget is used up"


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_is_noted_and_the_old_handlers_come_back(number, name):
    before, stop = signal.getsignal(number), Stop()
    with stop.signals():
        os.kill(os.getpid(), number)
        assert stop.reason(0) == name
    assert signal.getsignal(number) is before


def test_long_work_is_broken_into_at_once():
    stop = Stop()
    with stop.signals():
        with pytest.raises(Interrupted), stop.at_once():
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted), stop.at_once():  # one that came before the work began
            pass
    assert stop.reason(0) == "SIGTERM"
