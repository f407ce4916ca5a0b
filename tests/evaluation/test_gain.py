"""Paired gains: by value, against the literature's own table, and refused where nothing can be paired."""

import random
import re
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


def report(seed: int):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (12, 3, 4, 4), dtype=torch.uint8, generator=generator)
    data = Images(x, torch.arange(12) % 3, "tiny", ("a", "b", "c"))
    linear = nn.Linear(48, 3)
    nn.init.normal_(linear.weight, generator=torch.Generator().manual_seed(seed))
    model, attack = nn.Sequential(nn.Flatten(), linear), Attack("fgsm", fgsm, ThreatModel(eps=1 / 255), {})
    return evaluate(model, data, [attack], batch_size=5, seed=0, name=f"model {seed}")


def test_reports_are_compared_image_by_image():
    one, two = report(1), report(2)
    clean, attacked, worst = gains(one, two)
    assert (clean.attack, attacked.attack) == ("clean", "fgsm, Linf 1/255")
    assert clean.points == pytest.approx(one.clean.percent - two.clean.percent, abs=0.02)
    assert attacked.points == pytest.approx(one.robust(0).percent - two.robust(0).percent, abs=0.02)
    assert replace(worst, attack=attacked.attack) == attacked  # there is one attack only


@pytest.mark.parametrize(
    ("name", "seen", "other"),
    [
        ("images", 12, 9),
        ("data_sha256", r"\w{64}", "other"),
        ("batch_size", 5, 6),
        ("seed", 0, 1),
        ("cascade", False, True),
        ("attacks", r"\(AttackSettings.*\)", ()),
    ],
)
def test_reports_of_other_images_batches_or_attacks_do_not_pair(name, seen, other):
    one = report(1)
    two = replace(one, protocol=replace(one.protocol, model="model 2", **{name: other}))
    message = f"model 1 was evaluated with {name} {seen} and model 2 with {re.escape(str(other))}; expected the same"
    with pytest.raises(ReportError, match=message):
        gains(one, two)


@pytest.mark.parametrize("wrong", [None, {}, "report.json"])
def test_what_is_no_report_is_refused(wrong):
    for pair in ((report(1), wrong), (wrong, report(1))):
        with pytest.raises(ReportError, match=f"Got {re.escape(repr(wrong))}.*; expected a Report, such as evaluate"):
            gains(*pair)
