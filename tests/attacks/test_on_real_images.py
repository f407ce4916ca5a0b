"""Strength: attacks against one another, and against pyautoattack's, on a small network and real images."""

import logging
import sys

import pytest
import torch

from sparta_hub import ThreatModel
from sparta_hub.attacks import apgd, apgd_targeted, autoattack, cw, cw_linf, fab, pgd, square
from sparta_hub.errors import AttackError

BALLS = [ThreatModel("linf", 12 / 255), ThreatModel("l2", 1.5)]
every_ball = pytest.mark.parametrize("threat", BALLS, ids=str)


def robust(model, x_adv, y):
    with torch.no_grad():
        return model(x_adv).argmax(1) == y


def count(model, x_adv, y):
    return int(robust(model, x_adv, y).sum())


@every_ball
def test_stronger_attacks_leave_less(trained, threat):
    model, x, y = trained
    clean = count(model, x, y)
    left = {steps: count(model, pgd(model, x, y, threat, steps=steps), y) for steps in (1, 5, 20, 50)}
    assert clean > 70
    assert 5 < left[50] < clean - 15  # the radius is one that tells attacks apart
    assert left[50] <= left[5] <= left[1] + 1
    assert count(model, apgd(model, x, y, threat, steps=40), y) <= left[20] + 1
    assert count(model, apgd(model, x, y, threat, steps=40, loss="dlr"), y) <= left[20] + 2
    assert count(model, apgd_targeted(model, x, y, threat, targets=4, steps=20), y) <= left[20] + 1
    assert count(model, cw_linf(model, x, y, threat), y) <= left[20] + 2
    assert left[20] - 1 <= count(model, square(model, x, y, threat, queries=150), y) < clean - 5


@every_ball
def test_restarts_never_hurt(trained, threat):
    model, x, y = trained
    for attack in (pgd, apgd):
        runs = [
            robust(
                model, attack(model, x, y, threat, steps=5, restarts=n, generator=torch.Generator().manual_seed(1)), y
            )
            for n in (1, 2, 4)
        ]
        assert (runs[1] <= runs[0]).all()
        assert (runs[2] <= runs[1]).all()


def test_a_targeted_attack_reaches_its_target_and_misses_it_without_room(trained):
    model, x, y = trained
    wanted = (y + 1) % 10
    far, near = ThreatModel("linf", 0.3, targeted=True), ThreatModel("linf", 0.001, targeted=True)
    for attack in (pgd, apgd):
        with torch.no_grad():
            assert (model(attack(model, x, wanted, far, steps=30)).argmax(1) == wanted).float().mean() > 0.95
            assert (model(attack(model, x, wanted, near, steps=30)).argmax(1) == wanted).float().mean() < 0.3


def test_cw_finds_no_larger_changes_than_pgd_needs(trained):
    model, x, y = trained
    x, y = x[:20], y[:20]
    free = ThreatModel("l2", 1e6)
    x_adv = cw(model, x, y, free, steps=60, search_steps=5)
    assert not robust(model, x_adv, y).any()
    needed = free.distance(x_adv, x)
    for eps in (0.25, 0.5, 1.0):
        broken = ~robust(model, apgd(model, x, y, ThreatModel("l2", eps), steps=30), y)
        assert (needed[broken] <= eps * 1.1).all()
        assert (broken[needed < eps * 0.99]).float().mean() > 0.9
    inside = cw(model, x, y, ThreatModel("l2", 0.5), steps=60, search_steps=5)
    assert torch.equal(robust(model, inside, y), needed > 0.5)


@every_ball
def test_fab_finds_changes_as_small_as_apgd_allows(trained, threat):
    model, x, y = trained
    x, y = x[:20], y[:20]
    found = fab(model, x, y, ThreatModel(threat.norm, 1.0 if threat.norm == "linf" else 1e6), steps=15)
    needed = threat.distance(found, x)
    assert not robust(model, found, y).any()
    for share in (0.5, 1.0, 2.0):
        broken = ~robust(model, apgd(model, x, y, ThreatModel(threat.norm, share * threat.eps), steps=30), y)
        assert (needed[broken] <= share * threat.eps * 1.2).all()
        assert broken[needed < share * threat.eps * 0.99].all()


@every_ball
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_apgd_is_as_strong_as_pyautoattacks(trained, threat, loss):
    base = pytest.importorskip("pyautoattack.autopgd_base")
    model, x, y = trained
    norm = {"linf": "Linf", "l2": "L2"}[threat.norm]
    with torch.random.fork_rng([]):
        theirs = base.APGDAttack(
            model, n_iter=40, norm=norm, eps=threat.eps, seed=0, loss=loss, device="cpu",
            logger=logging.getLogger("auto-attack"),
        ).perturb(x, y)  # fmt: skip
    ours = apgd(model, x, y, threat, steps=40, loss=loss)
    assert abs(count(model, ours, y) - count(model, theirs, y)) <= 2


@pytest.mark.parametrize("threat", [BALLS[0], ThreatModel("l2", 5.0)], ids=str)
def test_autoattack_is_the_strongest_and_leaves_the_world_alone(trained, threat):
    pytest.importorskip("pyautoattack")
    model, x, y = trained
    x, y = x[:4], y[:4]
    state, wanted = torch.get_rng_state(), [p.requires_grad for p in model.parameters()]
    x_adv = autoattack(model, x, y, threat)
    assert torch.equal(torch.get_rng_state(), state)
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert (threat.distance(x_adv, x) <= threat.eps + 1e-6).all()
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    assert count(model, x_adv, y) <= count(model, pgd(model, x, y, threat, steps=50), y)
    assert autoattack(model, x[:0], y[:0], threat).shape == (0, 3, 32, 32)
    assert torch.equal(autoattack(model, x, y, ThreatModel("linf", 0.0)), x)
    assert autoattack(model, x[:1], y[:1], threat).shape == (1, 3, 32, 32)


def test_autoattack_says_what_to_install(trained, monkeypatch):
    model, x, y = trained
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(AttackError, match=r'pip install "sparta-hub\[autoattack\]"'):
        autoattack(model, x, y, ThreatModel())


def test_autoattack_refuses_what_it_cannot_do(trained):
    model, x, y = trained
    with pytest.raises(AttackError, match="The threat is targeted; AutoAttack takes the true classes"):
        autoattack(model, x, y, ThreatModel(targeted=True))
    with pytest.raises(AttackError, match="torch.float64; AutoAttack computes in torch.float32: x.float()"):
        autoattack(model, x.double(), y, ThreatModel())
    with pytest.raises(AttackError, match="version is 'best'; expected 'standard', 'plus' or 'rand'"):
        autoattack(model, x, y, ThreatModel(), version="best")
