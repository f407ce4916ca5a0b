"""Reasons to stop a run before its end: the time that was given to it, SIGTERM, Ctrl-C."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

USED_UP = "the time budget is used up"
LONGEST = 1e7  # seconds that a timer is set to


class Interrupted(BaseException):
    """A signal came where it may break into the work at once."""


class Stop:
    """Says when a run should stop.

    Args:
        deadline: on the clock of ``time.monotonic``; None: no end.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self.signalled = ""
        self._at_once = False

    def reason(self, needed: float) -> str:
        """Why to stop now, in words, or nothing.

        Args:
            needed: seconds that the next piece of work will take, and those to stop cleanly after it.
        """
        return self.signalled or (USED_UP if self._left(needed) < 0 else "")

    def _left(self, needed: float) -> float:
        return math.inf if self.deadline is None else self.deadline - needed - time.monotonic()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Inside, SIGTERM and Ctrl-C ask for an end; a second one breaks off as it would without this."""
        kinds = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(kind, self._note) for kind in kinds]
        try:
            yield
        finally:
            for kind, handler in zip(kinds, before, strict=True):
                signal.signal(kind, handler)

    @contextmanager
    def at_once(self, needed: float = 0.0) -> Iterator[None]:
        """Inside, a signal or the deadline raises ``Interrupted``: for long work that can be done again.

        Args:
            needed: seconds that are left at the deadline to stop cleanly; where the system has no timers, or in a
                thread, the deadline breaks nothing off.
        """
        self._at_once = True
        try:
            if self.reason(needed):  # since the last look at it
                raise Interrupted
            with self._alarm(needed):
                yield
        finally:
            self._at_once = False

    @contextmanager
    def _alarm(self, needed: float) -> Iterator[None]:
        left = self._left(needed)
        main = threading.current_thread() is threading.main_thread()
        if left > LONGEST or not main or not hasattr(signal, "setitimer"):
            yield
            return
        before = signal.signal(signal.SIGALRM, self._late)
        signal.setitimer(signal.ITIMER_REAL, left + 1e-3)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _late(self, _number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signalled:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signalled = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if self._at_once:
            raise Interrupted
