"""Every method with every activation family, and with frozen activations in a timm host."""

import pytest
import timm
import torch
from method_cases import ARGUMENTS, SMOOTHED, batch, made, network, train

import sparta_hub
from sparta_hub.activations import FAMILIES, build


@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_trains_every_family(family):
    for name in ARGUMENTS:
        model = network(lambda: build(family, 8), dtype=torch.float32).train()
        method = made(name, dtype=torch.float32)
        loss = method.loss(model, batch(dtype=torch.float32), SMOOTHED)
        loss.backward()
        assert loss.isfinite(), name
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters()), name


@pytest.mark.parametrize("name", ARGUMENTS)
def test_frozen_activations_stand_still(name):
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=5)
    sparta_hub.inject(model, "sparta", arguments={"hidden": 8}, frozen=True)
    own = sparta_hub.surgery.state_of(model)
    before = {key: t.clone() for key, t in own.items()}
    weight = model.get_parameter("conv1.0.weight").detach().clone()
    train(made(name, awp=0.01, dtype=torch.float64), model.double(), steps=1)
    after = sparta_hub.surgery.state_of(model)
    assert all(torch.equal(after[key].to(t.dtype), t) for key, t in before.items())
    assert not torch.equal(model.get_parameter("conv1.0.weight"), weight.double())
    assert all(module.training is False for module in _activations(model))


def _activations(model):
    return [module.activation for module in sparta_hub.surgery.injected(model).values()]
