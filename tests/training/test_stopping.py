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


def test_the_deadline_breaks_into_long_work_too():
    before = signal.getsignal(signal.SIGALRM)
    begun = time.monotonic()
    with pytest.raises(Interrupted), Stop(begun + 10.2).at_once(needed=10):
        time.sleep(30)
    assert 0.2 <= time.monotonic() - begun < 9
    assert signal.getsignal(signal.SIGALRM) is before
    with pytest.raises(Interrupted), Stop(time.monotonic() + 1).at_once(needed=2):
        pytest.fail("there is no time for it")
    with Stop(time.monotonic() + 0.3).at_once():
        pass
    time.sleep(0.4)  # no alarm is left
    with Stop().at_once(), Stop(float("inf")).at_once():
        pass
