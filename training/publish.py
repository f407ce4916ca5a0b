"""Make a run into a set of the zoo: ``python -m training.publish RUN NAME --remark TEXT [--twin NAME] [--with-host]``.

Evaluates what it has just written, not what was in memory; writes the records, the card and the registry's entry.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sparta_hub.artifacts import CARD, RESULTS
from sparta_hub.cli.attacks import make_attacks
from sparta_hub.data import load_images
from sparta_hub.errors import SpartaError
from sparta_hub.hub import load
from sparta_hub.saving import save_model
from training.artifact import trained_network
from training.card import refresh, register
from training.entries import RECORDS, ROOT, Entry, read_entry, read_record, write_entry
from training.errors import ConfigError
from training.measure import add_options, evaluation_of, usual_attacks
from training.records import RECORD, keep
from training.results import OVERHEADS
from training.settings import from_json
from training.weights import read_weights


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
    fast: bool = False,
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
        attacks: names of attacks and presets; the usual ones by default.
        device, fast, out: see ``training.measure``.

    Raises:
        ConfigError: the card would lack something.
        ReportError: the twin was measured otherwise.
    """
    if not (comparison or twin):
        raise ConfigError("A card says how the set does beside its twin: --twin NAME, or --comparison that has none.")
    if twin:
        read_entry(root, twin)
    record = read_record(run / RECORD)
    config = from_json(record["config"])
    if config.family != "relu" and not (overhead and (root / OVERHEADS / overhead).is_file()):
        raise ConfigError(
            f"A card says what {config.family} costs: --overhead FILE of {OVERHEADS}, as "
            "benchmarks/activation_overhead.py --json writes it."
        )
    data = load_images(config.dataset, "test", size=config.image_size, limit=1)
    kind, weights = read_weights(run, which)
    model = trained_network(config, weights, num_classes=data.num_classes, size=data.shape[-1])
    folder = root / "model_cards" / name
    for old in (RESULTS, CARD):  # of an earlier publication: both are written anew below
        (folder / old).unlink(missing_ok=True)
    save_model(model, folder, with_host=with_host)
    trained = (load(folder) if with_host else model).to(device)
    chosen = make_attacks(attacks, early_stop=fast) if attacks else usual_attacks(config.threat)
    kept = evaluation_of(root, trained, config, chosen, count=count, name=name, fast=fast, out=out)
    write_entry(root, Entry(name, keep(record, root / RECORDS).name, (kept,), kind, remark=remark,
                            comparison=comparison, twin=twin, overhead=overhead))  # fmt: skip
    register(root, name)  # so that the cards find the new weights
    refresh(root)
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
    options = parser.parse_args()
    try:
        folder = publish(ROOT, options.run, options.name, count=options.count, with_host=options.with_host,
                         remark=options.remark, comparison=options.comparison, twin=options.twin,
                         overhead=options.overhead, which=options.weights, attacks=options.attack,
                         device=options.device, fast=options.fast, out=options.out)  # fmt: skip
    except SpartaError as error:
        sys.exit(f"training.publish: {error}")
    print(folder / RESULTS)


if __name__ == "__main__":
    main()
