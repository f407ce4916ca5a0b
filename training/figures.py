"""The evaluations of an entry, and what one network gains over another."""

from collections.abc import Sequence
from pathlib import Path

from sparta_hub.evaluation import Figure, Gain, Report, check_same_images, figures, paired_gain
from training.entries import EVALUATIONS, Entry, read_record
from training.errors import ConfigError


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
