"""Everything that the reports of one network hold, as figures that can be put side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from sparta_hub.evaluation._outcome import Flags
from sparta_hub.evaluation._report import WORST_CASE, Report, attacks_that_count
from sparta_hub.threat import ThreatModel


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
