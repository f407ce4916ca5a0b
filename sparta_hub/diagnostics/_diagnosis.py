"""The record of a diagnosis: what was measured, from which the findings follow; JSON both ways."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sparta_hub.diagnostics._checks import find
from sparta_hub.diagnostics._evidence import Evidence, Finding
from sparta_hub.diagnostics._probes import Probes
from sparta_hub.errors import ReportError, short
from sparta_hub.evaluation import Report
from sparta_hub.records import FORMAT_VERSION, check_format, read_object
from sparta_hub.threat import ThreatModel

FORMAT = "sparta-hub diagnosis"


@dataclass(frozen=True)
class Diagnosis:
    """What was found, and what it rests on.

    Args:
        evidence: the evaluation with all attacks, which of them belong to which question, and the probes.
    """

    evidence: Evidence

    @property
    def threat(self) -> ThreatModel:
        """The threat model that was asked about."""
        return self.evidence.threat(self.evidence.roles["one start"][0])

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One a question, in a fixed order. They follow from the evidence and are never kept apart from it."""
        return find(self.evidence)

    @property
    def suspect(self) -> tuple[str, ...]:
        """Names of the findings that are suspect."""
        return tuple(finding.name for finding in self.findings if finding.verdict == "suspect")

    def table(self) -> str:
        """The findings in words: a line with the verdict and the reason, and one with the figures."""
        report = self.evidence.report
        lines = [f"{report.protocol.model}, {report.protocol.images} images of {report.protocol.data}, {self.threat}"]
        lines.append(f"clean {report.clean}   worst case of the attacks in this ball {self.worst_case:.1f} %")
        for found in self.findings:
            lines.append(f"{found.verdict:<16}{found.name:<16}{found.why}")
            if found.figures:
                lines.append(f"{'':<32}{'; '.join(f'{name} {value:.4g}' for name, value in found.figures.items())}")
        return "\n".join(lines)

    @property
    def worst_case(self) -> float:
        """Accuracy in percent when each image meets the worst of all attacks in the ball that was asked about."""
        return self.evidence.accuracy(*(role for role in self.evidence.roles if role != "radius"))

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``: the findings and all they rest on, with provenance in the evaluation."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "findings": self._findings_json(),
            "probes": asdict(self.evidence.probes),
            "roles": {role: list(attacks) for role, attacks in self.evidence.roles.items()},
            "evaluation": self.evidence.report.to_json(),
        }

    @classmethod
    def from_json(cls, value: Any) -> "Diagnosis":
        """Rebuild a diagnosis; ``ReportError`` for a missing, unknown or wrong value, or findings that it denies."""
        head = ("format", "format_version", "findings", "probes", "roles", "evaluation")
        data = read_object(value, head, "the diagnosis")
        check_format(data, FORMAT)
        report = Report.from_json(data["evaluation"])
        probes = read_object(data["probes"], [f.name for f in fields(Probes)], "probes")
        if bad := [name for name, item in probes.items() if type(item) not in (int, float)]:
            raise ReportError(f"probes.{bad[0]} is {short(probes[bad[0]])}; expected a number.")
        roles = _roles(data["roles"], len(report.protocol.attacks))
        diagnosis = cls(Evidence(report, roles, Probes(**probes)))
        try:
            findings = diagnosis._findings_json()
        except (KeyError, IndexError, ValueError) as error:
            raise ReportError(f"The roles are {short(data['roles'])}, which lack {error} of a diagnosis.") from error
        if findings != data["findings"]:
            raise ReportError("The findings are not those that follow from the evaluation and the probes beside them.")
        return diagnosis

    def _findings_json(self) -> list[dict[str, Any]]:
        return [asdict(finding) for finding in self.findings]


def _roles(value: Any, attacks: int) -> Mapping[str, tuple[int, ...]]:
    if not isinstance(value, dict) or not all(
        isinstance(numbers, list) and numbers and all(type(i) is int and 0 <= i < attacks for i in numbers)
        for numbers in value.values()
    ):
        raise ReportError(f"roles is {short(value)}; expected lists of numbers of the {attacks} attacks.")
    return {role: tuple(numbers) for role, numbers in value.items()}
