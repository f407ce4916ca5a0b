"""What the command lines of the benchmarks share: a mistake is answered before anything is measured, and not after."""

import argparse
from pathlib import Path

from training.errors import ConfigError
from training.parallel import device_named


def new_file(text: str) -> Path:
    """For ``type`` of argparse: a file that can be written when all is measured."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} cannot be written; expected a file in a folder that is there.")
    return path


def device(text: str) -> str:
    """For ``type`` of argparse: a device that this machine has."""
    try:
        device_named(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(
            f"{text} is not on this machine; expected cpu, or cuda where it is."
        ) from error
    return text
