"""Errors meant for the reader: what was seen, what was expected, what to type."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class SpartaError(Exception):
    """Base of every error this package raises for something a user can mend."""


class SpecError(SpartaError):
    """A description of an activation set is wrong: family, argument, placement, version."""


class SiteError(SpartaError):
    """A host has no place where this activation can go, or it is taken already."""


class ArtifactError(SpartaError):
    """A folder or file of weights is missing, damaged, too new or not what its config says."""


class NameNotFoundError(SpartaError):
    """A short name, folder or repository that nobody knows."""


class HubError(SpartaError):
    """The Hub cannot be reached, refuses or fails, or the disk refuses what it sends; also: this must not be sent."""


class DataError(SpartaError):
    """A data set is missing or malformed."""


class AttackError(SpartaError):
    """A threat model or an attack was given values that make no sense together."""


class ReportError(SpartaError):
    """A record of an evaluation is damaged, of another format, or of another evaluation than the one asked for."""


def in_a_line(error: SpartaError | OSError) -> str:
    """What a command tells its user. A fault that names no file of the user's is raised again, to be seen whole."""
    if isinstance(error, SpartaError):
        return str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'The output'} cannot be written: {error.strerror}."
    if error.filename is None:
        raise error
    return f"{error.filename} cannot be read or written: {error.strerror}."


@contextmanager
def answered(command: str) -> Iterator[None]:
    """For scripts: our errors, files that cannot be read or written, and Ctrl-C become one line on standard error."""
    try:
        yield
    except (SpartaError, OSError) as error:
        sys.exit(f"{command}: {in_a_line(error)}")
    except KeyboardInterrupt:
        sys.exit(f"{command}: interrupted.")


def first_words(error: Exception) -> str:
    """The beginning of what torch says, as one line: it adds its stack, some screens long."""
    return " ".join(str(error).split())[:200]


def short(value: object) -> str:
    """``repr`` that cannot fill a screen: one line, as that of a network is not."""
    text = repr(value) if isinstance(value, str) else " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
