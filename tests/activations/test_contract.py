"""The contract, for every family and for SPARTA's variants."""

import pytest
import torch
from contract import CHANNELS, CHECKS, Check, check_gradient, randomise
from torch import nn
from torch.autograd.gradcheck import GradcheckError

from sparta_hub.activations import FAMILIES, build

CASES = {name: (name, {}) for name in FAMILIES} | {
    "sparta-k3": ("sparta", {"kernel_size": 3}),
    "sparta-static": ("sparta", {"dynamic": False}),
    "sparta-n2": ("sparta", {"neighborhood": 2}),
    "sparta-n4": ("sparta", {"neighborhood": 4}),
    "feature_denoising-dot": ("feature_denoising", {"operation": "dot"}),
    "feature_denoising-mean": ("feature_denoising", {"operation": "mean"}),
    "feature_denoising-median": ("feature_denoising", {"operation": "median"}),
}
NOT_A_DERIVATIVE = {"relu_smooth_backward"}  # on purpose: its gradient is another function's


def make(case: str) -> nn.Module:
    torch.manual_seed(0)
    family, arguments = CASES[case]
    return build(family, CHANNELS, arguments)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("case", CASES)
def test_contract(case: str, check: Check):
    module, twin = randomise(make(case)), make(case)
    if check is check_gradient and case in NOT_A_DERIVATIVE:
        with pytest.raises(GradcheckError):
            check(module, twin)
    else:
        check(module, twin)


@pytest.mark.parametrize("name", FAMILIES)
def test_defaults_are_the_defaults(name: str):
    torch.manual_seed(0)
    plain = build(name, CHANNELS)
    torch.manual_seed(0)
    spelled_out = build(name, CHANNELS, FAMILIES[name].defaults)
    x = torch.randn(2, CHANNELS, 4, 4)
    assert torch.equal(plain.eval()(x), spelled_out.eval()(x))
    assert FAMILIES[name].source
