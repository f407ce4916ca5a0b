"""What a verdict rests on, and how sure a count of images is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, log1p
from typing import Any, Literal

from sparta_hub.diagnostics._probes import Probes
from sparta_hub.evaluation import Report
from sparta_hub.threat import ThreatModel

Verdict = Literal["ok", "suspect", "not applicable"]
Flags = Sequence[bool]
CHANCE = 0.01  # a verdict is "suspect" where an honest model would show as much with a probability below this


@dataclass(frozen=True)
class Finding:
    """The answer to one question.

    Args:
        name: which question, a key of ``CHECKS``.
        verdict: ``"suspect"`` is a reason to look, not a proof; ``"ok"`` is the absence of this one reason.
        figures: what it rests on; accuracies and shares in percent, otherwise counts of images.
        why: one sentence.
    """

    name: str
    verdict: Verdict
    figures: Mapping[str, float]
    why: str


@dataclass(frozen=True)
class Evidence:
    """Everything that was measured.

    Args:
        report: the evaluation: every attack, image by image.
        roles: which attacks of the report each check is about, by their numbers.
        probes: what was measured without an attack.
    """

    report: Report
    roles: Mapping[str, tuple[int, ...]]
    probes: Probes

    @property
    def right(self) -> int:
        """How many images are right without attack, and were attacked."""
        return sum(self.report.outcome.correct)

    def only(self, role: str, *others: str) -> int:
        """How many images some attack of ``role`` breaks and none of the other roles does."""
        broken = [self._broken(name) for name in (role, *others)]
        return sum(mine and not any(rest) for mine, *rest in zip(*broken, strict=True))

    def accuracy(self, *roles: str) -> float:
        """Accuracy in percent under the worst, for each image, of all attacks of these roles."""
        broken = zip(self.report.outcome.correct, *map(self._broken, roles), strict=True)
        return round(100 * sum(right and not any(lost) for right, *lost in broken) / self.report.protocol.images, 2)

    def argument(self, attack: int, name: str) -> Any:
        """An argument of an attack."""
        return self.report.protocol.attacks[attack].arguments[name]

    def threat(self, attack: int) -> ThreatModel:
        """The threat model of an attack."""
        return self.report.protocol.attacks[attack].threat

    def _broken(self, role: str) -> list[bool]:
        tallies = [self.report.outcome.attacks[i].broken for i in self.roles[role]]
        return [any(flags) for flags in zip(*tallies, strict=True)]


def tail(count: int, of: int, share: float) -> float:
    """Probability of ``count`` or more among ``of``, where each has the probability ``share`` (exact binomial)."""
    return sum(exp(_log_binomial(k, of, share)) for k in range(count, of + 1))


def _log_binomial(count: int, of: int, share: float) -> float:
    """Logarithm of the probability of exactly ``count``: from 1,030 on, the number of ways is too large for a float."""
    ways = lgamma(of + 1) - lgamma(count + 1) - lgamma(of - count + 1)
    return ways + count * log(share) + (of - count) * log1p(-share)


def exceeds(count: int, of: int, share: float) -> bool:
    """Whether ``count`` of ``of`` images are more than a true share of ``share`` explains; see ``CHANCE``."""
    return tail(count, of, share) < CHANCE


def rises(before: Flags, after: Flags) -> bool:
    """Whether robustness rose although the attacker was given more: the one-sided exact test of McNemar (1947).

    Of the images that stand under one attack alone, half should stand under the stronger one if both were equal.
    """
    gained = sum(b and not a for a, b in zip(before, after, strict=True))
    lost = sum(a and not b for a, b in zip(before, after, strict=True))
    return gained > lost and exceeds(gained, gained + lost, 0.5)
