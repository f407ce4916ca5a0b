"""Methods by name: arguments, seeds, and what is refused."""

import inspect
import math

import pytest
import torch
from method_cases import ARGUMENTS, SMOOTHED, batch, made, network

from sparta_hub import ThreatModel
from sparta_hub.errors import SpartaError
from training.methods import METHODS, build_method


def test_every_method_is_tested_here():
    assert list(METHODS) == [*ARGUMENTS]


def test_initial_weights_come_from_the_seed_and_the_global_state_stays():
    state = torch.get_rng_state()
    a, b, c = (build_method("fgsm_sdi", {}, awp=0.01, seed=seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    key = "method.generator.enter.0.weight"
    assert torch.equal(a[key], b[key])
    assert not torch.equal(a[key], c[key])


def test_a_wrapper_says_what_its_method_is():
    assert build_method("free", {"replays": 3}, awp=0.01, seed=0).replays == 3
    assert build_method("fgsm_ga", {}, awp=0.01, seed=0).differentiates_twice


@pytest.mark.parametrize(
    ("name", "arguments", "awp", "message"),
    [
        ("pdg", {}, 0, "There is no training method 'pdg'; the methods are standard, pgd, free, fgsm_rs, fgsm_ga, "),
        ("pgd", {"stps": 3, "a": 1}, 0, "pgd has no argument a, stps; its arguments are: steps, step_size, "),
        ("standard", {"steps": 3}, 0, "standard has no argument steps; its arguments are: none."),
        ("pgd", {"random_start": "off"}, 0, "random_start is 'off'; expected true or false"),
        ("pgd", {"steps": 0}, 0, "pgd cannot be made with {'steps': 0}, awp 0: steps is 0; expected an integer from"),
        ("pgd", {"steps": 2.5}, 0, "steps is 2.5; expected an integer from 1 on."),
        ("trades", {"beta": -1.0}, 0, "beta is -1.0; expected a finite number from 0 on."),
        ("trades", {"beta": "six"}, 0, "trades cannot be made with {'beta': 'six'}"),
        ("pgd", {"mode": "test"}, 0, "mode is 'test'; expected 'eval' or 'train'."),
        ("pgd", {}, -0.1, "gamma is -0.1; expected a finite number from 0 on."),
    ],
)
def test_what_cannot_be_made_says_why(name, arguments, awp, message):
    with pytest.raises(SpartaError) as error:
        build_method(name, arguments, awp=awp, seed=0)
    assert message in str(error.value)


def arguments_of(kind):
    return [
        (name, p.name)
        for name, method in METHODS.items()
        for p in inspect.signature(method).parameters.values()
        if type(p.default) is kind
    ]


@pytest.mark.parametrize(
    ("name", "argument", "value", "expected"),
    [
        *((*known, 0, "an integer from 1 on") for known in arguments_of(int)),
        *((*known, value, "a finite number from 0 on")
          for known in arguments_of(float) for value in (-0.1, math.inf, math.nan)),
    ],
)  # fmt: skip
def test_every_number_of_every_method_is_looked_at(name, argument, value, expected):
    with pytest.raises(SpartaError, match=f"{argument} is {value}; expected {expected}"):
        build_method(name, {argument: value}, awp=0, seed=0)


@pytest.mark.parametrize("name", [name for name in ARGUMENTS if name not in ("standard", "pgd")])
def test_a_targeted_threat_is_refused_where_there_is_no_such_form(name):
    threat = ThreatModel(targeted=True)
    with pytest.raises(SpartaError, match="has no targeted form and the threat is Linf 8/255 targeted; expected an un"):
        made(name, awp=0.01).loss(network(), batch(0, threat), SMOOTHED)
