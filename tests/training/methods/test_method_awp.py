"""Adversarial weight perturbation around a method."""

import copy

import pytest
import torch
from method_cases import ARGUMENTS, SMOOTHED, assert_same_state, batch, descend, made, network, train
from torch import nn

GAMMA = 0.02


def test_it_is_its_algorithm():
    model = network().train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    for step in range(3):
        now = batch(step)
        x_adv = made("pgd").attack(model, now)
        proxy = copy.deepcopy(model)
        SMOOTHED(proxy(x_adv), now.y).backward()
        own = [weight.detach().clone() for weight in model.parameters()]
        with torch.no_grad():
            for weight, other in zip(model.parameters(), proxy.parameters(), strict=True):
                if weight.dim() > 1:
                    weight += GAMMA * weight.norm() * other.grad / other.grad.norm()
        optimizer.zero_grad()
        SMOOTHED(model(x_adv), now.y).backward()
        with torch.no_grad():
            for weight, value in zip(model.parameters(), own, strict=True):
                weight.copy_(value)
        optimizer.step()
    assert_same_state(train(made("pgd", awp=GAMMA), network()), model)


def test_the_loss_that_is_climbed_has_the_noise_of_the_loss_that_is_trained():
    """FGSM-GA draws inside its loss: both passes are its own on a batch whose draws are fresh."""
    model, method = network().train(), made("fgsm_ga", lambda_=2.0)
    x_adv = method.attack(model, batch(1))
    proxy = copy.deepcopy(model)
    method.objective(proxy, x_adv, batch(1), SMOOTHED).backward()
    with torch.no_grad():
        for weight, other in zip(proxy.parameters(), model.parameters(), strict=True):
            if weight.dim() > 1:
                weight.add_(GAMMA * other.norm() * weight.grad / weight.grad.norm())
    expected = method.objective(proxy, x_adv, batch(1), SMOOTHED)
    around = made("fgsm_ga", awp=GAMMA, lambda_=2.0)
    torch.testing.assert_close(around.loss(model, batch(1), SMOOTHED), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_methods_loss_rises_and_its_weights_come_back_bit_for_bit(name):
    model = network().train()
    plain = made(name).loss(copy.deepcopy(model), batch(1), SMOOTHED)
    before = {key: t.clone() for key, t in model.state_dict().items()}
    method = made(name, awp=GAMMA)
    loss = method.loss(model, batch(1), SMOOTHED)
    perturbed = dict(model.named_parameters())
    assert loss > plain + 1e-3
    assert all(torch.equal(perturbed[key], before[key]) == (t.dim() < 2) for key, t in perturbed.items())
    loss.backward()
    method.after_backward(model)
    assert all(torch.equal(t, before[key]) for key, t in model.named_parameters())
    assert all(t.grad is not None and t.grad.isfinite().all() for t in model.parameters())


def test_running_statistics_move_once_a_step():
    model = network().train()
    made("standard", awp=GAMMA).loss(model, batch(), SMOOTHED)
    assert model[1].num_batches_tracked == 1
    other = network().train()
    other(batch().x)
    torch.testing.assert_close(model[1].running_mean, other[1].running_mean, rtol=0.1, atol=0.01)
    assert model[1].track_running_stats


def test_a_batchnorm_without_running_statistics_stays_without():
    model = network().train()
    model[1].track_running_stats = False
    made("standard", awp=GAMMA).loss(model, batch(), SMOOTHED)
    assert [model[1].track_running_stats, model[4].track_running_stats] == [False, True]


def test_what_is_frozen_or_unused_is_not_perturbed():
    model = network().train()
    model[0].weight.requires_grad_(False)
    model.append(nn.Identity())
    model[-1].unused = nn.Parameter(torch.ones(2, 2, dtype=torch.float64))
    before = {key: t.clone() for key, t in model.named_parameters()}
    made("pgd", awp=GAMMA).loss(model, batch(), SMOOTHED)
    moved = {key for key, t in model.named_parameters() if not torch.equal(t, before[key])}
    assert moved == {"3.weight", "8.weight"}
    assert torch.equal(model[-1].unused, torch.ones(2, 2))


def test_an_error_at_the_perturbed_weights_brings_them_back():
    model, calls = network().train(), []
    before = {key: t.clone() for key, t in model.named_parameters()}

    def criterion(logits, y):
        calls.append(not torch.equal(model[0].weight, before["0.weight"]))
        if len(calls) == 2:
            raise RuntimeError("out of memory")
        return SMOOTHED(logits, y)

    with pytest.raises(RuntimeError, match="out of memory"):
        made("standard", awp=GAMMA).loss(model, batch(), criterion)
    assert calls == [False, True]
    assert all(torch.equal(t, before[key]) for key, t in model.named_parameters())


def test_autocast_sees_the_perturbed_weights():
    """Its cache still holds the casts of the weights as they were."""
    model, now = network(dtype=torch.float32).train(), batch(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        losses = [
            made("standard", awp=gamma, dtype=torch.float32).loss(copy.deepcopy(model), now, SMOOTHED)
            for gamma in (0.0, 0.3)
        ]
    assert losses[1] > losses[0] + 0.1


def test_autocast_sees_the_own_weights_again():
    """Its cache still holds the casts of the perturbed ones."""
    model, now = network(dtype=torch.float32).train(), batch(dtype=torch.float32)
    method = made("standard", awp=0.3, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        method.loss(model, now, SMOOTHED).backward()
        method.after_backward(model)
        inside = model.eval()(now.x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(inside, model(now.x))


def test_optimizer_steps_from_the_own_weights():
    model = network().train()
    before = model[0].weight.detach().clone()
    method = made("pgd", awp=GAMMA)
    descend(
        model, method.loss(model, batch(), SMOOTHED), torch.optim.SGD(model.parameters(), 0.1),
        lambda: method.after_backward(model),
    )  # fmt: skip
    torch.testing.assert_close(model[0].weight, before - 0.1 * model[0].weight.grad, rtol=0, atol=1e-15)
