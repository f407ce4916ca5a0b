"""Make a run into a set of the zoo: ``python -m training.publish RUN NAME --remark TEXT [--twin NAME] [--with-host]``.

Evaluates what it has just written, not what was in memory; writes the records, the card and the registry's entry.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from sparta_hub.artifacts import CARD, RESULTS
from sparta_hub.cli.options import at_home
from sparta_hub.errors import answered
from sparta_hub.evaluation import SAMPLE, Speed
from sparta_hub.hub import load
from sparta_hub.hub.names import check_repo
from sparta_hub.saving import save_model
from sparta_hub.zoo import NAMESPACE
from training.card import refresh, register
from training.entries import RECORDS, ROOT, Entry, read_entry, write_entry
from training.errors import ConfigError
from training.measure import (
    add_options,
    check_evaluation,
    check_giver,
    evaluation_of,
    read_run,
    speed_of,
    tell_left_behind,
)
from training.records import keep
from training.results import OVERHEADS
from training.settings import trained
from training.twins import Place, check_twin, network_of


def publish(
    root: Path,
    run: Path,
    name: str,
    *,
    count: int,
    with_host: bool,
    remark: str,
    comparison: str = "",
    twin: str = "",
    overhead: str = "",
    which: str = "best",
    attacks: Sequence[str] = (),
    device: str = "cpu",
    speed: Speed = "exact",
    sample: int = SAMPLE,
    out: Path | None = None,
) -> Path:
    """Write ``model_cards/NAME`` from a finished run, and its records; the folder.

    Args:
        root: of the repository.
        run: ``--out`` of the run.
        name: of the artifact.
        count: test images to measure on, the first ones.
        with_host: keep the trained network's weights too.
        remark: a paragraph for the card.
        comparison: another, where there is no ``twin``.
        twin: name of the ReLU network to compare with, measured on the same images with the same attacks.
        overhead: file in ``benchmarks/records`` that says what the family costs; only ReLU goes without.
        which: weights, ``best`` or ``last``.
        attacks, device, speed, sample, out: see ``training.measure.evaluation_of``.

    Raises:
        ConfigError: the card would lack something, or the twin was trained otherwise or measured on another number of
            images. If it is ``name`` itself that is a twin, and does not fit any more, that other card stays.
        NameNotFoundError: ``name`` cannot be that of a repository.
        ReportError: the twin was measured otherwise.
    """
    if not (comparison or twin):
        raise ConfigError("A card says how the set does beside its twin: --twin NAME, or --comparison that has none.")
    check_repo(f"{NAMESPACE}/{name}")  # before it becomes a path
    if twin == name:
        raise ConfigError(f"--twin is {twin}, the set itself; expected the network of ReLU that was trained like it.")
    beside = [read_entry(root, twin)] if twin else []
    found = read_run(run, which)
    config, model = found.config, found.model
    if config.family != "relu" and not (overhead and (root / OVERHEADS / overhead).is_file()):
        raise ConfigError(
            f"A card says what {config.family} costs: --overhead FILE of {OVERHEADS}, as "
            "benchmarks/activation_overhead.py --json writes it."
        )
    if twin:
        check_twin(name, Place.of(*trained(found.record), found.weights), network_of(root, beside[0]))
    check_evaluation(root, config, count=count, attacks=attacks, device=device, beside=beside)
    giver = check_giver(config, model)
    with TemporaryDirectory() as fresh:  # an earlier publication stays whole while this one is measured
        save_model(model, Path(fresh), with_host=with_host)
        measured = load(fresh) if with_host else model
    kept = evaluation_of(root, measured, config, count=count, name=name, attacks=attacks,
                         device=device, speed=speed, sample=sample, out=out)  # fmt: skip
    folder = root / "model_cards" / name
    for old in (RESULTS, CARD):  # both are written anew below
        (folder / old).unlink(missing_ok=True)
    save_model(model, folder, with_host=with_host)
    training = keep(found.record, root / RECORDS, name=config.run_name).name
    write_entry(root, Entry(name, training, (kept,), found.weights, remark=remark, comparison=comparison, twin=twin,
                            overhead=overhead, giver_sha256=giver))  # fmt: skip
    register(root, name)  # so that the cards find the new weights
    refresh(root, own=name)
    return folder


def main() -> None:
    """Parse the command line and publish."""
    parser = argparse.ArgumentParser(prog="python -m training.publish", description=__doc__)
    parser.add_argument("run", type=Path, help="--out of a finished run")
    parser.add_argument("name", help="of the artifact")
    parser.add_argument("--with-host", action="store_true", help="keep the trained network's weights too")
    parser.add_argument("--remark", required=True, help="one honest paragraph about the training, for the card")
    parser.add_argument("--twin", default="", metavar="NAME", help="recorded ReLU twin, to give the gain over it")
    parser.add_argument("--comparison", default="", help="instead: a paragraph on what to compare it with")
    parser.add_argument("--overhead", default="", metavar="FILE", help=f"in {OVERHEADS}: what the family costs")
    add_options(parser)
    options = parser.parse_args(at_home(sys.argv[1:]))
    with answered("training.publish"):
        folder = publish(ROOT, options.run, options.name, count=options.count, with_host=options.with_host,
                         remark=options.remark, comparison=options.comparison, twin=options.twin,
                         overhead=options.overhead, which=options.weights, attacks=options.attack,
                         device=options.device, speed=speed_of(options), sample=options.sample or SAMPLE,
                         out=options.out)  # fmt: skip
        tell_left_behind(ROOT)
    print(folder / RESULTS)


if __name__ == "__main__":
    main()
