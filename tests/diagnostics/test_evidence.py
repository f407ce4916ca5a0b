"""How sure a count is, by hand; and what the questions make of counts."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from sparta_hub import ThreatModel
from sparta_hub.data import load_bundled
from sparta_hub.diagnostics import Evidence, Probes
from sparta_hub.diagnostics._checks import find
from sparta_hub.diagnostics._evidence import exceeds, rises, tail
from sparta_hub.evaluation import Report, evaluate
from sparta_hub.evaluation._outcome import AttackSettings, Outcome, Tally

THREAT = ThreatModel("linf", 8 / 255)
GREY = ThreatModel("linf", 0.5)
N = 100
ATTACKS = {  # name -> settings; what every attack breaks is given by the test
    "short": AttackSettings("pgd", THREAT, {"steps": 5}),
    "base": AttackSettings("pgd", THREAT, {"steps": 10}),
    "long": AttackSettings("pgd", THREAT, {"steps": 50}),
    "grey": AttackSettings("pgd", GREY, {"steps": 10}),
    "restarts": AttackSettings("pgd", THREAT, {"steps": 10, "restarts": 3}),
    "ce": AttackSettings("apgd", THREAT, {"steps": 10, "loss": "ce"}),
    "margin": AttackSettings("apgd", THREAT, {"steps": 10, "loss": "margin"}),
    "black box": AttackSettings("square", THREAT, {"queries": 10}),
    "transfer": AttackSettings("transfer", THREAT, {"steps": 10, "twin": "x"}),
    "gate detached": AttackSettings("gate-detached", THREAT, {"steps": 10}),
    "gate frozen": AttackSettings("gate-frozen", THREAT, {"steps": 10}),
}
ROLES = {
    "iterations": (0, 1, 2), "one start": (1,), "radius": (1, 3), "restarts": (4,), "ce": (5,), "margin": (6,),
    "black box": (7,), "transfer": (8,), "gate detached": (9,), "gate frozen": (10,),
}  # fmt: skip
PROBES = Probes(images=N, zero_gradients=0, zero_values=0.0, saturated=0, gap=1.0, change=0.0)


@cache
def asked():
    """The protocol of a real evaluation of 100 images, without attacks."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    return evaluate(model, load_bundled("test"), [], batch_size=N, seed=0, limit=N).protocol


def evidence(**broken):
    """100 images, all right; each attack breaks those with numbers in its range, by default the first 50."""
    usual = dict.fromkeys(ATTACKS, range(50)) | {"grey": range(N)}
    numbers = usual | {name.replace("_", " "): found for name, found in broken.items()}
    yes = (True,) * N
    tallies = [Tally(yes, tuple(i in numbers[name] for i in range(N)), (False,) * N, 0, 0, 0.0) for name in ATTACKS]
    protocol = replace(asked(), attacks=tuple(ATTACKS.values()))
    return Evidence(Report(protocol, Outcome(yes, tuple(tallies)), ()), ROLES, PROBES)


def suspect(e):
    return {finding.name for finding in find(e) if finding.verdict == "suspect"}


def test_the_exact_binomial():
    assert tail(0, 5, 0.3) == pytest.approx(1)
    assert tail(5, 5, 0.5) == pytest.approx(0.5**5)
    assert tail(2, 3, 0.5) == pytest.approx(0.5)
    assert tail(1, 10, 0.02) == pytest.approx(1 - 0.98**10)
    assert not exceeds(0, 0, 0.02)
    assert [exceeds(k, 50, 0.02) for k in (4, 5)] == [False, True]  # 0.018 and 0.0032


@pytest.mark.parametrize("share", [0.02, 0.05, 0.5])
def test_the_exact_binomial_of_a_whole_test_set(share):
    of, count = 10_000, round(10_000 * share)
    binomial = torch.distributions.Binomial(of, torch.tensor(share, dtype=torch.float64))
    assert tail(0, of, share) == pytest.approx(1)
    assert tail(count, of, share) == pytest.approx(
        binomial.log_prob(torch.arange(count, of + 1.0, dtype=torch.float64)).exp().sum().item(), rel=1e-6
    )
    assert [exceeds(k, of, 0.02) for k in (233, 234)] == [False, True]  # 0.0105 and 0.0089


def test_mcnemar_looks_only_at_images_that_change():
    same = [True] * 50
    assert not rises([False] * 6 + same, [True] * 6 + same)  # 2**-6 > 0.01
    assert rises([False] * 7 + same, [True] * 7 + same)  # 2**-7 < 0.01
    assert not rises([True] * 7 + same, [False] * 7 + same)
    assert not rises([False] * 7 + [True] * 3, [True] * 7 + [False] * 3)  # 7 of 10: 0.17


def test_nothing_is_suspect_where_all_attacks_agree():
    assert suspect(evidence()) == set()


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ({"black_box": range(56)}, set()),  # 6 of 100 beyond all others: 0.015 at a true share of 2 %
        ({"black_box": range(57)}, {"black box"}),  # 7: 0.004
        ({"transfer": range(40, 57)}, {"transfer"}),  # weaker on the whole, and yet it breaks 7 that hold otherwise
        ({"gate_detached": range(57)}, {"gate detached"}),
        ({"gate_frozen": range(57)}, {"gate frozen"}),
        ({"gate_frozen": range(57), "ce": range(57)}, set()),  # a white-box attack finds them too
        ({"gate_frozen": range(57), "black_box": range(57)}, {"gate frozen", "black box"}),
        ({"margin": range(60)}, set()),  # 10 at a true share of 5 %: 0.028
        ({"margin": range(62)}, {"logit scale"}),  # 12: 0.004
        ({"restarts": range(62)}, {"restarts"}),
        ({"long": range(62)}, {"iterations"}),  # has not converged
        ({"long": range(43)}, {"iterations"}),  # rises
        ({"grey": range(90)}, set()),  # 10 images hold in a ball that contains a grey one: 0.028
        ({"grey": range(88)}, {"radius"}),
    ],
)  # fmt: skip
def test_what_one_attack_breaks_alone(broken, expected):
    assert suspect(evidence(**broken)) == expected


@pytest.mark.parametrize(
    ("probes", "expected"),
    [
        ({"zero_gradients": 6}, set()),
        ({"zero_gradients": 7}, {"zero gradients"}),
        ({"change": 0.0005}, set()),
        ({"change": 0.01}, {"randomness"}),
        ({"saturated": 100, "zero_values": 0.9}, set()),  # figures, not verdicts
    ],
)
def test_probes(probes, expected):
    assert suspect(replace(evidence(), probes=replace(PROBES, **probes))) == expected


def test_what_was_not_asked_is_not_applicable():
    e = evidence()
    e = replace(
        e, roles={role: numbers for role, numbers in e.roles.items() if role not in ("transfer", "gate frozen")}
    )
    found = {finding.name: finding for finding in find(e)}
    assert found["transfer"].verdict == found["gate frozen"].verdict == "not applicable"
    assert found["transfer"].why == "No twin was given to attack in its place."
    assert found["gate detached"].verdict == "ok"
