"""Means over seeds, by value: Student's interval, and only what every pair was measured with."""

from math import gamma, pi, sqrt

import pytest

from sparta_hub.evaluation import gains_over_seeds, paired_gain
from sparta_hub.evaluation._seeds import T95


def gain(attack: str, points: int):
    """Of a hundred images, of which the first network has ``points`` more."""
    return paired_gain(attack, (True,) * 100, (False,) * points + (True,) * (100 - points))


def test_by_value():
    (found,) = gains_over_seeds({0: [gain("clean", 1)], 1: [gain("clean", 2)], 7: [gain("clean", 6)]})
    # mean 3, standard deviation √7, over √3 of them: 1.5275 · 4.303 = 6.573
    assert (found.attack, found.points, found.low, found.high) == ("clean", 3.0, -3.57, 9.57)
    assert (found.seeds, found.each) == ((0, 1, 7), (1.0, 2.0, 6.0))
    assert str(found) == "+3.0 points [-3.6, +9.6] in the mean of +1.0, +2.0, +6.0"
    assert found.to_json()["seeds"] == [0, 1, 7]


def test_two_seeds_that_agree_have_no_spread_and_two_that_do_not_have_all():
    (agree,) = gains_over_seeds({0: [gain("clean", 4)], 1: [gain("clean", 4)]})
    assert (agree.low, agree.high) == (4.0, 4.0)
    (far,) = gains_over_seeds({0: [gain("clean", 0)], 1: [gain("clean", 50)]})
    assert (far.low, far.high) == (-100.0, 100.0)


def test_only_attacks_that_every_pair_was_measured_with():
    first, second = [gain(name, 1) for name in ("clean", "aa", "pgd")], [gain(name, 3) for name in ("pgd", "clean")]
    assert [(found.attack, found.points) for found in gains_over_seeds({0: first, 1: second})] == [
        ("clean", 2.0), ("pgd", 2.0),
    ]  # fmt: skip


@pytest.mark.parametrize("pairs", [{}, {0: [gain("clean", 1)]}])
def test_one_pair_has_no_mean(pairs):
    assert gains_over_seeds(pairs) == ()


def test_more_seeds_than_the_table_has():
    (found,) = gains_over_seeds({seed: [gain("clean", seed % 2)] for seed in range(40)})
    assert (found.points, found.high - found.low) == (
        0.5,
        pytest.approx(2 * T95[-1] * sqrt(0.25 * 40 / 39 / 40), abs=0.01),
    )


@pytest.mark.parametrize("freedom", range(1, len(T95) + 1))
def test_the_quantiles_are_students(freedom):
    """97.5 % of the density lie below, by Simpson's rule from 0."""
    scale = gamma((freedom + 1) / 2) / (sqrt(freedom * pi) * gamma(freedom / 2))
    steps, end = 4000, T95[freedom - 1]
    heights = [scale * (1 + (end * i / steps) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(steps + 1)]
    area = end / steps / 3 * (heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2]))
    assert 0.5 + area == pytest.approx(0.975, abs=4e-5)
