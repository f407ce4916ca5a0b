"""Train several recipes over several seeds, measure them, and say what each gains over the first.

    python -m training.compare RECIPE RECIPE ... --seeds 0 1 2 --out DIR

All seeds of all recipes lie in DIR, one folder each. A run that was interrupted goes on, and what is there is not done
again, so the same command goes on with the whole. Started several times, once a CPU core or a GPU, with the same DIR,
it shares the work.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

STARTED = time.monotonic()  # a time budget counts from here, the slow imports below included

import torch  # noqa: E402

from sparta_hub.cli.attacks import make_attacks  # noqa: E402
from sparta_hub.cli.options import at_home, new_file, whole  # noqa: E402
from sparta_hub.data import load_images  # noqa: E402
from sparta_hub.errors import answered  # noqa: E402
from sparta_hub.evaluation import Speed, evaluate  # noqa: E402
from sparta_hub.processes import leave_processes  # noqa: E402
from training.checkpoints import alone_in, is_taken, write_whole  # noqa: E402
from training.comparison import Comparison, Member, read_comparison, table  # noqa: E402
from training.config import TrainConfig  # noqa: E402
from training.data import open_data  # noqa: E402
from training.engine import Options, train  # noqa: E402
from training.entries import read_record  # noqa: E402
from training.errors import ConfigError, LossError, TakenError  # noqa: E402
from training.measure import BATCH, read_run, usual_attacks  # noqa: E402
from training.parallel import World, join_world  # noqa: E402
from training.precision import slow_precision  # noqa: E402
from training.recipes import find_recipe  # noqa: E402
from training.records import RECORD  # noqa: E402
from training.settings import changed, differences, to_json, trained  # noqa: E402
from training.step import compile_mode  # noqa: E402
from training.stopping import Stop  # noqa: E402


@dataclass(frozen=True)
class Measuring:
    """How all networks are measured.

    Args:
        count: test images, the first ones.
        attacks: names of attacks and presets; the usual ones by default.
        speed: see ``sparta_hub.evaluation.evaluate``.
    """

    count: int = 1000
    attacks: tuple[str, ...] = ()
    speed: Speed = "exact"

    @property
    def file(self) -> str:
        """Of such an evaluation, in the folder of a run."""
        return "-".join(["evaluation", str(self.count), *self.attacks, self.speed]) + ".json"


def compare(
    configs: Sequence[TrainConfig],
    out: Path,
    *,
    limit: float = 1.0,
    measuring: Measuring | None = None,
    world: World | None = None,
    stop: Stop | None = None,
    workers: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[list[Member], dict[str, str]]:
    """Train and measure what is not there yet, in this order.

    Args:
        configs: what to train, seeds included.
        out: folder of the runs, each called ``RECIPE-seedS``.
        limit: share of the images.
        measuring: how.
        world: this process and its device; there is one process.
        stop: reasons to stop early.
        workers: processes that read photographs.
        tell: is called with the name of each network before the work on it.

    Returns:
        The networks that are finished, and the names of the others, each with the reason.

    Raises:
        ConfigError: there is a run of such a name in ``out`` that is another one.
    """
    measuring, world, stop = measuring or Measuring(), world or World(), stop or Stop()
    members, lacking = list[Member](), dict[str, str]()
    for config in configs:
        folder = out / config.run_name
        if (folder / RECORD).is_file():
            _refuse_other(config, limit, read_record(folder / RECORD), f"{folder} holds another run", "another --out")

    def work_on(config: TrainConfig) -> None:
        folder, reason = out / config.run_name, stop.reason(0)
        try:
            if not reason and not (folder / RECORD).is_file():
                with stop.signals():
                    data = open_data(config, world, limit=limit, workers=workers)
                    how = Options(compiled=compile_mode(None, world))
                    reason = train(config, data, folder, world=world, options=how, stop=stop).reason
            if not reason:
                members.append(_measured(folder, measuring, world.device))
        except LossError as error:
            reason = str(error)
        if reason:
            lacking[config.run_name] = reason

    taken = list[TrainConfig]()
    for i, config in enumerate(configs, 1):
        if is_taken(out / config.run_name):  # no waiting for each of many: its turn comes again below
            taken.append(config)
            continue
        tell(f"{config.run_name} ({i} of {len(configs)})")
        try:
            work_on(config)
        except TakenError:
            taken.append(config)
    for config in taken:  # another process was at these, which may have finished them since: the last one has all
        try:
            work_on(config)
        except TakenError as error:
            lacking[config.run_name] = str(error)
    return members, lacking


def _refuse_other(config: TrainConfig, limit: float, record: Mapping[str, Any], what: str, give: str) -> None:
    there, share = trained(record)
    if unlike := differences({**to_json(there), "limit": share}, {**to_json(config), "limit": limit}):
        raise ConfigError(f"{what}: {', '.join(unlike)}. Give {give}.")


def _to_train(configs: Sequence[TrainConfig], limit: float, known: Sequence[Member]) -> list[TrainConfig]:
    """Those that no earlier comparison holds."""
    there = {member.config.run_name: member for member in known}
    for config in configs:
        if member := there.get(config.run_name):
            what = f"The file of --with holds another {config.run_name}"
            _refuse_other(config, limit, member.training, what, "the same --set and --limit as then")
    return [config for config in configs if config.run_name not in there]


def _measured(folder: Path, measuring: Measuring, device: torch.device) -> Member:
    """The finished run in a folder, with its evaluation, which is kept beside it."""
    run = read_run(folder, "best")
    chosen = make_attacks(measuring.attacks, early_stop=measuring.speed != "exact") if measuring.attacks else None
    data = load_images(run.config.dataset, "test", size=run.config.image_size, limit=measuring.count)
    with alone_in(folder):
        report = evaluate(run.model.to(device), data, chosen or usual_attacks(run.config.threat), batch_size=BATCH,
                          seed=0, speed=measuring.speed, out=folder / measuring.file, progress=True,
                          name=run.config.run_name)  # fmt: skip
    return Member(run.record, run.weights, report)


def main() -> None:
    """Parse the command line, compare, print, and write the JSON."""
    parser = _parser()
    options = parser.parse_args(at_home(sys.argv[1:]))
    try:
        with answered("training.compare"):
            _run(options)
    finally:
        leave_processes()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("recipes", nargs="+", metavar="RECIPE", help="names of recipes (training.run --list); the first: the baseline")
    add("--seeds", nargs="+", type=whole(0), default=[0, 1, 2], metavar="S", help="of training; 0 1 2 by default")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the runs")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="epochs=2, ...: for all recipes")
    add("--limit", type=float, default=1.0, help="share of the images to train on")
    add("--dry-run", action="store_true", help="say what the training will take here, and stop")
    add("--time-budget", type=float, metavar="SECONDS", help="stop cleanly before; done again, the command goes on")
    add("--count", type=whole(1), default=1000, help="test images to measure on")
    add("--attack", action="append", default=[], metavar="NAME", help="attack or preset, repeatable; PGD-20 by default")
    add("--fast", action="store_true", help="attack a faster copy where it proves as good")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    add("--threads", type=whole(1), help="CPU threads; torch's own choice by default")
    add("--workers", type=whole(0), default=0, help="processes that read photographs")
    add("--with", dest="earlier", nargs="+", type=Path, default=[], metavar="FILE",
        help="comparisons to add to; what they hold is not trained again")  # fmt: skip
    add("--json", type=new_file, metavar="FILE", help="write all of it to this file")
    return parser


def _run(options: argparse.Namespace) -> None:
    configs = _configs(options)
    attacks = tuple(options.attack)
    if attacks:
        make_attacks(attacks)  # an unknown one is answered before anything is trained
    earlier = [read_comparison(read_record(path), str(path)) for path in options.earlier]
    known = [member for one in earlier for seeds in one.members.values() for member in seeds.values()]
    missing = _to_train(configs, options.limit, known)
    if options.threads:
        torch.set_num_threads(options.threads)
    world = join_world(options.device)
    if world.count > 1:
        raise ConfigError("training.compare is no launcher's: start it once a GPU with --device, and the same --out.")
    for slow in dict.fromkeys(filter(None, (slow_precision(config, world.device) for config in configs))):
        print(f"training.compare: {slow}", file=sys.stderr)
    if options.dry_run:
        print(_estimate(configs, missing, options, world))
        return
    stop = Stop(None if options.time_budget is None else STARTED + options.time_budget)
    measuring = Measuring(options.count, attacks, "fast" if options.fast else "exact")
    members, lacking = compare(missing, options.out, limit=options.limit, measuring=measuring, world=world, stop=stop,
                               workers=options.workers, tell=lambda line: print(line, file=sys.stderr))  # fmt: skip
    for name, reason in lacking.items():
        print(f"Not there: {name}: {reason}", file=sys.stderr)
    order = [config.name for config in configs]
    if not any(member.config.name == order[0] for member in [*members, *known]):
        raise ConfigError(f"There is no network of {order[0]} yet, which the others would be compared with.")
    comparison = Comparison.of(
        sorted([*members, *known], key=lambda m: order.index(m.config.name) if m.config.name in order else len(order)),
        [*(name for one in earlier for name in one.lacking), *lacking],
    )
    print(table(comparison))
    if options.json:
        write_whole(options.json, (json.dumps(comparison.to_json(), indent=1) + "\n").encode())


def _estimate(
    configs: Sequence[TrainConfig], missing: Sequence[TrainConfig], options: argparse.Namespace, world: World
) -> str:
    """What a seed of each recipe takes, and what all that are not there yet do."""
    from training.plan import duration, plan

    one_of_each = {config.name: config for config in configs}.values()
    plans = {config.name: plan(config, world.device, limit=options.limit) for config in one_of_each}
    seconds = {name: one.seconds or 0.0 for name, one in plans.items()}
    left = [config.name for config in missing if not (options.out / config.run_name / RECORD).is_file()]
    width, device = max(map(len, plans)), next(iter(plans.values())).device
    lines = [f"{name:<{width}}  {duration(seconds[name])} a seed" for name in plans]
    lines.append(
        f"{len(left)} of {len(configs)} runs are not there yet: {duration(sum(seconds[name] for name in left))} of "
        f"training on {device}; measuring comes on top."
    )
    lacking = dict.fromkeys(text for one in plans.values() for text in one.missing)
    return "\n".join([*lines, *(f"missing: {text}" for text in lacking)])


def _configs(options: argparse.Namespace) -> list[TrainConfig]:
    """Every recipe with every seed, the seeds outermost: whatever stops the work, it has whole seeds."""
    for name, given in (("recipe", options.recipes), ("seed", options.seeds)):
        if twice := next((one for one in given if given.count(one) > 1), None):
            raise ConfigError(f"The {name} {twice} is there twice; expected every {name} once.")
    if not 0 < options.limit <= 1:
        raise ConfigError(f"--limit is {options.limit}; expected a share above 0 and up to 1, such as 0.01.")
    recipes = [changed(find_recipe(name), options.set) for name in options.recipes]
    return [replace(config, seed=seed) for seed, config in product(options.seeds, recipes)]


if __name__ == "__main__":
    main()
