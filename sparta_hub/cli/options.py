"""Options that several commands share. Light, so that the command line starts at once."""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import click

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for other programs.")
DATA = click.option(
    "--data", "data_name", required=True, help="Data set: cifar10, svhn, ..., or a folder (with a slash)."
)
EPS = click.option("--eps", help="Radius, as 8/255 (the default) or 0.03; L2: 0.5.")
SEED = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all randomness.")
INPUT_SIZE = click.option("--input-size", type=click.IntRange(1), help="Height and width for folders of images.")
HOST = click.option(
    "--model",
    "host",
    help="timm network to put NAME's activations into, instead of the one it came from; without NAME, as it is.",
)
WEIGHTS = click.option(
    "--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="All weights of --model."
)
_HOME = re.compile(r"^([\w.-]+=)?~(?=/|$)")


def whole(lowest: int) -> Callable[[str], int]:
    """For ``type`` of argparse: a whole number, ``lowest`` or more."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"expected a whole number, {lowest} or more, and not {text}.")
        return int(text)

    return read


def new_file(text: str) -> Path:
    """For ``type`` of argparse: a file that can be written when all is measured."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} cannot be written; expected a file in a folder that is there.")
    return path


def at_home(words: Sequence[str]) -> list[str]:
    """A command line with ~ as the home folder also after =, where few shells put it: ``--out=~/run``."""
    return [_HOME.sub(lambda found: (found[1] or "") + str(Path.home()), word) for word in words]
