"""The figures of a card, measured again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sparta_hub.attacks import ATTACKS, PRESETS, attack_of
from sparta_hub.data import Images, load_images
from sparta_hub.errors import ArtifactError, AttackError, DataError, SpartaError
from sparta_hub.evaluation import Accuracy, Attack, AttackSettings, Flags, Report, attacks_that_count, evaluate
from sparta_hub.hub.loading import info, load
from sparta_hub.identity import state_sha256

LONG = ("autoattack",)  # hours on a CPU, and an optional package: measured again where it is asked for by name


@dataclass(frozen=True)
class Verdict:
    """One figure of a card beside the same figure measured here, on the same images.

    Args:
        attack: in words; ``clean`` without attack.
        card, here: accuracy of these images as the card's record has them, and as measured now.
        differ: images on which the two disagree. On the hardware and versions of the record it is 0 where whole batches
            were measured; elsewhere rounding decides a few images otherwise.
    """

    attack: str
    card: Accuracy
    here: Accuracy
    differ: int

    @property
    def within(self) -> bool:
        """Whether what was measured here lies in the 95 % interval of the card's figure for these images."""
        return self.card.low <= self.here.percent <= self.card.high


def verify(
    name: str | Path,
    *,
    limit: int | None = None,
    attacks: Sequence[str] = (),
    device: str = "cpu",
    progress: bool = False,
) -> tuple[Verdict, ...]:
    """Measure again what the card of ``name`` says of its trained network, with the record's own attacks and seed.

    That is accuracy without attack and under each single attack: no worst cases, gains, cost or other networks.

    Args:
        name: a set whose trained network is at hand (``load(name)`` works), with its ``results.json``.
        limit: only the first so many images; they are compared with the card's flags of the same images.
        attacks: only those attacks, by the names that the records give them (``thesis-pgd-20``); by default all but
            AutoAttack, which takes hours on a CPU.
        device: to measure on.
        progress: show a bar on standard error.

    Returns:
        A verdict for the clean images and for each attack.

    Raises:
        ArtifactError: it has no records, no trained network, or other weights than the records are of.
        AttackError: an attack that the records do not have, or that this version does not know.
        DataError: the test images are not here, or are others; or ``limit`` is no number of images.
        SpartaError: this machine has no such device.
    """
    if limit is not None and (type(limit) is not int or limit < 1):
        raise DataError(f"limit is {limit!r}; expected 1 or more images, or None for all of the record.")
    if isinstance(attacks, str):
        raise AttackError(f"attacks is {attacks!r}; expected a list of names: [{attacks!r}].")
    where = _device(device)
    found = info(name)
    reports = [Report.from_json(value) for value in found.results.get("reports", ())]
    if not reports:
        raise ArtifactError(f"{name} has no reports in its results.json, so there is nothing to measure again.")
    known = list(dict.fromkeys(a.name for report in reports for a in report.protocol.attacks))
    if unknown := [attack for attack in attacks if attack not in known]:
        raise AttackError(f"{name} was not measured with {unknown[0]!r}; expected some of {', '.join(known)}.")
    model, origin = load(name).to(where), found.spec.origin
    size = origin.input_size if origin else None
    verdicts: dict[str, Verdict] = {}
    counting = [(report, i) for report, i in attacks_that_count(reports)
                if _wanted(report.protocol.attacks[i].name, attacks)]  # fmt: skip
    for report in reports:
        protocol = report.protocol
        if (seen := state_sha256(model)) != protocol.weights_sha256:
            raise ArtifactError(
                f"{name} holds weights {seen[:12]}..., and its record is of {protocol.weights_sha256[:12]}...: measure "
                "it anew before its card can be verified."
            )
        chosen = sorted(i for other, i in counting if other is report)
        if not chosen and protocol.attacks:
            continue
        run = [*range(max(chosen) + 1)] if protocol.cascade and chosen else chosen  # flags there are after all before
        count = min(limit or protocol.images, protocol.images)
        again = evaluate(
            model,
            _same_images(report, size),
            [_attack(protocol.attacks[i]) for i in run],
            batch_size=protocol.batch_size,
            seed=protocol.seed,
            limit=count,
            cascade=protocol.cascade,
            speed=protocol.speed,
            progress=progress,
            name=str(name),
        )
        verdicts["clean"] = _compared("clean", report.outcome.correct[:count], again.outcome.correct)
        for i in chosen:
            words = protocol.attacks[i].words
            verdicts[words] = _compared(words, report.robust_flags(i)[:count], again.robust_flags(run.index(i)))
    if not verdicts:
        raise AttackError(
            f"{name} was measured with {', '.join(known)} alone, which takes hours and is measured again only where it "
            f"is asked for: attacks=[{known[0]!r}], or --attack {known[0]} in the shell."
        )
    return tuple(verdicts.values())


def _device(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise SpartaError(f"device is {name!r}, which this machine has not; expected cpu, cuda or cuda:1.") from error


def _wanted(attack: str, attacks: Sequence[str]) -> bool:
    return attack in attacks if attacks else attack_of(attack) not in LONG


def _same_images(report: Report, size: int | None) -> Images:
    protocol = report.protocol
    data = load_images(protocol.data, "test", size=size, limit=protocol.images)
    seen = data.sha256(len(data))
    if seen != protocol.data_sha256:
        raise DataError(
            f"The first {protocol.images:,} test images of {protocol.data} here have checksum {seen[:12]}..., those of "
            f"the record {protocol.data_sha256[:12]}...; expected the official set in the official order."
        )
    return data


def _attack(settings: AttackSettings) -> Attack:
    """The function that the record's name means; the record's own threat and arguments."""
    if (key := attack_of(settings.name)) not in ATTACKS:
        raise AttackError(
            f"The record has the attack {settings.name!r}, which this sparta-hub does not know; expected one of "
            f"{', '.join([*ATTACKS, *PRESETS])}. Install the version that wrote it."
        )
    return Attack(settings.name, ATTACKS[key], settings.threat, settings.arguments)


def _compared(words: str, card: Flags, here: Flags) -> Verdict:
    differ = sum(a != b for a, b in zip(card, here, strict=True))
    return Verdict(words, Accuracy.of(card), Accuracy.of(here), differ)
