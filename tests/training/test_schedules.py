"""Learning rates and ε against their closed forms."""

import math

import pytest
import torch

from training.config import Schedule
from training.schedules import epsilon_factor, factor, momentum_dip


def factors(schedule, steps=100, per_epoch=10.0):
    return [factor(schedule, step, steps, per_epoch) for step in range(steps)]


def test_one_cycle_rises_and_falls_to_nothing():
    seen = factors(Schedule("one_cycle", rise=0.3))
    assert seen[29] == pytest.approx(1)
    assert seen[0] == pytest.approx(1 / 30)
    assert seen == sorted(seen[:30]) + sorted(seen[30:], reverse=True)
    assert seen[99] == pytest.approx(1 / 70)


@pytest.mark.parametrize("rise", [0.3, 0.5])
def test_one_cycle_by_epoch_is_torchs_stepped_once_an_epoch(rise):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=20, pct_start=rise)
    schedule = Schedule("one_cycle_by_epoch", rise=rise, momentum_dip=0.1)
    for step, seen in enumerate(factors(schedule, steps=60, per_epoch=3.0)[::3]):
        assert seen == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        momentum = 0.95 - momentum_dip(schedule, 3 * step, 60, 3.0)
        assert momentum == pytest.approx(optimizer.param_groups[0]["momentum"], abs=1e-9)
        optimizer.step()
        theirs.step() if theirs.last_epoch < 19 else None
    same = factors(Schedule("one_cycle_by_epoch", rise=rise), steps=60, per_epoch=3.0)
    assert same[0::3] == same[1::3] == same[2::3]
    assert max(factors(Schedule("one_cycle_by_epoch", rise=1.2))) < 1  # a cycle that the run does not reach the top of


@pytest.mark.parametrize(("epochs", "rise"), [(0.5, 0.3), (1, 1.0), (2, 0.5), (10, 0.1), (2.5, 0.3), (3, 0.3)])
def test_one_cycle_by_epoch_of_short_runs(epochs, rise):
    seen = factors(Schedule("one_cycle_by_epoch", rise=rise), steps=int(10 * epochs))[::10]
    peak = max(0, round(rise * math.ceil(epochs)) - 1)
    if rise * math.ceil(epochs) >= 1:
        assert seen[peak] == 1
    assert seen[peak:] == sorted(seen[peak:], reverse=True)  # an epoch that is begun is one: no second rise at the end
    assert all(0 <= value <= 1 for value in seen)


@pytest.mark.parametrize(
    ("rise", "epochs", "expected"),
    [
        (0.25, 4, [1, 0.75, 0.25, 0]),
        (1.0, 2, [0.04, 1]),
        (0.3, 0.5, [0]),
        (0.3, 1, [0]),
        (0.3, 1.5, [(1 + math.cos(2 * math.pi / 7)) / 2, 0]),
    ],
)
def test_one_cycle_by_epoch_of_few_epochs(rise, epochs, expected):
    schedule, steps = Schedule("one_cycle_by_epoch", rise=rise), int(epochs * 10)
    seen = [factor(schedule, step, steps, 10.0) for step in range(0, steps, 10)]
    assert seen == pytest.approx(expected, abs=1e-5)


def test_cyclic_has_its_peak_in_the_middle_whatever_rise_says():
    seen = factors(Schedule("cyclic", rise=0.1))
    assert seen[24] == pytest.approx(0.5)
    assert seen[49] == seen[50] == pytest.approx(1)
    assert seen[75] == pytest.approx(0.5)


def test_multistep_falls_at_the_beginning_of_its_epochs():
    seen = factors(Schedule("multistep", milestones=(3, 6.5), gamma=0.1))
    assert seen[29] == 1
    assert seen[30] == seen[64] == pytest.approx(0.1)
    assert seen[65] == seen[99] == pytest.approx(0.01)


def test_cosine_and_constant():
    seen = factors(Schedule("cosine"))
    assert seen == pytest.approx([(1 + math.cos(math.pi * k / 100)) / 2 for k in range(100)])
    assert set(factors(Schedule("constant"))) == {1.0}


def test_warm_up_rises_to_the_schedule_which_has_the_rest_of_the_run():
    seen = factors(Schedule("cosine", warmup=2))
    assert seen[:20] == pytest.approx([(k + 1) / 20 for k in range(20)])
    assert seen[20:] == pytest.approx([(1 + math.cos(math.pi * k / 80)) / 2 for k in range(80)])
    cyclic = factors(Schedule("one_cycle", rise=0.25, warmup=2))  # which begins at 1 / 20 and has 80 steps
    assert cyclic[:20] == pytest.approx([(k + 1) / 20 / 20 for k in range(20)])
    assert cyclic[20:] == pytest.approx(factors(Schedule("one_cycle", rise=0.25), steps=80))
    late = factors(Schedule("multistep", milestones=(3,), warmup=2))
    assert late[19:30] == [1] * 11
    assert late[30] == pytest.approx(0.1)


@pytest.mark.parametrize(("warmup", "rising"), [(0.5, [0.4, 0.8, 1]), (0.1, [1]), (9, [k / 10 for k in range(1, 11)])])
def test_a_warm_up_of_parts_of_steps_or_longer_than_the_run_never_goes_beyond_1(warmup, rising):
    """Five steps are an epoch, and ten the run; the schedule proper has those that no warm-up has touched."""
    seen, left = factors(Schedule("cosine", warmup=warmup), steps=10, per_epoch=5), 10 - len(rising)
    assert seen == pytest.approx([*rising, *((1 + math.cos(math.pi * k / left)) / 2 for k in range(left))])


def test_one_cycle_by_epoch_rounds_to_whole_epochs():
    schedule = Schedule("one_cycle_by_epoch", rise=0.3)
    assert factors(schedule, steps=59, per_epoch=3.0) == factors(schedule, steps=60, per_epoch=3.0)[:59]


def test_epsilon_grows_linearly_and_stays():
    assert [epsilon_factor(2, step, 5) for step in (0, 4, 9, 10, 50)] == pytest.approx([0.1, 0.5, 1, 1, 1])
    assert epsilon_factor(0, 0, 5) == 1
