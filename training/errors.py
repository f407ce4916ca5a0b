"""Errors of training that a user can mend."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sparta_hub.errors import SpartaError, in_a_line


class ConfigError(SpartaError):
    """A configuration has a field or value that cannot be, or does not go with the data or the machine."""


class CheckpointError(SpartaError):
    """A checkpoint is damaged, belongs to another run, or cannot be written."""


class TakenError(CheckpointError):
    """Another run is in the folder."""


class LossError(SpartaError):
    """The loss is no longer a number."""


@contextmanager
def answered(command: str) -> Iterator[None]:
    """Turns our errors, files that cannot be read or written, and Ctrl-C, into one line on standard error."""
    try:
        yield
    except (SpartaError, OSError) as error:
        sys.exit(f"{command}: {in_a_line(error)}")
    except KeyboardInterrupt:
        sys.exit(f"{command}: interrupted.")
