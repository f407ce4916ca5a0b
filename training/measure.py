"""Measure a finished run, or a published network with more attacks: ``python -m training.measure RUN|NAME``.

A run that is not published is recorded as ``RECIPE-seedS``, or ``RECIPE-seedS-2`` and so on beside others of the recipe
and seed that differ from it; done again, it takes the place of the one before. If it is a transfer, or stands beside
one, it appears on the card of the set and in the README's table.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparta_hub.artifacts import WEIGHTS, read_artifact, sha256_of
from sparta_hub.attacks import pgd
from sparta_hub.cli.attacks import make_attacks
from sparta_hub.cli.options import at_home, whole
from sparta_hub.data import load_images
from sparta_hub.errors import answered
from sparta_hub.evaluation import SAMPLE, Attack, Speed, evaluate
from sparta_hub.hub import info, load
from sparta_hub.surgery import spec_of, state_of
from sparta_hub.threat import ThreatModel
from training.artifact import trained_network
from training.card import refresh
from training.checkpoints import NAME as CHECKPOINT
from training.config import TrainConfig
from training.entries import EVALUATIONS, RECORDS, ROOT, Entry, entries, read_entry, read_record, write_entry
from training.errors import ConfigError
from training.figures import reports_of
from training.parallel import device_named
from training.records import RECORD, keep
from training.settings import trained
from training.twins import left_behind, network_of, networks
from training.weights import read_weights

BATCH = 100


def usual_attacks(threat: ThreatModel) -> list[Attack]:
    """What every card has: PGD-20 with steps of ε/4 from one random start, at 8/255 under the name of its preset."""
    if threat == ThreatModel():
        return make_attacks(["thesis-pgd-20"])
    return [Attack("pgd", pgd, threat, {"steps": 20, "step_size": threat.eps / 4})]


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Args:
        record: what it left.
        config: its configuration.
        weights: which of its weights the network has: ``best``, ``last``, ``averaged``.
        model: its network, in eval mode.
    """

    record: Mapping[str, Any]
    config: TrainConfig
    weights: str
    model: nn.Module


def read_run(folder: Path, which: str) -> FinishedRun:
    """The run in a folder, with its ``best`` or ``last`` weights.

    Raises:
        ConfigError: it is not finished, or its weights are those of another network.
    """
    if not (folder / RECORD).is_file():
        raise ConfigError(f"{folder} has no {RECORD}, so it is no finished run; go on with it: --resume {folder}")
    record = read_record(folder / RECORD)
    config, _ = trained(record)
    data = load_images(config.dataset, "test", size=config.image_size, limit=1)
    kind, weights = read_weights(folder, which)
    model = trained_network(config, weights, num_classes=data.num_classes, size=data.shape[-1])
    return FinishedRun(record, config, kind, model)


def check_evaluation(
    root: Path, config: TrainConfig, *, count: int, attacks: Sequence[str], device: str, beside: Sequence[Entry]
) -> None:
    """Raise ``SpartaError`` for an evaluation that cannot be, or not be shown with those that are there.

    Args:
        root, config, count, attacks, device: see ``evaluation_of``.
        beside: entries whose evaluations have to be of the same images.
    """
    if attacks:
        make_attacks(attacks)
    device_named(device)
    images = len(load_images(config.dataset, "test", size=config.image_size, limit=count))
    for entry in beside:
        there = reports_of(root, entry)[0].protocol.images
        if there != images:
            raise ConfigError(
                f"{entry.name} was measured on {there} images, and this would be on {images}; expected the same of "
                f"both, so that they can be compared image by image: --count {there}."
            )


def evaluation_of(
    root: Path,
    model: nn.Module,
    config: TrainConfig,
    *,
    count: int,
    name: str,
    attacks: Sequence[str] = (),
    device: str = "cpu",
    speed: Speed = "exact",
    sample: int = SAMPLE,
    out: Path | None = None,
) -> str:
    """Evaluate on the first ``count`` test images and keep the record; its name.

    Args:
        root: of the repository.
        model: the network; it is moved to ``device``.
        config: of its training, which names the data.
        count: images.
        name: of the network, for the record.
        attacks: names of attacks and presets, in this order; the usual ones by default.
        device: to measure on.
        speed, sample: attack a copy where a sample shows that it is as good; see ``sparta_hub.evaluation.evaluate``.
        out: file that an interrupted evaluation goes on from.
    """
    chosen = make_attacks(attacks, early_stop=speed != "exact") if attacks else usual_attacks(config.threat)
    data = load_images(config.dataset, "test", size=config.image_size, limit=count)
    report = evaluate(model.to(device), data, chosen, batch_size=BATCH, seed=0, speed=speed, sample=sample,
                      out=out, progress=True, name=name)  # fmt: skip
    return keep(report.to_json(), root / EVALUATIONS, name=name).name


