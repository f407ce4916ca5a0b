"""Paired gains: by value, against the literature's own table, and refused where nothing can be paired."""

import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from sparta_hub import ThreatModel
from sparta_hub.attacks import fgsm
from sparta_hub.data import Images
from sparta_hub.errors import ReportError
from sparta_hub.evaluation import Attack, evaluate, gains, paired_gain


def flags(both: int, first: int, second: int, neither: int):
    pairs = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second + [(False, False)] * neither
    return tuple(zip(*pairs, strict=True))


def test_by_value():
    gain = paired_gain("pgd", *flags(40, 12, 5, 43))
    assert (gain.points, gain.first_alone, gain.second_alone, gain.images) == (7.0, 12, 5, 100)
    # (12.5 - 5.5) / 102 ± 1.96 sqrt((12.5 + 5.5) / 102 - ((12.5 - 5.5) / 102)²) / sqrt(102)
    assert (gain.low, gain.high) == (-1.18, 14.91)
    assert str(gain) == "+7.0 points [-1.2, +14.9]"


def test_the_other_way_round_is_the_other_sign():
    one, two = flags(40, 12, 5, 43)
    there, back = paired_gain("pgd", one, two), paired_gain("pgd", two, one)
    assert (back.points, back.low, back.high) == (-there.points, -there.high, -there.low)


def test_the_interval_ends_where_differences_do():
    gain = paired_gain("pgd", *flags(0, 3, 0, 0))
    assert (gain.points, gain.low, gain.high) == (100.0, 1.86, 100.0)  # 3 / 5 ± 0.5814
    back = paired_gain("pgd", *flags(0, 0, 1, 0))
    assert (back.points, back.low, back.high) == (-100.0, -100.0, 51.01)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draw, hits, truth = random.Random(0), 0, 0.06  # 14 % first alone, 8 % second alone
    for _ in range(400):
        pairs = draw.choices([(True, False), (False, True), (True, True)], [0.14, 0.08, 0.78], k=200)
        gain = paired_gain("pgd", *zip(*pairs, strict=True))
        hits += gain.low <= 100 * truth <= gain.high
    assert 0.92 < hits / 400 < 0.98


def test_reports_are_compared_image_by_image_and_only_if_they_pair():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (12, 3, 4, 4), dtype=torch.uint8, generator=generator)
    data = Images(x, torch.arange(12) % 3, "tiny", ("a", "b", "c"))

    def report(seed: int, limit: int | None = None):
        linear = nn.Linear(48, 3)
        nn.init.normal_(linear.weight, generator=torch.Generator().manual_seed(seed))
        model = nn.Sequential(nn.Flatten(), linear)
        attack = Attack("fgsm", fgsm, ThreatModel(eps=1 / 255), {})
        return evaluate(model, data, [attack], batch_size=5, seed=0, limit=limit, name=f"model {seed}")

    one, two = report(1), report(2)
    clean, attacked, worst = gains(one, two)
    assert (clean.attack, attacked.attack) == ("clean", "fgsm, Linf 1/255")
    assert clean.points == pytest.approx(one.clean.percent - two.clean.percent, abs=0.02)
    assert attacked.points == pytest.approx(one.robust(0).percent - two.robust(0).percent, abs=0.02)
    assert replace(worst, attack=attacked.attack) == attacked  # there is one attack only
    with pytest.raises(ReportError, match="model 1 was evaluated with images 12 and model 2 with 9; expected the same"):
        gains(one, replace(two, protocol=replace(two.protocol, images=9)))
