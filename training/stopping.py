"""Reasons to stop a run before its end: the time that was given to it, SIGTERM, Ctrl-C."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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
        if self.signalled:
            return self.signalled
        if self.deadline is not None and time.monotonic() + needed > self.deadline:
            return "the time budget is used up"
        return ""

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
    def at_once(self) -> Iterator[None]:
        """Inside, a signal raises ``Interrupted``: for long work that changes nothing and can be done again."""
        self._at_once = True
        try:
            if self.signalled:  # between the last look at it and here
                raise Interrupted
            yield
        finally:
            self._at_once = False

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signalled:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.signalled = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if self._at_once:
            raise Interrupted
