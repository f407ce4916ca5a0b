"""Make a run into an artifact folder: ``python -m training.publish RUN NAME [--count 1000] [--with-host]``.

Evaluates what it has just written, not what was in memory; writes the record, the card and the registry's entry.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparta_hub.artifacts import CARD, CONFIG, RESULTS, read_artifact, save_model, sha256_of
from sparta_hub.attacks import pgd
from sparta_hub.cards import render_card
from sparta_hub.data import load_images
from sparta_hub.errors import SpartaError
from sparta_hub.eval_command import make_attacks
from sparta_hub.evaluation import Attack, Gain, Report, evaluate, gains
from sparta_hub.hub import load
from sparta_hub.threat import ThreatModel
from sparta_hub.zoo import NAMESPACE
from training.artifact import trained_network
from training.config import TrainConfig
from training.errors import ConfigError
from training.records import RECORD, keep
from training.settings import from_json
from training.twins import in_words, latest_evaluation
from training.weights import read_weights

ROOT = Path(__file__).parent.parent
BATCH = 100


def publish(
    run: Path,
    name: str,
    *,
    count: int,
    with_host: bool,
    remark: str,
    comparison: str = "",
    twin: str = "",
    which: str = "best",
    attacks: Sequence[str] = (),
    device: str = "cpu",
) -> Path:
    """Write ``model_cards/NAME`` from a finished run, and its record; the folder.

    Args:
        run: ``--out`` of the run.
        name: of the artifact.
        count: test images to measure on, the first ones.
        with_host: keep the trained network's weights too.
        remark: a paragraph for the card.
        comparison: another; what ``twin`` shows if empty.
        twin: name of the published ReLU twin, measured on the same images with the same attacks.
        which: weights, ``best`` or ``last``.
        attacks: names of attacks and presets to measure with beside PGD-20.
        device: to measure on.

    Raises:
        ConfigError: neither comparison nor twin, or nothing was kept of the twin.
        ReportError: the twin was measured otherwise.
    """
    if not (comparison or twin):
        raise ConfigError("A card says how the set does beside its twin: --twin NAME, or --comparison that has none.")
    records = ROOT / "training" / "records"
    other = latest_evaluation(twin, records / "evaluations") if twin else None
    record = json.loads((run / RECORD).read_text(encoding="utf-8"))
    config = from_json(record["config"])
    data = load_images(config.dataset, "test")
    kind, weights = read_weights(run, which)
    model = trained_network(config, weights, num_classes=data.num_classes, size=int(data.x.shape[-1]))
    folder = ROOT / "model_cards" / name
    save_model(model, folder, with_host=with_host)
    trained = (load(folder) if with_host else model).to(device)
    report = evaluate(trained, data, [pgd20(config.threat), *make_attacks(attacks)], batch_size=BATCH, seed=0,
                      limit=count, progress=True, name=name)  # fmt: skip
    keep(report.to_json(), records / "evaluations", name=name)  # at once: what follows may fail
    training = training_row(config, record)
    rows = rows_of(report)
    found = _named(gains(report, other), rows) if other else ()
    results = {
        "training": training | {"weights": kind},
        "evaluation": rows,
        "remark": remark,
        "comparison": comparison or in_words(twin, found),
        "gains": [{"twin": twin, **asdict(gain)} for gain in found],
    }
    write(name, model.to("cpu"), results, with_host=with_host)
    keep(record | {"artifact": name, "weights": kind, "evaluation": results["evaluation"]}, records)
    return folder


def write(name: str, model: nn.Module, results: Mapping[str, Any], *, with_host: bool) -> None:
    """Write ``model_cards/NAME`` with its results and card, and its checksums into the registry."""
    folder = ROOT / "model_cards" / name
    written = save_model(model, folder, results=results, with_host=with_host)
    values = sum(t.numel() for t in read_artifact(folder).tensors.values())
    (folder / CARD).write_text(render_card(name, written, results, values=values), encoding="utf-8")
    register(name)


def _named(found: Sequence[Gain], rows: Sequence[Mapping[str, Any]]) -> list[Gain]:
    """Gains that call the attacks what the rows call them; the last one is the worst case, which has no row."""
    *own, worst = found
    return [*(replace(gain, attack=row["attack"]) for gain, row in zip(own, rows, strict=True)), worst]


def pgd20(threat: ThreatModel) -> Attack:
    """What every card has: PGD-20 with steps of ε/4 from one random start."""
    return Attack(f"PGD-20, {threat}, step ε/4", pgd, threat, {"steps": 20, "step_size": threat.eps / 4})


def training_row(config: TrainConfig, record: dict[str, Any]) -> dict[str, Any]:
    """What a card says of the training."""
    own = ("batch_size", "epochs", "seed", "lr", "weight_decay", "label_smoothing", "ema_decay")
    cost = ("steps", "images", "seconds", "commit", "torch", "python", "hardware")
    return {
        "recipe": config.name,
        "method": config.method,
        **{key: getattr(config, key) for key in own},
        **{key: record[key] for key in cost},
        "config": record["config"],
    }


def rows_of(report: Report) -> list[dict[str, Any]]:
    """A report as the rows of ``results.json``: one for the clean images, one for each attack, with provenance."""
    measured = [("clean", report.clean, 0.0)]
    for i, (settings, tally) in enumerate(zip(report.protocol.attacks, report.outcome.attacks, strict=True)):
        name = settings.name if settings.name.startswith("PGD-20") else str(settings)
        measured.append((name, report.robust(i), tally.seconds))
    return [
        {"attack": name, "accuracy": accuracy.percent, "low": accuracy.low, "high": accuracy.high,
         "correct": accuracy.correct, "images": accuracy.images, "seed": report.protocol.seed,
         "seconds": round(took, 1), **report.provenance[0]}
        for name, accuracy, took in measured
    ]  # fmt: skip


def register(name: str) -> None:
    """Put the checksums of ``model_cards/NAME`` into the registry; changed files are no longer the published commit."""
    path = ROOT / "sparta_hub" / "registry.json"
    rows: dict[str, Any] = json.loads(path.read_text())
    folder = ROOT / "model_cards" / name
    listed = json.loads((folder / CONFIG).read_text())["files"]
    files = {CONFIG: sha256_of(folder / CONFIG), **listed}
    old = rows.get(name, {})
    revision = old.get("revision") if old.get("files") == files else None
    rows[name] = {"repo": f"{NAMESPACE}/{name}", "revision": revision, "files": files}
    path.write_text(json.dumps(dict(sorted(rows.items())), indent=2) + "\n")


def main() -> None:
    """Parse the command line and publish."""
    parser = argparse.ArgumentParser(prog="python -m training.publish", description=__doc__)
    parser.add_argument("run", type=Path, help="--out of a finished run")
    parser.add_argument("name", help="of the artifact")
    parser.add_argument("--count", type=int, default=1000, help="test images to measure on")
    parser.add_argument("--with-host", action="store_true", help="keep the trained network's weights too")
    parser.add_argument("--remark", required=True, help="one honest paragraph about the training, for the card")
    parser.add_argument("--twin", default="", metavar="NAME", help="published ReLU twin, to give the gain over it")
    parser.add_argument("--comparison", default="", help="instead: a paragraph on what to compare it with")
    parser.add_argument("--weights", choices=("best", "last"), default="best")
    parser.add_argument(
        "--attack", action="append", default=[], metavar="NAME", help="measure with this too: thesis-aa"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    try:
        folder = publish(options.run, options.name, count=options.count, with_host=options.with_host,
                         remark=options.remark, comparison=options.comparison, twin=options.twin,
                         which=options.weights, attacks=options.attack, device=options.device)  # fmt: skip
    except SpartaError as error:
        sys.exit(f"training.publish: {error}")
    print(folder / RESULTS)


if __name__ == "__main__":
    main()
