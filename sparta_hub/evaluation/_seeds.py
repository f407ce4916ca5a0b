"""What one way of training gains over another, from pairs of networks that differ in their seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from sparta_hub.evaluation._gain import Gain

# 97.5 % quantiles of Student's t with 1, 2, ... degrees of freedom; from thirty on, the last is a little too wide
T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class SeedGain:
    """Mean of the differences that pairs of networks have, one pair a seed, in percentage points.

    Args:
        attack: what both withstood; ``clean`` without attack.
        points, low, high: mean over seeds, with Student's 95 % interval: where the mean of ever more seeds may lie.
        seeds: of the pairs.
        each: the difference of each pair.
    """

    attack: str
    points: float
    low: float
    high: float
    seeds: tuple[int, ...]
    each: tuple[float, ...]

    def __str__(self) -> str:
        each = ", ".join(f"{points:+.1f}" for points in self.each)
        return f"{self.points:+.1f} points [{self.low:+.1f}, {self.high:+.1f}] in the mean of {each}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "seeds": [*self.seeds], "each": [*self.each]}


def gains_over_seeds(pairs: Mapping[int, Sequence[Gain]]) -> tuple[SeedGain, ...]:
    """The gain under each attack that all pairs were measured with; none where there are fewer than two pairs.

    Each pair counts once, however many images it was measured on.

    Args:
        pairs: the gains of each pair of networks, by the seed that both were trained with.
    """
    if len(pairs) < 2:
        return ()
    found = {seed: {gain.attack: gain.points for gain in pair} for seed, pair in pairs.items()}
    common = [attack for attack in next(iter(found.values())) if all(attack in each for each in found.values())]
    return tuple(mean_over_seeds(attack, {seed: found[seed][attack] for seed in found}) for attack in common)


def mean_over_seeds(attack: str, points: Mapping[int, float]) -> SeedGain:
    """The mean with its interval.

    Args:
        attack: what the networks withstood.
        points: the difference of each pair in percentage points, by seed; two or more.
    """
    mean, count = fmean(points.values()), len(points)
    spread = T95[min(count - 1, len(T95)) - 1] * stdev(points.values()) / sqrt(count)
    low, high = max(-100.0, mean - spread), min(100.0, mean + spread)
    return SeedGain(attack, round(mean, 2), round(low, 2), round(high, 2), tuple(points), tuple(points.values()))
