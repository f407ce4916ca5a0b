"""What methods remember survives a checkpoint, and several processes are as one."""

import copy

import pytest
import torch
import torch.distributed as dist
from method_cases import LINF, SMOOTHED, batch, made, network, train
from safetensors.torch import load, save
from torch import nn

from sparta_hub.processes import leave_processes
from tests.processes import together


@pytest.mark.parametrize(("name", "awp"), [("free", 0.0), ("free", 0.01), ("fgsm_sdi", 0.0), ("fgsm_sdi", 0.01)])
def test_a_checkpoint_goes_on_to_the_same_bits(name, awp):
    def optimizer(model):
        return torch.optim.SGD(model.parameters(), 0.1)  # no momentum: nothing else to remember

    method, model = made(name, awp=awp), network()
    train(method, model, steps=3, optimizer=optimizer(model))  # within a batch's replays, and between two updates of g
    bytes_ = save({key: tensor.contiguous() for key, tensor in method.state_dict().items()})
    other, twin = made(name, awp=awp), copy.deepcopy(model)
    fresh = copy.deepcopy(other)
    other.load_state_dict(load(bytes_))
    for either, its in ((method, model), (other, twin)):
        train(either, its, first=3, steps=6, optimizer=optimizer(its))
    assert all(torch.equal(t, twin.state_dict()[key]) for key, t in model.state_dict().items())
    assert all(torch.equal(t, other.state_dict()[key]) for key, t in method.state_dict().items())
    train(fresh, forgetful := network(), steps=3, optimizer=optimizer(forgetful))
    fresh.load_state_dict(made(name, awp=awp).state_dict())
    train(fresh, forgetful, first=3, steps=6, optimizer=optimizer(forgetful))
    assert not torch.equal(forgetful[0].weight, model[0].weight)  # so what is remembered matters


def test_free_starts_again_when_the_batch_has_another_shape():
    method, model = made("free"), network()
    train(method, model, steps=2)
    assert method.delta.abs().max() > 0
    smaller = batch(size=4)
    assert torch.equal(method.attack(model, smaller), smaller.x)


def without_batchnorm():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(144, 5)).double()


def perturbed(rows):
    """The weights that AWP takes the gradient at."""
    model = without_batchnorm()
    made("pgd", awp=0.1).loss(model, batch(0, LINF, rows=rows), SMOOTHED)
    return [weight.detach() for weight in model.parameters()]


def share(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(perturbed(slice(3 * rank, 3 * rank + 3)), f"{folder}/{rank}")
    leave_processes()


def test_two_processes_perturb_weights_as_one_does(tmp_path):
    together(share, str(tmp_path))
    for rank in range(2):
        for own, whole in zip(torch.load(tmp_path / str(rank)), perturbed(slice(None)), strict=True):
            torch.testing.assert_close(own, whole, rtol=1e-6, atol=1e-7)  # the gradients travel as float32
