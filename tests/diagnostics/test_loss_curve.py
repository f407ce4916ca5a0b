"""The loss of the attacker, step by step, against a loop written out."""

import pytest
import torch
import torch.nn.functional as F

from sparta_hub import ThreatModel
from sparta_hub.attacks import pgd
from sparta_hub.diagnostics import attack_loss_curve
from sparta_hub.errors import AttackError
from tests.diagnostics.networks import THREAT


@pytest.fixture
def batch(images):
    return images.floats(slice(10)), images.y[:10]


@pytest.mark.parametrize("targeted", [False, True])
def test_a_literal_loop_gives_the_same_curve(robust, batch, targeted):
    x, y = batch
    y, sign = ((y + 1) % 10, -1) if targeted else (y, 1)
    threat = ThreatModel("linf", 8 / 255, targeted=targeted)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(4))
    x_adv = (x + (2 * noise - 1) * threat.eps).clamp(0, 1)
    rows = []
    for k in range(6):
        x_adv = x_adv.detach().requires_grad_()
        losses = F.cross_entropy(robust(x_adv), y, reduction="none")
        rows.append(losses.detach())
        if k < 5:
            step = x_adv + sign * 2 / 255 * torch.autograd.grad(losses.sum(), x_adv)[0].sign()
            x_adv = (x + (step - x).clamp(-threat.eps, threat.eps)).clamp(0, 1)
    expected = torch.stack(rows).double()
    curve = attack_loss_curve(
        robust, x, y, threat, steps=5, step_size=2 / 255, generator=torch.Generator().manual_seed(4)
    )
    assert curve.images == 10
    assert torch.tensor(curve.mean) == pytest.approx(expected.mean(1))
    assert torch.tensor(curve.std) == pytest.approx(expected.std(1, correction=0))
    assert (curve.mean[-1] < curve.mean[0]) is targeted  # towards a wanted class its loss falls


def test_batches_share_the_work_without_a_trace(robust, batch):
    x, y = batch
    whole = attack_loss_curve(robust, x, y, THREAT, steps=3, random_start=False)
    parts = attack_loss_curve(robust, x, y, THREAT, steps=3, random_start=False, batch_size=4)
    assert parts.mean == pytest.approx(whole.mean)
    assert parts.std == pytest.approx(whole.std)


def test_watching_changes_nothing(robust, batch):
    x, y = batch
    seen = []
    watched = pgd(robust, x, y, THREAT, steps=3, restarts=2, watch=lambda k, value: seen.append((k, len(value))))
    assert torch.equal(watched, pgd(robust, x, y, THREAT, steps=3, restarts=2))
    assert [k for k, _ in seen] == [0, 1, 2, 0, 1, 2]
    assert seen[0][1] == 10 >= seen[3][1]


def test_nothing_to_draw(robust, batch):
    x, y = batch
    with pytest.raises(AttackError, match="the threat is Linf 0/255; expected images, and a radius above 0"):
        attack_loss_curve(robust, x, y, ThreatModel("linf", 0.0))
    with pytest.raises(AttackError, match="There are 0 images"):
        attack_loss_curve(robust, x[:0], y[:0], THREAT)
    with pytest.raises(AttackError, match="steps is 0; expected 1 or more"):
        attack_loss_curve(robust, x, y, THREAT, steps=0)


def test_a_class_for_every_image(robust, batch):
    x, y = batch
    with pytest.raises(AttackError, match=r"x is torch.float32 \(10, .*\) and y \(9,\); expected floats"):
        attack_loss_curve(robust, x, y[:-1], THREAT, batch_size=4)
