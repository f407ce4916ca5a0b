"""Train a recipe: ``python -m training.run RECIPE --out DIR`` (``--set epochs=1``, ``--limit 0.01``, ``--seed 1``)."""

import argparse
import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from sparta_hub.data import Images, load_images
from training.engine import train
from training.recipes import RECIPES


def parse_value(text: str) -> Any:
    """A number, true, false, or the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints; an interrupted run goes on from there"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field of the recipe"
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--limit", type=float, default=1.0, help="share of the training images to use")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    changes = dict(item.split("=", 1) for item in options.set)
    config = RECIPES[options.recipe]()
    if unknown := changes.keys() - {f.name for f in fields(config)}:
        parser.error(f"no field {', '.join(unknown)}; the fields are {', '.join(f.name for f in fields(config))}")
    config = replace(config, **{name: parse_value(value) for name, value in changes.items()})
    if options.seed is not None:
        config = replace(config, seed=options.seed)
    torch.set_num_threads(options.threads)
    data = load_images(config.dataset, "train")
    count = int(options.limit * len(data))
    result = train(config, Images(data.x[:count], data.y[:count], data.name), options.out)
    (options.out / "training.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
