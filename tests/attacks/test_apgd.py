"""APGD's own rules, on models that say at each look what the test wrote down before: every rule has its turn."""

import pytest
import torch
from torch import nn

from sparta_hub import ThreatModel
from sparta_hub.attacks import apgd, pgd
from sparta_hub.attacks.apgd import checkpoints

IMAGES, STEPS, EPS = 100, 60, 0.004


class Scripted(nn.Module):
    """The first pixel of an image says which it is; the second one moves, up or down as ``slopes`` (looks, images) say.

    ``margins`` (looks, images) is what class 1 is ahead of class 0. ``places`` keeps where each image was looked at.
    """

    def __init__(self, margins, slopes):
        super().__init__()
        self.margins, self.slopes, self.places, self.look = margins, slopes, [[] for _ in range(IMAGES)], 0

    def forward(self, x):
        which, place = (x[:, 0, 0, 0] * IMAGES).long(), x[:, 0, 0, 1]
        for i, number in zip(which.tolist(), place.tolist(), strict=True):
            self.places[i].append(number)
        margin = self.margins[self.look, which] + self.slopes[self.look, which] * (place - place.detach())
        self.look += 1
        return torch.stack([torch.zeros_like(margin), margin], 1)


def walked(margins, slopes, x, start, reasons):
    """Algorithm 1 for one number: the places where it looks, and where it ends."""

    def project(place):
        return min(max(place, x - EPS), x + EPS)

    eta, before, now, places = 2 * EPS, start, start, [start]
    value, slope = margins[0], slopes[0]
    top, success = (value, slope, now), now if value > 0 else None
    rises, last, top_then, halved = 0, 0, value, False
    for k in range(1, STEPS + 1):
        ahead = project(now + eta * slope)
        point = ahead if k == 1 else project(now + 0.75 * (ahead - now) + 0.25 * (now - before))
        before, now = now, point
        places.append(now)
        rises += margins[k] > value
        value, slope = margins[k], slopes[k]
        top = (value, slope, now) if value > top[0] else top
        success = now if value > 0 else success
        if k in checkpoints(STEPS) or k == STEPS:
            if success is not None:
                return places, success
            rarely, flat = rises < 0.75 * (k - last), top[0] == top_then
            reasons.add((rarely, flat, halved))
            halved = rarely or (flat and not halved)
            if halved:
                eta, (value, slope, now) = eta / 2, top
            rises, last, top_then = 0, k, top[0]
    return places, top[2]


def test_every_look_and_every_end_are_those_of_algorithm_1():
    """Margins rise by little and seldom fall by much, so that many a period climbs and does not come to the top."""
    script = torch.Generator().manual_seed(1)
    shape = (STEPS + 1, IMAGES)
    falls = torch.rand(shape, generator=script) < 0.12
    margins = torch.where(falls, -3.0, 0.5 * torch.rand(shape, generator=script)).double().cumsum(0) - 50
    for i in range(0, IMAGES, 5):  # these fall at one look, less so at a later one, and recover
        first, second = sorted(torch.randperm(STEPS + 1, generator=script)[:2].tolist())
        margins[first, i], margins[second, i] = 2, 1
    slopes = torch.randint(2, shape, generator=script).double() * 2 - 1
    assert margins[:, 1::5].max() < 0
    model, threat = Scripted(margins, slopes), ThreatModel("linf", EPS)
    x = torch.full((IMAGES, 1, 1, 2), 0.5, dtype=torch.float64)
    x[:, 0, 0, 0] = (torch.arange(IMAGES) + 0.5) / IMAGES
    y = torch.zeros(IMAGES, dtype=torch.int64)
    starts = threat.random_start(x, torch.Generator().manual_seed(3))
    ends = apgd(model, x, y, threat, steps=STEPS, loss="margin", generator=torch.Generator().manual_seed(3))
    reasons = set()
    for i in range(IMAGES):
        places, end = walked(margins[:, i].tolist(), slopes[:, i].tolist(), 0.5, float(starts[i, 0, 0, 1]), reasons)
        assert model.places[i] == pytest.approx(places, rel=0, abs=1e-12)
        assert float(ends[i, 0, 0, 1]) == pytest.approx(end, rel=0, abs=1e-12)
    assert len(reasons) == 8  # every case of: rose too rarely, no better top, halved at the checkpoint before


class Aside(nn.Module):
    """Class 1 where the first pixel is above 0.4, else class 0; class 2 never, and how likely it is the second decides.

    And the first one, in a way that has no slope: starts differ in the prediction and, otherwise, in the loss.
    """

    def forward(self, x):
        first, second = x[:, 0, 0, 0].detach(), x[:, 0, 0, 1]
        bright = (first > 0.4).to(x.dtype)
        return torch.stack([-bright, bright - 1, second + torch.sin(1000 * first) - 5], 1)


@pytest.mark.parametrize("attack", [pgd, apgd])
def test_of_targeted_starts_one_that_changes_the_prediction_counts_more_than_a_larger_loss(attack):
    model, x, threat = Aside(), torch.full((64, 1, 1, 2), 0.39, dtype=torch.float64), ThreatModel("linf", 0.02, True)
    wanted = torch.full((64,), 2)
    one_after_another, at_once = (torch.Generator().manual_seed(5) for _ in "ab")
    ends = torch.stack([attack(model, x, wanted, threat, steps=2, generator=one_after_another) for _ in range(4)])
    logits = torch.stack([model(end) for end in ends])
    changed, losses = (logits.argmax(2) == 1).tolist(), logits.log_softmax(2)[:, :, 2].tolist()
    best = [max(range(4), key=lambda k: (changed[k][i], losses[k][i])) for i in range(64)]
    assert best != [max(range(4), key=lambda k: losses[k][i]) for i in range(64)]
    assert best != [max(range(4), key=lambda k: changed[k][i]) for i in range(64)]
    kept = attack(model, x, wanted, threat, steps=2, restarts=4, generator=at_once)
    assert torch.equal(kept, torch.stack([ends[k, i] for i, k in enumerate(best)]))


class Level(nn.Module):
    """No slope, so an attack ends where it began: class 0 is just ahead in the dark, and in the light, where its share
    of the probability is larger and so the loss smaller, just behind."""

    def forward(self, x):
        shares = torch.tensor([[0.4, 0.3, 0.3], [0.45, 0.5, 0.05]], dtype=x.dtype)
        return shares.log()[(x[:, 0, 0, 0] > 0.5).long()] + 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("attack", [pgd, apgd])
def test_of_starts_one_that_reaches_the_aim_counts_more_than_a_larger_loss(attack):
    model, x, y = Level(), torch.full((64, 1, 1, 1), 0.5), torch.zeros(64, dtype=torch.long)
    once, twice = (
        attack(
            model,
            x,
            y,
            ThreatModel("linf", 0.1),
            steps=2,
            restarts=restarts,
            generator=torch.Generator().manual_seed(0),
        )
        for restarts in (1, 2)
    )
    first, second = (model(x_adv).argmax(1) == 1 for x_adv in (once, twice))
    assert 16 < first.sum() < 48
    assert 36 < second.sum() < 60
    assert second[first].all()
