"""Attacks on a curved model against their algorithms, transcribed line by line and run image by image.

On a plane, where ``test_every_attack.py`` knows the optimum, all of them climb one gradient to one point, whatever else
they do. Momentum, sizes of steps, ways back and bisections show here.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from sparta_hub import ThreatModel
from sparta_hub.attacks import apgd, apgd_targeted, cw, cw_linf, fab, fgsm, mpgd, pgd, square
from sparta_hub.attacks.apgd import checkpoints
from sparta_hub.attacks.fab import _onto
from sparta_hub.threat import Norm

NORMS: list[Norm] = ["linf", "l2"]
RADIUS = {"linf": 0.03, "l2": 0.3}
every_norm = pytest.mark.parametrize("norm", NORMS)


@pytest.fixture(scope="module")
def problem():
    """Model, six images with some values on the box, and the classes that it gives them."""
    with torch.random.fork_rng([]):
        torch.manual_seed(2)
        model: Any = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.SiLU(), nn.Conv2d(6, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 4)
        ).double()
        x = (torch.rand(6, 3, 6, 6, dtype=torch.float64) * 1.2 - 0.1).clamp(0, 1)
        with torch.no_grad():
            model[0].weight.mul_(3)
            model[-1].weight.mul_(20)
            return model, x, model(x).argmax(1)


def loss(model, x, y):
    """Cross entropy of one image, and its gradient."""
    x = x.clone().requires_grad_()
    value = -model(x[None]).log_softmax(1)[0, y]
    return value.item(), torch.autograd.grad(value, x)[0]


def margin(logits, y):
    return max(z for j, z in enumerate(logits) if j != y) - logits[y]


def slope(model, x, y, climbed):
    if climbed == "ce":
        return loss(model, x, y)[1]
    x = x.clone().requires_grad_()
    return torch.autograd.grad(margin(model(x[None])[0], y), x)[0]


def wrong(model, x, y):
    with torch.no_grad():
        return int(model(x[None]).argmax()) != y


def unit(gradient, norm):
    return gradient.sign() if norm == "linf" else gradient / gradient.norm()


def project(x_adv, x, norm):
    delta = x_adv - x
    if norm == "linf":
        delta = torch.min(torch.max(delta, torch.full_like(x, -RADIUS[norm])), torch.full_like(x, RADIUS[norm]))
    elif delta.norm() > RADIUS[norm]:
        delta = delta * RADIUS[norm] / delta.norm()
    return (x + delta).clamp(0, 1)


def compare(attacked, transcribed, problem):
    """And see that the attack has gone somewhere, or the comparison would say little."""
    _, x, y = problem
    expected = torch.stack([transcribed(x[i], int(y[i]), i) for i in range(len(x))])
    assert (expected - x).abs().amax() > 0.01
    torch.testing.assert_close(attacked, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("climbed", ["ce", "margin"])
@every_norm
def test_fgsm_is_one_step_up_the_loss_it_is_given(problem, norm, climbed):
    model, x, y = problem

    def one(x, y, _):
        return project(x + RADIUS[norm] * unit(slope(model, x, y, climbed), norm), x, norm)

    compare(fgsm(model, x, y, ThreatModel(norm, RADIUS[norm]), loss=climbed), one, problem)


@every_norm
def test_pgd_takes_the_steps_of_its_schedule_up_the_loss_it_is_given(problem, norm):
    model, x, y = problem
    shape = [1.0, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4]

    def one(x, y, _):
        x_adv = x
        for factor in shape:
            step = 2.5 * RADIUS[norm] / sum(shape) * factor * unit(slope(model, x_adv, y, "margin"), norm)
            x_adv = project(x_adv + step, x, norm)
        return x_adv

    threat = ThreatModel(norm, RADIUS[norm])
    compare(pgd(model, x, y, threat, steps=4, random_start=False, loss="margin", schedule="cosine"), one, problem)


@pytest.mark.parametrize(("decay", "step"), [(1.0, None), (0.5, 0.03), (0.0, 0.03)])
@every_norm
def test_mpgd_follows_a_running_mean_of_gradients(problem, norm, decay, step):
    model, x, y = problem
    length = RADIUS[norm] / 6 if step is None else step

    def one(x, y, _):
        x_adv, memory = x, torch.zeros_like(x)
        for _ in range(6):
            gradient = loss(model, x_adv, y)[1]
            memory = decay * memory + gradient / gradient.abs().sum()
            x_adv = project(x_adv + length * unit(memory, norm), x, norm)
        return x_adv

    threat = ThreatModel(norm, RADIUS[norm])
    compare(mpgd(model, x, y, threat, steps=6, decay=decay, step_size=step), one, problem)


@every_norm
def test_mpgd_begins_where_it_is_told_and_climbs_what_it_is_told(problem, norm):
    model, x, y = problem
    threat = ThreatModel(norm, RADIUS[norm])
    starts = threat.random_start(x, torch.Generator().manual_seed(3))

    def one(x, y, i):
        return project(starts[i] + RADIUS[norm] * unit(slope(model, starts[i], y, "margin"), norm), x, norm)

    given: Any = {"random_start": True, "loss": "margin", "generator": torch.Generator().manual_seed(3)}
    compare(mpgd(model, x, y, threat, steps=1, **given), one, problem)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("attack", [pgd, apgd])
def test_of_several_starts_the_end_with_the_largest_loss_is_kept(problem, attack, targeted):
    model, x, y = problem
    x, y = x[[0, 1, 3, 5]], y[[0, 1, 3, 5]]  # those that hold: the others would leave, and the starts then be others
    wanted = (y + 1) % 4 if targeted else y
    threat = ThreatModel("linf", 0.012, targeted)
    one_after_another, at_once = (torch.Generator().manual_seed(5) for _ in "ab")
    ends = [attack(model, x, wanted, threat, steps=2, generator=one_after_another) for _ in range(6)]
    kept = attack(model, x, wanted, threat, steps=2, restarts=6, generator=at_once)
    with torch.no_grad():
        logits = torch.stack([model(end) for end in ends])
    assert (logits.argmax(2) == y).all()
    gains = logits.log_softmax(2)[:, torch.arange(len(x)), wanted] * (1 if targeted else -1)
    best = gains.argmax(0).tolist()
    assert len(set(best)) > 1
    assert torch.equal(kept, torch.stack([ends[k][i] for i, k in enumerate(best)]))


@every_norm
def test_apgd_halves_its_steps_and_goes_back_as_in_algorithm_1(problem, norm):
    model, x, y = problem
    threat, steps = ThreatModel(norm, RADIUS[norm]), 40
    starts = threat.random_start(x, torch.Generator().manual_seed(3))
    seen = []

    def one(x, y, i):
        eta, before, now = 2 * RADIUS[norm], starts[i], starts[i]
        value, gradient = loss(model, now, y)
        top, success = (value, now, gradient), now if wrong(model, now, y) else None
        rises, last, top_then, halved_then = 0, 0, value, False
        for k in range(1, steps + 1):
            ahead = project(now + eta * unit(gradient, norm), x, norm)
            point = ahead if k == 1 else project(now + 0.75 * (ahead - now) + 0.25 * (now - before), x, norm)
            old, before, now = value, now, point
            value, gradient = loss(model, now, y)
            rises += value > old
            top = (value, now, gradient) if value > top[0] else top
            success = now if wrong(model, now, y) else success
            if k in checkpoints(steps) or k == steps:
                if success is not None:
                    return success
                rarely, stuck = rises < 0.75 * (k - last), not halved_then and top[0] == top_then
                if halved_then := rarely or stuck:
                    eta, (value, now, gradient) = eta / 2, top
                seen.append((rarely, stuck))
                rises, last, top_then = 0, k, top[0]
        return top[1]

    compare(apgd(model, x, y, threat, steps=steps, generator=torch.Generator().manual_seed(3)), one, problem)
    assert {(True, False), (False, False)} <= set(seen)
    assert norm == "l2" or (False, True) in seen  # a step is halved for either reason alone


@pytest.mark.parametrize("targets", [1, 2, 9])
def test_apgd_targeted_is_apgd_towards_one_class_after_another(problem, targets):
    model, x, y = problem
    y = torch.where(torch.arange(len(y)) == 1, (y + 1) % 4, y)  # one is wrong from the start
    threat = ThreatModel("linf", 0.012)
    generator, expected, held = torch.Generator().manual_seed(1), x.clone(), [0, 2, 3, 4, 5]
    with torch.no_grad():
        order = model(x).argsort(1, descending=True)
    for rank in range(min(targets, 3)):
        wanted = torch.stack([[j for j in order[i] if j != y[i]][rank] for i in held])
        found = apgd(
            model, x[held], wanted, replace(threat, targeted=True), steps=3, loss="margin", generator=generator
        )
        fallen = [i for i, image in zip(held, found, strict=True) if wrong(model, image, y[i])]
        expected[fallen] = found[[held.index(i) for i in fallen]]
        held = [i for i in held if i not in fallen]
    assert 0 < len(held) < 5
    own: Any = {"steps": 3, "loss": "margin", "generator": torch.Generator().manual_seed(1)}
    assert torch.equal(apgd_targeted(model, x, y, threat, targets=targets, **own), expected)


@pytest.mark.parametrize("confidence", [0.0, 0.3])
def test_cw_minimises_length_and_margin_by_adam_and_bisects_their_weight(problem, confidence):
    model, x, y = problem
    ends = []

    def one(x, y, _):
        best, c, low, high = x, 0.02, 0.0, None
        for _ in range(6):
            delta, found = torch.zeros_like(x).requires_grad_(), False
            adam = torch.optim.Adam([delta])
            for k in range(15):
                gap = margin(model((x + delta)[None])[0], y)
                length = delta.detach().norm()
                if gap > 0 and gap >= confidence:
                    found = True
                    if best is x or length < (best - x).norm():
                        best = (x + delta).detach()
                adam.param_groups[0]["lr"] = 0.05 * (1 - k / 15)
                adam.zero_grad()
                (delta.square().sum() + c * (confidence - gap).clamp(min=0)).backward()
                adam.step()
                with torch.no_grad():
                    delta.copy_((x + delta).clamp(0, 1) - x)
            low, high = (low, c) if found else (c, high)
            ends.append(found)
            c = 10 * c if high is None else (low + high) / 2
        return best

    found = cw(model, x, y, ThreatModel("l2", 1e6), steps=15, search_steps=6, initial_c=0.02, learning_rate=0.05,
               confidence=confidence)  # fmt: skip
    compare(found, one, problem)
    assert {True, False} == set(ends)


def test_cw_linf_is_pgd_on_the_margin_with_all_that_it_is_given(problem):
    model, x, y = problem
    threat = ThreatModel("linf", 0.02)
    given: Any = {"steps": 3, "step_size": 0.004, "restarts": 3}
    seeds = [torch.Generator().manual_seed(5) for _ in "abc"]
    first = cw_linf(model, x, y, threat, **given, generator=seeds[0])
    second = pgd(model, x, y, threat, **given, loss="margin", generator=seeds[1])
    assert torch.equal(first, second)
    assert not torch.equal(first, pgd(model, x, y, threat, **given, generator=seeds[2]))


@every_norm
def test_fab_steps_onto_the_nearest_linearised_boundary(problem, norm):
    model, x, y = problem
    wide = ThreatModel(norm, 1.0 if norm == "linf" else 1e6)

    def size(delta):
        return float(delta.abs().max() if norm == "linf" else delta.norm())

    def plane(now, y):
        planes = []
        for j in (j for j in range(4) if j != y):
            leaf = now.clone().requires_grad_()
            logits = model(leaf[None])[0]
            gap = logits[j] - logits[y]
            normal = torch.autograd.grad(gap, leaf)[0]
            planes.append(
                (abs(gap.item()) / float(normal.abs().sum() if norm == "linf" else normal.norm()), gap, normal)
            )
        return min(planes, key=lambda found: found[0])[1:]

    def way(start, gap, normal):
        return _onto(start[None], gap.detach()[None], normal[None], wide)[0]

    def one(x, y, _):
        now, best = x, None
        for _ in range(8):
            gap, normal = plane(now, y)
            step, clean = way(now, gap, normal), way(x, gap + (normal * (x - now)).sum(), normal)
            alpha = min(size(step) / max(size(step) + size(clean), 1e-12), 0.1)
            now = ((1 - alpha) * (now + 1.05 * step) + alpha * (x + 1.05 * clean)).clamp(0, 1)
            if wrong(model, now, y):
                best = now if best is None or size(now - x) < size(best - x) else best
                now = x + 0.9 * (now - x)
        return x if best is None else best

    compare(fab(model, x, y, wide, steps=8), one, problem)


@pytest.mark.parametrize(("targeted", "own", "other"), [(False, "margin", "ce"), (True, "ce", "margin")])
def test_square_climbs_the_papers_losses_by_default(problem, targeted, own, other):
    model, x, y = problem
    threat, y = ThreatModel("linf", 0.012, targeted), (y + 1) % 4 if targeted else y
    default, same, different = (square(model, x, y, threat, queries=40, loss=loss) for loss in (None, own, other))
    assert torch.equal(default, same)
    assert not torch.equal(default, different)
