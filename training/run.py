"""Train a recipe: ``python -m training.run RECIPE`` (``--list`` shows all); ``--resume DIR`` goes on with a run.

RECIPE may also be the JSON record of a run, which is then done again.
"""

import argparse
import json
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

STARTED = time.monotonic()  # a time budget counts from here, the slow imports below included

import torch  # noqa: E402

from sparta_hub.cli.options import at_home  # noqa: E402
from sparta_hub.errors import answered  # noqa: E402
from sparta_hub.processes import leave_processes  # noqa: E402
from training.checkpoints import read_head  # noqa: E402
from training.config import TrainConfig  # noqa: E402
from training.data import open_data  # noqa: E402
from training.engine import Options, train  # noqa: E402
from training.errors import ConfigError  # noqa: E402
from training.parallel import World, join_world  # noqa: E402
from training.precision import slow_precision  # noqa: E402
from training.recipes import RECIPES, find_recipe  # noqa: E402
from training.settings import changed, from_json, trained  # noqa: E402
from training.step import COMPILE_MODES, compile_mode  # noqa: E402
from training.stopping import Stop  # noqa: E402


def main() -> None:
    """Parse the command line and train."""
    parser = _parser()
    options = parser.parse_args(at_home(sys.argv[1:]))
    if options.list:
        width = max(map(len, RECIPES))
        for name, recipe in RECIPES.items():
            print(f"{name:<{width}}  {_describe(recipe())}")
        return
    if (options.recipe is None) == (options.resume is None):
        parser.error("expected a RECIPE (see --list), or --resume DIR")
    try:
        with answered("training.run"):
            _run(options)
    finally:
        leave_processes()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.run", description=__doc__)
    add = parser.add_argument
    add("recipe", nargs="?", metavar="RECIPE", help="name of a recipe, or a record (FILE.json) to do again")
    add("--list", action="store_true", help="show all recipes and stop")
    add("--out", type=Path, help="folder of the run, by default runs/RECIPE-seedS; a run that is there goes on")
    add("--resume", type=Path, metavar="DIR", help="go on with the run in this folder")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="epochs=10, threat.eps=4/255, ...")
    add("--seed", type=int, help="of everything random")
    add("--limit", type=float, help="share of the images to train and validate on, chosen by the seed")
    add(
        "--time-budget",
        type=float,
        metavar="SECONDS",
        help="stop cleanly before, with a checkpoint",
    )
    add("--dry-run", action="store_true", help="say what the run will be and cost, and stop")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    add("--threads", type=int, help="CPU threads; torch's own choice by default")
    add("--workers", type=int, default=min(8, os.cpu_count() or 1), help="processes that read photographs")
    add(
        "--compile",
        nargs="?",
        const="default",
        choices=["none", *COMPILE_MODES],
        help="torch.compile and its mode, reduce-overhead for CUDA graphs; by default mode default on one GPU, none on "
        "a CPU and on several GPUs",
    )
    add("--max-shard-mb", type=float, metavar="MB", help="split the weights at the end into files below this size")
    add("--checkpoint-every", type=float, default=120, metavar="SECONDS", help="time between two checkpoints")
    return parser


def _run(options: argparse.Namespace) -> None:
    _check(options)
    config, limit, out = _what(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    world = join_world(options.device)
    if options.dry_run:
        from training.plan import plan

        print(plan(config, world.device, limit=limit))
        return
    if world.speaks and (slow := slow_precision(config, world.device)):
        print(f"training.run: {slow}", file=sys.stderr)
    stop = Stop(None if options.time_budget is None else STARTED + options.time_budget)
    with stop.signals():
        data = open_data(config, world, limit=limit, workers=options.workers)
        shard = None if options.max_shard_mb is None else int(options.max_shard_mb * 1e6)
        how = Options(
            compiled=compile_mode(options.compile, world),
            checkpoint_seconds=options.checkpoint_every,
            max_shard_bytes=shard,
        )
        outcome = train(config, data, out, world=world, options=how, stop=stop)
    if world.speaks:
        _tell(out, world, outcome.step, outcome.steps, outcome.reason)


def _check(options: argparse.Namespace) -> None:
    """Raise ``ConfigError`` for the value of an option that nothing can be done with."""
    out, cores = options.out or Path(), os.cpu_count() or 1
    for name, fine, expected in (
        ("limit", options.limit is None or 0 < options.limit <= 1, "a share above 0 and up to 1, such as 0.01"),
        ("time_budget", options.time_budget is None or options.time_budget >= 0, "0 seconds or more"),
        (
            "threads",
            options.threads is None or 1 <= options.threads <= cores,
            f"1 to {cores}, the cores there are",
        ),
        ("workers", options.workers >= 0, "0 or more"),
        ("max_shard_mb", options.max_shard_mb is None or 0 < options.max_shard_mb < math.inf, "more than 0 MB"),
        ("checkpoint_every", options.checkpoint_every >= 0, "0 seconds or more"),
        ("out", next(path for path in (out, *out.parents) if path.exists()).is_dir(), "a folder, there or not yet"),
    ):
        if not fine:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(options, name)}; expected {expected}.")


def _what(options: argparse.Namespace) -> tuple[TrainConfig, float, Path]:
    """Configuration, share of the data and folder that the options ask for."""
    if options.resume:
        if options.set or options.seed is not None or options.limit is not None or options.out:
            raise ConfigError("--resume goes on with the run as it was begun; leave out --set, --seed, --limit, --out.")
        head = read_head(options.resume)
        return from_json(head["config"]), head["data"]["limit"], options.resume
    limit = 1.0
    if options.recipe.endswith(".json"):
        try:
            record = json.loads(Path(options.recipe).read_text(encoding="utf-8"))
            config, limit = trained(record)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{options.recipe} is no record of a run: {type(error).__name__}: {error}") from error
    else:
        config = find_recipe(options.recipe)
    config = changed(config, options.set)
    if options.seed is not None:
        config = replace(config, seed=options.seed)
    limit = limit if options.limit is None else options.limit
    return config, limit, options.out or Path("runs") / config.run_name


def _describe(config: TrainConfig) -> str:
    activation = config.activation or config.family
    return f"{activation} in {config.host} on {config.dataset}: {config.method}, {config.epochs:g} epochs"


def _tell(out: Path, world: World, step: int, steps: int, reason: str) -> None:
    launched = f"accelerate launch --multi_gpu --num_processes {world.count} -m" if world.count > 1 else "python -m"
    if reason:
        print(f"Stopped at step {step} of {steps}: {reason}. To go on: {launched} training.run --resume {out}")
    else:
        print(f"Done: {steps} steps. Weights, record and curve are in {out}")


if __name__ == "__main__":
    main()
