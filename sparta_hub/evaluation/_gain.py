"""How much more one network withstands than another, image by image."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

from sparta_hub.errors import ReportError, short
from sparta_hub.evaluation._outcome import Flags
from sparta_hub.evaluation._report import Report
from sparta_hub.provenance import Z95

if TYPE_CHECKING:
    from sparta_hub.evaluation._seeds import SeedGain


@dataclass(frozen=True)
class Gain:
    """Difference of two accuracies on the same images, in percentage points, with its 95 % interval.

    Args:
        attack: what both withstood; ``clean`` without attack.
        points, low, high: first minus second.
        first_alone, second_alone: images that only the one, only the other gets right.
        images: how many were compared.
    """

    attack: str
    points: float
    low: float
    high: float
    first_alone: int
    second_alone: int
    images: int

    def __str__(self) -> str:
        return f"{self.points:+.1f} points [{self.low:+.1f}, {self.high:+.1f}]"


def gain_cell(gains: "Iterable[Gain | SeedGain]", attack: str) -> str:
    """The gain under this attack for a table whose head says points; a dash if there is none."""
    found = next((gain for gain in gains if gain.attack == attack), None)
    return f"{found.points:+.1f} [{found.low:+.1f}, {found.high:+.1f}]" if found else "–"


def read_gain(row: Mapping[str, Any]) -> Gain:
    """A gain as ``asdict`` writes it to JSON; other keys of the row are left alone.

    Raises:
        TypeError, KeyError, ValueError: it is no such row.
    """
    for key, kind in (("attack", str), ("first_alone", int), ("second_alone", int), ("images", int)):
        if type(row[key]) is not kind:
            raise TypeError(f"{row[key]!r} is no {kind.__name__}")
    points, low, high = (float(row[key]) for key in ("points", "low", "high"))
    return Gain(row["attack"], points, low, high, row["first_alone"], row["second_alone"], row["images"])


def paired_gain(attack: str, first: Flags, second: Flags) -> Gain:
    """Compare the flags of the same images.

    The interval is Wald's after half an image is added to each cell of the table of pairs (Agresti & Min 2005,
    doi:10.1002/sim.1781), which holds where few images differ. It tells how sure the difference of *these two* networks
    is; another seed of either is another network.
    """
    one = sum(a and not b for a, b in zip(first, second, strict=True))
    two = sum(b and not a for a, b in zip(first, second, strict=True))
    images = len(first)
    difference = (one - two) / (images + 2)
    spread = Z95 * sqrt((one + two + 1) / (images + 2) - difference**2) / sqrt(images + 2)
    low, high = max(-1.0, difference - spread), min(1.0, difference + spread)  # few images: it can step out
    points, low, high = (round(100 * value, 2) for value in ((one - two) / images, low, high))
    return Gain(attack, points, low, high, one, two, images)


def gains(first: Report, second: Report) -> tuple[Gain, ...]:
    """What ``first`` gains over ``second``: without attack, under each attack, and under the worst for each image.

    Raises:
        ReportError: one is no report, or they are not of the same images, attacks, batches and seed.
    """
    check_same_images(first, second)
    if first.protocol.attacks != second.protocol.attacks:
        raise _not_alike("attacks", first, second)
    attacks = [
        paired_gain(str(settings), first.robust_flags(i), second.robust_flags(i))
        for i, settings in enumerate(first.protocol.attacks)
    ]
    clean = paired_gain("clean", first.outcome.correct, second.outcome.correct)
    return (clean, *attacks, paired_gain(first.worst_case_name, first.worst_case_flags, second.worst_case_flags))


def check_same_images(first: Report, second: Report) -> None:
    """Make sure that flags of two reports can be paired.

    Raises:
        ReportError: they are not of the same images, batches and seed.
    """
    for report in (first, second):
        if not isinstance(report, Report):
            raise ReportError(f"Got {short(report)}; expected a Report, such as evaluate returns.")
    for name in ("images", "data_sha256", "batch_size", "seed", "cascade"):
        if getattr(first.protocol, name) != getattr(second.protocol, name):
            raise _not_alike(name, first, second)


def _not_alike(name: str, first: Report, second: Report) -> ReportError:
    here, there = getattr(first.protocol, name), getattr(second.protocol, name)
    return ReportError(
        f"{first.protocol.model} was evaluated with {name} {here} and {second.protocol.model} with {there}; "
        "expected the same evaluation of both, so that they can be compared image by image."
    )
