"""The record of an evaluation: accuracies from the flags of every image, where they were measured, JSON both ways."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from sparta_hub.attacks import PRESETS, attack_of
from sparta_hub.errors import ReportError, short
from sparta_hub.evaluation._outcome import Flags, Outcome, Protocol, worst_case
from sparta_hub.evaluation._outcome_json import (
    outcome_from_json,
    outcome_to_json,
    protocol_from_json,
    protocol_to_json,
)
from sparta_hub.provenance import wilson
from sparta_hub.records import FORMAT_VERSION, check_format, read_object

FORMAT = "sparta-hub evaluation"

WORST_CASE = "worst case of each image"  # how figures of it are called, before the threat model


@dataclass(frozen=True)
class Accuracy:
    """A share of images in percent, with its 95 % Wilson interval."""

    percent: float
    low: float
    high: float
    correct: int
    images: int

    @classmethod
    def of(cls, flags: Flags) -> Self:
        """The accuracy that these flags amount to."""
        return cls(round(100 * sum(flags) / len(flags), 2), *wilson(sum(flags), len(flags)), sum(flags), len(flags))

    def __str__(self) -> str:
        return f"{self.percent:5.1f} % [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True)
class Report:
    """An evaluation.

    Args:
        protocol: what was asked.
        outcome: what every image did.
        provenance: one entry for each installation that took part.
    """

    protocol: Protocol
    outcome: Outcome
    provenance: tuple[Mapping[str, str | int], ...]

    @property
    def clean(self) -> Accuracy:
        """Accuracy without attack."""
        return Accuracy.of(self.outcome.correct)

    def robust_flags(self, attack: int) -> Flags:
        """Which images were right and withstood this attack; in a cascade, the ones before it too."""
        tally = self.outcome.attacks[attack]
        return tuple(tried and not broken for tried, broken in zip(tally.attacked, tally.broken, strict=True))

    def robust(self, attack: int) -> Accuracy:
        """Accuracy under one attack."""
        return Accuracy.of(self.robust_flags(attack))

    @property
    def worst_case_flags(self) -> Flags:
        """Which images were right and withstood every attack."""
        return worst_case(self.outcome)

    @property
    def worst_case(self) -> Accuracy:
        """Accuracy when each image meets the attack that is worst for it."""
        return Accuracy.of(self.worst_case_flags)

    @property
    def worst_case_name(self) -> str:
        """What the worst case is called, with the threat models it is over where they differ."""
        threats = list(dict.fromkeys(str(settings.threat) for settings in self.protocol.attacks))
        return WORST_CASE + (f", over {' and '.join(threats)}" if len(threats) > 1 else "")

    @property
    def outside(self) -> int:
        """How often an attack left the ball or the box: above 0, that attack is faulty and its accuracy too high."""
        return sum(sum(tally.outside) for tally in self.outcome.attacks)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``: protocol, summary, flags as hexadecimal bit strings, provenance."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "protocol": protocol_to_json(self.protocol),
            "summary": self._summary(),
            "outcome": outcome_to_json(self.outcome),
            "provenance": [dict(entry) for entry in self.provenance],
        }

    @classmethod
    def from_json(cls, value: Any) -> "Report":
        """Rebuild a report; ``ReportError`` for a missing, unknown or wrong value, or a summary that its flags deny."""
        head = ("format", "format_version", "protocol", "summary", "outcome", "provenance")
        data = read_object(value, head, "the report")
        check_format(data, FORMAT)
        protocol = protocol_from_json(data["protocol"])
        outcome = outcome_from_json(data["outcome"], protocol.images, len(protocol.attacks))
        if not isinstance(data["provenance"], list) or not all(isinstance(entry, dict) for entry in data["provenance"]):
            raise ReportError(f"provenance is {short(data['provenance'])}; expected a list of objects.")
        report = cls(protocol, outcome, tuple(data["provenance"]))
        if (summary := report._summary()) != data["summary"]:
            raise ReportError(
                f"The summary says {short(data['summary'])}, but the flags of the images amount to {short(summary)}."
            )
        return report

    def table(self) -> str:
        """The figures in words, a line each."""
        rows = [("clean", str(self.clean), "")]
        for i, (settings, tally) in enumerate(zip(self.protocol.attacks, self.outcome.attacks, strict=True)):
            count = max(1, sum(tally.attacked))
            cost = (
                f"{tally.forwards / count:.3g} forward, {tally.backwards / count:.3g} backward, {tally.seconds:.1f} s"
            )
            rows.append((str(settings), str(self.robust(i)), cost))
        if len(self.protocol.attacks) > 1:
            rows.append((self.worst_case_name, str(self.worst_case), ""))
        width = max(len(name) for name, *_ in rows)
        lines = [f"{name:<{width}}  {accuracy:<24}{cost}".rstrip() for name, accuracy, cost in rows]
        if self.outside:
            lines.append(
                f"warning: {self.outside} attacked images lay outside the ball or the box. They count as not broken, "
                "so the true accuracy may be lower: mend the attack."
            )
        return "\n".join(lines)

    def to_model_info(
        self,
        *,
        link: str,
        name: str,
        authors: str,
        venue: str,
        architecture: str,
        additional_data: bool,
        number_forward_passes: int = 1,
        reported: float | None = None,
        external: float | None = None,
        corruptions_acc: float | None = None,
        unreliable: bool = False,
        footnote: str | None = None,
    ) -> dict[str, Any]:
        """The entry that RobustBench keeps of a model (``model_info/DATASET/NORM/NAME.json``), figures as text.

        Args:
            link, name, authors, venue: of the paper.
            architecture: such as ``"ResNet-18"``.
            additional_data: trained on images of other sources, generated ones among them.
            number_forward_passes: for one prediction.
            reported: robust accuracy that the paper gives, in percent; the worst case measured here by default.
            external: robust accuracy that others measured, in percent.
            corruptions_acc: accuracy on corrupted images, in percent.
            unreliable: the figure is known to be too high.
            footnote: what a reader must know; by default images and attacks of this report.

        Returns:
            Every key that RobustBench uses; one that was not measured is None. ``autoattack_acc`` is filled only from
            the attack ``autoattack``, or a preset of it.

        Raises:
            ReportError: there is no attack, or attacks with different balls or targets, which one entry cannot hold.
        """
        threats = {settings.threat for settings in self.protocol.attacks}
        if len(threats) != 1 or (threat := next(iter(threats))).targeted:
            seen = ", ".join(sorted(map(str, threats))) or "no attack"
            raise ReportError(f"The report has {seen}; an entry of RobustBench has one untargeted threat model.")
        auto = [i for i, settings in enumerate(self.protocol.attacks) if attack_of(settings.name) == "autoattack"]
        attacks = " + ".join(map(str, self.protocol.attacks))
        return {
            "link": link,
            "name": name,
            "authors": authors,
            "venue": venue,
            "dataset": self.protocol.data,
            "architecture": architecture,
            "eps": threat.radius,
            "clean_acc": f"{self.clean.percent:.2f}",
            "reported": f"{self.worst_case.percent if reported is None else reported:.2f}",
            "additional_data": additional_data,
            "number_forward_passes": number_forward_passes,
            "autoattack_acc": f"{self.robust(auto[0]).percent:.2f}" if auto else None,
            "unreliable": unreliable or self.outside > 0,
            "footnote": footnote or f"First {self.protocol.images} test images; worst case of {attacks}.",
            "corruptions_acc": None if corruptions_acc is None else f"{corruptions_acc:.2f}",
            "external": None if external is None else f"{external:.2f}",
        }

    def _summary(self) -> dict[str, Any]:
        rows = []
        for i, (settings, tally) in enumerate(zip(self.protocol.attacks, self.outcome.attacks, strict=True)):
            rows.append({"attack": str(settings), **asdict(self.robust(i)), "outside": sum(tally.outside)})
        return {"clean": asdict(self.clean), "attacks": rows, "worst_case": asdict(self.worst_case)}


def attacks_that_count(reports: Sequence[Report]) -> list[tuple[Report, int]]:
    """Every attack of a network's reports once, as a report and the attack's number in it.

    Of one that was measured more than once the last report counts. A preset is one attack whatever its arguments: they
    may have been mended.
    """
    last: dict[str, tuple[Report, int]] = {}
    for report in reports:
        for i, settings in enumerate(report.protocol.attacks):
            last[settings.name if settings.name in PRESETS else settings.words] = report, i
    return list(last.values())
