"""Every check of the contract fails on a module that breaks it, and passes on one that does not."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from contract import CHANNELS, CHECKS, randomise
from torch import Tensor, nn
from torch._dynamo.exc import Unsupported
from torch.autograd.gradcheck import GradcheckError


class Planted(nn.Module):
    """``relu(weight * x)`` with a fault behind it."""

    def __init__(self, fault: Callable[["Planted", Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(CHANNELS, 1, 1))
        self.outside = torch.rand(())
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        return self.fault(self, x, F.relu(self.weight * x))


class ForgetsOnCopy(Planted):
    def __deepcopy__(self, memo: dict) -> "ForgetsOnCopy":
        return ForgetsOnCopy(self.fault)


def good(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y


def in_place(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y + 0 * x.detach().relu_()


def mixes_samples(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return F.batch_norm(y, None, None, training=True)


def casts_inside(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y.to(torch.float16).to(y.dtype) ** 2


def casts_output(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y.float()


def crops(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y[:, :, 1:]


def overflows(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y.exp()


def nan_in_gradient(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y + torch.where(x > 0, x.sqrt(), 0)


def wrong_gradient(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y + (x * x).detach()


def needs_an_image(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y * (1 + x[0].numel())


def noisy(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y + torch.rand_like(y)


def reads_storage(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y + x.as_strided(x.shape, torch.empty(x.shape).stride()).detach()


def state_outside(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y + module.outside


def branches_on_data(module: Planted, x: Tensor, y: Tensor) -> Tensor:
    return y if x.sum() > 0 else 2 * y


FAULTS = [
    ("input_untouched", in_place, AssertionError),
    ("samples_independent", mixes_samples, AssertionError),
    ("gradient", casts_inside, GradcheckError),
    ("gradient", wrong_gradient, GradcheckError),
    ("shape_and_dtype", casts_output, AssertionError),
    ("shape_and_dtype", crops, AssertionError),
    ("finite", overflows, AssertionError),
    ("finite", nan_in_gradient, AssertionError),
    ("empty_batch", needs_an_image, IndexError),
    ("deterministic", noisy, AssertionError),
    ("memory_format", reads_storage, AssertionError),
    ("state_dict", state_outside, AssertionError),
    ("safetensors", state_outside, AssertionError),
    ("compiles", branches_on_data, Unsupported),
]


@pytest.mark.parametrize(("check", "fault", "error"), FAULTS, ids=[f"{c}-{f.__name__}" for c, f, _ in FAULTS])
def test_caught(check: str, fault: Callable, error: type[Exception]):
    module, twin = randomise(Planted(fault)), Planted(fault)
    with pytest.raises(error):
        CHECKS[check](module, twin)


def test_forgetful_copy_is_caught():
    with pytest.raises(AssertionError):
        CHECKS["deepcopy"](randomise(ForgetsOnCopy(good)), ForgetsOnCopy(good))


@pytest.mark.parametrize("check", CHECKS)
def test_a_good_module_passes(check: str):
    CHECKS[check](randomise(Planted(good)), Planted(good))


def test_every_check_has_a_fault():
    assert {check for check, _, _ in FAULTS} | {"deepcopy"} == set(CHECKS)
