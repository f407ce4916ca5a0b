"""Paths as users type them."""

from os import PathLike, fspath
from pathlib import Path

from sparta_hub.errors import SpartaError, short


def typed_path(path: str | PathLike[str], error: type[SpartaError]) -> Path:
    """The path with ~ as the home folder, whether or not something is there.

    Args:
        path: as it was typed.
        error: what is raised where that cannot be a path: with a null, or in the home folder of nobody.
    """
    text = fspath(path)
    if "\0" in text:
        raise error(f"{short(text)} holds a null; expected a path.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = text.partition("/")[0]
        raise error(f"{short(text)}: there is no user {user[1:]} here; expected ~/... or another path.") from None
