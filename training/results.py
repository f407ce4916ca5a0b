"""``results.json`` from the records alone: what was measured of a network, beside its twin, and in other places."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sparta_hub.diagnostics import QUICK, Diagnosis
from sparta_hub.evaluation import (
    Accuracy,
    Figure,
    Gain,
    Report,
    SeedGain,
    attacks_that_count,
    figures,
    gains_over_seeds,
)
from sparta_hub.hosts import create_host
from training.config import TrainConfig
from training.entries import DIAGNOSES, RECORDS, Entry, read_record
from training.errors import ConfigError
from training.figures import reports_of
from training.settings import trained
from training.twins import gains_by_seed

OVERHEADS = Path("benchmarks/records")
ITSELF = "the model itself"  # how the reason for a choice ends where no copy was as good


def results_of(root: Path, entry: Entry) -> dict[str, Any]:
    """What ``model_cards/NAME/results.json`` holds.

    Raises:
        ConfigError, ReportError: the records do not fit together.
    """
    record = read_record(root / RECORDS / entry.training)
    reports = reports_of(root, entry)
    config, _ = trained(record)
    by_seed = gains_by_seed(root, entry) if entry.twin else {}
    gains, seeds = by_seed.get(config.seed, []), gains_over_seeds(by_seed)
    results = {
        "training": training_row(config, record) | {"weights": entry.weights},
        "evaluation": [_row(figure) for figure in figures(reports)],
        "copies": copies_in_words(reports),
        "remark": entry.remark,
        "comparison": in_words(entry.twin, gains, seeds) if gains else entry.comparison,
        "gains": [{"twin": entry.twin, **asdict(gain)} for gain in gains],
        "reports": [report.to_json() for report in reports],
    }
    if seeds:
        results["gains_over_seeds"] = [gain.to_json() for gain in seeds]
    if entry.overhead:
        results["overhead"] = overhead_of(root, entry.overhead, config)
    if entry.diagnosis:
        found = Diagnosis.from_json(read_record(root / DIAGNOSES / entry.diagnosis))
        results["diagnosis"] = diagnosis_in_words(found)
    return results


def overhead_of(root: Path, name: str, config: TrainConfig) -> dict[str, Any]:
    """What ``benchmarks/activation_overhead.py`` printed of the family, in its first table.

    Raises:
        ConfigError: it timed another host, or not this family.
    """
    record = read_record(root / OVERHEADS / name)
    table = record["results"][0]
    host = table["setting"].get("host", "resnet18_cifar")  # the only one that older records know
    rows = {row["case"]: row for row in table["rows"]}
    if host != config.host or not {config.family, f"{config.family} (frozen)"} <= rows.keys():
        raise ConfigError(
            f"{name} timed {', '.join(rows)} in {host}; expected {config.family} in {config.host}, frozen and not."
        )
    row, setting = rows[config.family], table["setting"]
    network = create_host(config.host, 10)
    return {
        "host": host,
        "host_parameters": sum(p.numel() for p in network.parameters()),
        "parameters": row["parameters"],
        "flops": row["flops"],
        "inference": row["ratios"]["inference"],
        "train": row["ratios"]["train"],
        "frozen": rows[f"{config.family} (frozen)"]["ratios"]["train"],
        "precision": setting["precision"],
        "hardware": record["machine"]["hardware"],
        "record": name,
    }


def training_row(config: TrainConfig, record: Mapping[str, Any]) -> dict[str, Any]:
    """What a card says of the training."""
    own = ("batch_size", "epochs", "seed", "lr", "weight_decay", "label_smoothing", "ema_decay")
    cost = ("steps", "images", "seconds", "commit", "torch", "python", "hardware")
    _, limit = trained(record)
    return {
        "recipe": config.name,
        "method": config.method,
        **{key: getattr(config, key) for key in own},
        **{key: record[key] for key in cost},
        "config": record["config"],
        **({"limit": limit} if limit < 1 else {}),  # share of the images
    }


def in_words(twin: str, found: Sequence[Gain], seeds: Sequence[SeedGain]) -> str:
    """One paragraph on what the column of gains is, whichever of the two is ahead, and on those of other seeds."""
    if seeds:
        pairs = ", ".join(map(str, seeds[0].seeds))
        told = "; ".join(f"{gain.attack} {gain}" for gain in seeds)
        last = f"pairs of networks that were trained so with seeds {pairs} differ by: {told} (intervals over seeds)."
    else:
        last = "two seeds of one recipe can differ by more, so one pair proves little."
    return (
        f"Gain is the difference to its ReLU twin `{twin}` (same recipe, seed and budget) on the same "
        f"{found[0].images:,} images, image by image, in points with its 95 % interval; + is ahead. The intervals are "
        f"those of these two networks; {last}"
    )


def copies_of(reports: Sequence[Report]) -> dict[str, list[str]]:
    """What the copies of the network were that attacks ran on, each with those attacks; see ``evaluate(speed=...)``."""
    found: dict[str, list[str]] = {}
    for report, i in attacks_that_count(reports):
        settings = report.protocol.attacks[i]
        for machine in report.provenance:
            reason = str(machine.get(f"{settings} ran on", ITSELF)).rpartition("; ")[2]
            what = reason.partition(":")[0].removeprefix("copy with ")
            if what != ITSELF and settings.words not in found.setdefault(what, []):
                found[what].append(settings.words)
    return found


def copies_in_words(reports: Sequence[Report]) -> str:
    """One paragraph on which attacks ran on a copy of the network; empty if none did."""
    left = {report.protocol.attacks[i].words for report, i in attacks_that_count(reports)}
    told: list[str] = []
    for what, attacks in sorted(copies_of(reports).items(), key=lambda copy: len(copy[1])):
        others = "all other attacks" if told else "all attacks"
        which = others if left == set(attacks) else f"the attacks {'; '.join(attacks)}"
        told.append(f"{which} searched on a copy of the network ({what})")
        left -= set(attacks)
    if not told:
        return ""
    sentence = ", and ".join(told)
    return (
        f"{sentence[0].upper()}{sentence[1:]}, after a sample of images had shown that it is as good; whether an image "
        "is broken was decided by the network itself."
    )


def diagnosis_in_words(diagnosis: Diagnosis) -> str:
    """One paragraph: what was asked, with how much effort, of how many images, and what was found."""
    asked = [found.name for found in diagnosis.findings if found.verdict != "not applicable"]
    suspect = [f"{found.name}: {found.why}" for found in diagnosis.findings if found.verdict == "suspect"]
    verdict = "Suspect: " + " ".join(suspect) if suspect else "Nothing was suspect; few images prove little."
    evidence, protocol = diagnosis.evidence, diagnosis.evidence.report.protocol
    quick = [evidence.argument(i, "steps") for i in evidence.roles["iterations"]] == list(QUICK.iterations)
    alone = " and ".join(
        f"{protocol.attacks[i].words.removesuffix(f', {diagnosis.threat}')} alone leaves "
        f"{evidence.report.robust(i).percent:.1f} %"
        for i in (evidence.roles["one start"][0], evidence.roles["margin"][0])
    )
    return (
        f"Hidden gradients were looked for with `sparta-hub diagnose{' --quick' if quick else ''}` on the first "
        f"{protocol.images:,} test images, {evidence.right} of them right without attack ({', '.join(asked)}); under "
        f"the worst of all attacks in the ball {diagnosis.worst_case:.1f} % hold, where {alone}. {verdict}"
    )


def _row(figure: Figure) -> dict[str, Any]:
    accuracy, report = Accuracy.of(figure.flags), figure.report
    threat = asdict(figure.threat) if figure.threat else {}
    return {
        "attack": figure.attack, "accuracy": accuracy.percent, "low": accuracy.low, "high": accuracy.high,
        "correct": accuracy.correct, "images": accuracy.images, "seed": report.protocol.seed,
        "seconds": round(figure.seconds, 1), **threat, **report.provenance[0],
    }  # fmt: skip
