"""What the command lines of the benchmarks share: a mistake is answered before anything is measured, and not after."""

import argparse

from training.errors import ConfigError
from training.parallel import device_named


def device(text: str) -> str:
    """For ``type`` of argparse: a device that this machine has."""
    try:
        device_named(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(
            f"{text} is not on this machine; expected cpu, or cuda where it is."
        ) from error
    return text