def measure(
    root: Path,
    what: str,
    *,
    count: int,
    attacks: Sequence[str] = (),
    which: str = "best",
    device: str = "cpu",
    speed: Speed = "exact",
    sample: int = SAMPLE,
    out: Path | None = None,
) -> Entry:
    """Add an evaluation to what is recorded of a network, and write the cards that show it.

    Args:
        root: of the repository.
        what: folder of a run, or name of a published set whose network is at hand.
        count: test images, the first ones.
        which: weights of a run, ``best`` or ``last``.
        attacks, device, speed, sample, out: see ``evaluation_of``.

    Raises:
        ConfigError: the run is not finished, a set that was frozen is not as it was given, or what is recorded of it,
            or of a network that was trained like it, was measured on other images.
    """
    if any((Path(what) / file).is_file() for file in (RECORD, CHECKPOINT)):
        run = read_run(Path(what), which)
        entry, config, model = _entry_of(root, run), run.config, run.model
    else:
        entry, model = read_entry(root, what), load(root / "model_cards" / what)
        config, _ = trained(read_record(root / RECORDS / entry.training))
    own = network_of(root, entry)
    alike = [n.entry for n in networks(root) if n.place == own.place and n.entry.name != entry.name]
    check_evaluation(root, config, count=count, attacks=attacks, device=device,
                     beside=[one for one in (entry, *alike) if one.evaluations])  # fmt: skip
    kept = evaluation_of(root, model, config, count=count, name=entry.name, attacks=attacks, device=device, speed=speed,
                         sample=sample, out=out)  # fmt: skip
    entry = replace(entry, evaluations=(*entry.evaluations, kept))
    write_entry(root, entry)
    refresh(root)
    return entry


def tell_left_behind(root: Path) -> None:
    """Tell a command's user which cards were not written anew, and why."""
    for name, reason in left_behind(root).items():
        print(f"The card of {name} stays as it was: {reason}", file=sys.stderr)


def check_giver(config: TrainConfig, model: nn.Module) -> str:
    """Sha256 of the weights that were put in, if any were, after a look at whether what was frozen is as it was."""
    if not config.activation:
        return ""
    given, state = read_artifact(info(config.activation).folder), state_of(model)
    sites = zip(spec_of(model).sites, given.spec.sites, strict=True)  # G1.B3 of a deeper host may hold what was G1.B2
    pairs = [
        (key, there.key + key.removeprefix(here.key)) for here, there in sites for key in state
        if key.startswith(f"{here.key}.")
    ]  # fmt: skip
    free = ("running_mean", "running_var", "num_batches_tracked") if config.frozen == "weights" else ()
    moved = [
        key
        for key, source in pairs
        if key.rpartition(".")[2] not in free and not torch.equal(state[key], given.tensors[source])
    ]
    if config.frozen and moved:
        raise ConfigError(
            f"{config.name} was trained with {config.activation} frozen, and {moved[0]} is not as it is in "
            f"{given.folder}: the set was replaced since, or was not frozen."
        )
    return sha256_of(given.folder / WEIGHTS)


def _entry_of(root: Path, run: FinishedRun) -> Entry:
    """The entry that this very run has, or a new one.

    Names of entries of another configuration, share of the images or kind of weights are taken.
    """
    there = {entry.name: entry for entry in entries(root)}
    name, number = run.config.run_name, 1
    while found := there.get(name):
        kept = read_record(root / RECORDS / found.training)
        if found.weights == run.weights and trained(kept) == trained(run.record):
            if kept == run.record:
                return found
            break
        number += 1
        name = f"{run.config.run_name}-{number}"
    giver = check_giver(run.config, run.model)  # before anything is kept
    training = keep(run.record, root / RECORDS, name=run.config.run_name).name
    return Entry(name, training, (), run.weights, giver_sha256=giver)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m training.measure", description=__doc__)
    parser.add_argument("what", metavar="RUN|NAME", help="folder of a finished run, or name of a published set")
    add_options(parser)
    options = parser.parse_args(at_home(sys.argv[1:]))
    with answered("training.measure"):
        entry = measure(ROOT, options.what, count=options.count, attacks=options.attack, which=options.weights,
                        device=options.device, speed=speed_of(options), sample=options.sample or SAMPLE,
                        out=options.out)  # fmt: skip
        tell_left_behind(ROOT)
    print(f"Recorded as {entry.name}: {EVALUATIONS / entry.evaluations[-1]}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of everything that measures."""
    parser.add_argument("--count", type=whole(1), default=1000, help="test images to measure on")
    parser.add_argument("--weights", choices=("best", "last"), default="best", help="of a run")
    parser.add_argument("--attack", action="append", default=[], metavar="NAME",
                        help="attack or preset, such as thesis-aa; may be repeated; PGD-20 by default")  # fmt: skip
    parser.add_argument("--fast", action="store_true", help="attack a faster copy where it proves as good")
    parser.add_argument("--compile", action="store_true", help="compile that copy: for AutoAttack")
    parser.add_argument("--sample", type=whole(1), help=f"images that --fast compares copies on; {SAMPLE} by default")
    parser.add_argument("--out", type=Path, metavar="FILE", help="an interrupted evaluation goes on from there")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def speed_of(options: argparse.Namespace) -> Speed:
    """What the attacks are to run on; ``ConfigError`` for a sample that nothing is compared on."""
    if options.sample is not None and not (options.fast or options.compile):
        raise ConfigError("--sample goes with --fast or --compile.")
    return "compiled" if options.compile else "fast" if options.fast else "exact"


if __name__ == "__main__":
    main()
