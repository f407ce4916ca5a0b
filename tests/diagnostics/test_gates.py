"""Attacks that take gates as constants, against loops written out; the activation is left as found."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparta_hub.activations import spatial_attention
from sparta_hub.diagnostics._gates import gate_detached, gate_frozen, gates
from sparta_hub.surgery import disabled
from tests.diagnostics.networks import THREAT, made, network

STEPS = 4


def literal_pgd(logits, x, y):
    """PGD as ``pgd`` has it by default, of a function x -> logits."""
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(3))
    x_adv = (x + (2 * noise - 1) * THREAT.eps).clamp(0, 1)
    for _ in range(STEPS):
        x_adv = x_adv.detach().requires_grad_()
        gradient = torch.autograd.grad(F.cross_entropy(logits(x_adv), y, reduction="sum"), x_adv)[0]
        step = x_adv + 2.5 * THREAT.eps / STEPS * gradient.sign()
        x_adv = (x + (step - x).clamp(-THREAT.eps, THREAT.eps)).clamp(0, 1)
    return x_adv.detach()


@pytest.fixture
def batch(images):
    return images.floats(slice(6)), images.y[:6]


def run(attack, model, x, y):
    return attack(model, x, y, THREAT, steps=STEPS, generator=torch.Generator().manual_seed(3))


def test_the_gate_is_a_constant_of_each_step(gated, batch):
    x, y = batch
    start, place, end = gated[:4], gated[4].activation, gated[5:]

    def logits(x):
        maps = start(x)
        with torch.no_grad():
            gate = place.gate(maps)
        return end(F.relu(maps) * gate)

    expected = literal_pgd(logits, x, y)
    assert torch.equal(run(gate_detached, gated, x, y), expected)
    assert not torch.equal(literal_pgd(gated, x, y), expected)  # the gate's own gradient matters


def test_the_gate_is_that_of_the_clean_images(gated, batch):
    x, y = batch
    start, place, end = gated[:4], gated[4].activation, gated[5:]
    with torch.no_grad():
        gate = place.gate(start(x))
    expected = literal_pgd(lambda x: end(F.relu(start(x)) * gate), x, y)
    assert torch.equal(run(gate_frozen, gated, x, y), expected)
    assert not torch.equal(run(gate_detached, gated, x, y), expected)


def test_the_gate_of_dynamic_relu_c_is_its_lines_and_its_attention(batch):
    x, y = batch
    model: Any = network("dynamic_relu_c").eval()
    start, place, end = model[:4], model[4].activation, model[5:]
    with torch.no_grad():
        for weight in (place.predict.weight, place.score.weight):
            weight.normal_()

    def attention(maps):
        return spatial_attention(place.score(maps), place.temperature)

    def logits(x, attention):
        maps = start(x)
        with torch.no_grad():
            theta = 2 * torch.sigmoid(place.predict(F.relu(place.squeeze(maps.mean((2, 3)))))) - 1
            a1, a2, b1, b2 = (part[:, :, None, None] for part in theta.view(len(x), 4, 32).unbind(1))
        return end(
            torch.maximum(torch.addcmul(b1 / 2, 1 + a1, maps), torch.addcmul(b2 / 2, a2, maps)) * attention(maps)
        )

    expected = literal_pgd(lambda x: logits(x, torch.no_grad()(attention)), x, y)
    assert torch.equal(run(gate_detached, model, x, y), expected)
    assert not torch.equal(literal_pgd(lambda x: logits(x, attention), x, y), expected)  # its own gradient matters


@pytest.mark.parametrize("attack", [gate_detached, gate_frozen])
@pytest.mark.parametrize("family", ["sparta", "cbam_gated_relu", "dynamic_relu_c"])
def test_every_gated_family_is_seen_and_left_as_found(attack, family, batch):
    x, y = batch
    model = made(family, steps=2, adversarial=False)
    (place,) = gates(model)
    before = dict(vars(place))
    run(attack, model, x, y)
    assert vars(place) == before
    with pytest.raises(ZeroDivisionError):
        run(attack, nn.Sequential(model, Failing()), x, y)
    assert vars(place) == before


class Failing(nn.Module):
    """Fails at the first gradient step, not in the pass that looks at clean gates."""

    def forward(self, x):
        if torch.is_grad_enabled():
            raise ZeroDivisionError
        return x


def test_activations_without_a_gate_or_switched_off_do_not_count(gated):
    assert gates(made("relu", steps=0, adversarial=False)) == {}
    assert gates(made("silu", steps=0, adversarial=False)) == {}
    with disabled(gated):
        assert gates(gated) == {}
    assert gates(gated) != {}
