"""What the evaluations of a network hold, as figures that can be put side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparta_hub.evaluation import WORST_CASE, Flags, Gain, Report, attacks_that_count, check_same_images, paired_gain
from sparta_hub.threat import ThreatModel
from training.entries import EVALUATIONS, Entry, read_record
from training.errors import ConfigError


@dataclass(frozen=True)
class Figure:
    """What every image did under one attack (``clean`` without), with where that comes from.

    Args:
        attack: in words.
        flags: which images were right, and withstood it.
        seconds: that it took.
        report: where it was measured.
        threat: of the attack; None without.
        worst_of: the attacks whose worst for each image it is, if it is no single attack.
    """

    attack: str
    flags: Flags
    seconds: float
    report: Report
    threat: ThreatModel | None = None
    worst_of: frozenset[str] = frozenset()


def reports_of(root: Path, entry: Entry) -> list[Report]:
    """The evaluations of an entry.

    Raises:
        ConfigError: there are none, or of different weights or images.
    """
    reports = [Report.from_json(read_record(root / EVALUATIONS / name)) for name in entry.evaluations]
    if len({(r.protocol.weights_sha256, r.protocol.data_sha256) for r in reports}) != 1:
        raise ConfigError(
            f"{entry.name} has evaluations {', '.join(entry.evaluations) or '(none)'}; expected one or more, all of "
            "the same weights and images."
        )
    return reports


def figures(reports: Sequence[Report]) -> list[Figure]:
    """Clean, every attack that counts, and the worst case under each threat that has several attacks."""
    attacked = []
    for report, i in attacks_that_count(reports):
        settings, seconds = report.protocol.attacks[i], report.outcome.attacks[i].seconds
        attacked.append(Figure(settings.words, report.robust_flags(i), seconds, report, settings.threat))
    alike = [[f for f in attacked if f.threat == threat] for threat in dict.fromkeys(f.threat for f in attacked)]
    worst = [_worst(found) for found in alike if len(found) > 1]
    return [Figure("clean", reports[0].outcome.correct, 0.0, reports[0]), *attacked, *worst]


def _worst(found: Sequence[Figure]) -> Figure:
    """Which images withstood all attacks of one threat."""
    flags = tuple(all(each) for each in zip(*(figure.flags for figure in found), strict=True))
    first, names = found[0], frozenset(figure.attack for figure in found)
    return Figure(f"{WORST_CASE}, {first.threat}", flags, 0.0, first.report, first.threat, names)


def gains_over(own: Sequence[Report], other: Sequence[Report], like: Sequence[Report] | None = None) -> list[Gain]:
    """What one network gains over another under each attack that both were measured with.

    Args:
        own: evaluations of the one.
        other: of the other.
        like: of a third: only what that was measured with, too; a worst case is one of the same attacks.

    Raises:
        ReportError: they were not measured on the same images, with the same batches and seed.
    """
    mine, theirs = figures(own), {_kind(figure): figure for figure in figures(other)}
    asked = theirs.keys() if like is None else theirs.keys() & map(_kind, figures(like))
    pairs = [(one, theirs[_kind(one)]) for one in mine if _kind(one) in asked]
    for one, two in pairs:
        check_same_images(one.report, two.report)
    return [paired_gain(one.attack, one.flags, two.flags) for one, two in pairs]


def _kind(figure: Figure) -> tuple[str, frozenset[str]]:
    """What has to be alike in figures that are compared."""
    return figure.attack, figure.worst_of
