"""Closed forms at given points, starting values, sizes, and the switch of smooth adversarial training."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from contract import randomise
from torch import Tensor, nn

from sparta_hub.activations import (
    FAMILIES,
    ReluSmoothBackward,
    SmoothRelu,
    attacker_pass,
    build,
    dot_means,
    dynamic_relu_b,
    find_family,
    local_means,
    local_medians,
    softmax_means,
    spatial_attention,
)
from sparta_hub.activations._gated_relu import sparta_size
from sparta_hub.errors import SpecError

STAGES = (64, 128, 256, 512)
SPARTA = 811_528
POINTS = (-2.0, -0.3, 0.05, 0.7, 3.0)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def normal_cdf(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def normal_pdf(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


CLOSED_FORMS = {  # family: value and derivative at x
    "relu": (lambda x: max(x, 0), lambda x: float(x > 0)),
    "leaky_relu": (lambda x: max(x, 0.01 * x), lambda x: 1 if x > 0 else 0.01),
    "prelu": (lambda x: max(x, 0.25 * x), lambda x: 1 if x > 0 else 0.25),
    "elu": (lambda x: x if x > 0 else math.expm1(x), lambda x: 1 if x > 0 else math.exp(x)),
    "celu": (lambda x: x if x > 0 else math.expm1(x), lambda x: 1 if x > 0 else math.exp(x)),
    "gelu": (lambda x: x * normal_cdf(x), lambda x: normal_cdf(x) + x * normal_pdf(x)),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
    "softplus": (lambda x: math.log1p(math.exp(x)), sigmoid),
    "parametric_softplus": (lambda x: math.log1p(math.exp(10 * x)) / 10, lambda x: sigmoid(10 * x)),
    "swish_relu": (
        lambda x: max(x, 0) * sigmoid(x),
        lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))) if x > 0 else 0,
    ),
    "smooth_relu": (
        lambda x: x - math.log(400 * x + 1) / 400 if x >= 0 else 0,
        lambda x: 400 * x / (1 + 400 * x) if x >= 0 else 0,
    ),
    "relu_smooth_backward": (lambda x: max(x, 0), lambda x: sigmoid(10 * x)),
}


def test_every_elementwise_family_has_a_closed_form():
    assert {name for name, family in FAMILIES.items() if not family.per_channel} | {"prelu"} == set(CLOSED_FORMS)


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_form(name: str):
    value, derivative = CLOSED_FORMS[name]
    x = torch.tensor(POINTS, dtype=torch.float64).view(1, 1, 1, -1).requires_grad_()
    y = build(name, 1).double()(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    expected = torch.tensor([[value(p) for p in POINTS], [derivative(p) for p in POINTS]], dtype=torch.float64)
    torch.testing.assert_close(y.flatten(), expected[0], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(gradient.flatten(), expected[1], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["feature_denoising", "dynamic_relu_b", "maxout", "relu_smooth_backward"])
@pytest.mark.parametrize("training", [True, False])
def test_starts_as_relu(name: str, training: bool):
    x = torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(build(name, 6).train(training)(x), F.relu(x))


def test_dynamic_relu_c_starts_as_relu_under_even_attention():
    x = torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(build("dynamic_relu_c", 6)(x), F.relu(x) / 3)


@pytest.mark.parametrize(("name", "scale"), [("maxout", 1), ("dynamic_relu_b", 1), ("dynamic_relu_c", 1 / 3)])
def test_pieces_beyond_the_second_begin_near_relu_and_part_from_each_other(name: str, scale: float):
    torch.manual_seed(0)
    module, x, wanted = build(name, 6, {"pieces": 4}), torch.randn(8, 6, 5, 4), torch.randn(8, 6, 5, 4)
    torch.testing.assert_close(module(x), scale * F.relu(x), rtol=0, atol=0.02)
    optimizer = torch.optim.SGD(module.parameters(), 0.5)
    for _ in range(5):
        optimizer.zero_grad()
        (module(x) - wanted).square().mean().backward()
        optimizer.step()
    pieces = (1, 4, 36) if name == "maxout" else (2, 4, 6)
    weights = module.get_parameter("conv.weight" if name == "maxout" else "predict.weight").view(pieces)
    for i, j in ((1, 2), (1, 3), (2, 3)):
        assert not torch.equal(weights[:, i], weights[:, j])


@pytest.mark.parametrize("name", ["maxout", "dynamic_relu_b", "dynamic_relu_c"])
def test_two_pieces_begin_at_zero_and_draw_nothing_for_it(name: str):
    torch.manual_seed(0)
    module, after = build(name, 6), torch.rand(())
    last = module.get_parameter("conv.weight")[6:] if name == "maxout" else module.get_parameter("predict.weight")
    assert not last.any()
    torch.manual_seed(0)
    if name == "maxout":
        torch.nn.Conv2d(6, 12, 1)
    else:
        torch.nn.Linear(6, 1)
        torch.nn.Linear(1, 24)
    if name == "dynamic_relu_c":
        torch.nn.Conv2d(6, 1, 1)
    assert after == torch.rand(())  # the host of a twin is drawn as before


@pytest.mark.parametrize("name", ["feature_denoising", "dynamic_relu_b", "dynamic_relu_c", "maxout"])
def test_the_zero_start_can_be_left(name: str):
    module, x = build(name, 6), torch.randn(2, 6, 5, 4)
    (module(x) * torch.randn(2, 6, 5, 4)).sum().backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def parameters(name: str) -> int:
    return sum(p.numel() for channels in STAGES for p in build(name, channels).parameters())


def test_sizes_on_resnet18():
    assert parameters("sparta") == SPARTA
    assert parameters("feature_denoising") == pytest.approx(0.70e6, rel=0.01)
    assert parameters("se_gated_relu") == pytest.approx(SPARTA, rel=0.05)
    assert parameters("cbam_gated_relu") == pytest.approx(SPARTA, rel=0.05)
    assert parameters("prelu") == sum(STAGES)
    assert parameters("smooth_relu") == len(STAGES)


@pytest.mark.parametrize("channels", [8, 64, 512, 1024])
def test_gates_match_sparta_at_every_site(channels: int):
    expected = sum(p.numel() for p in build("sparta", channels).parameters())
    assert sparta_size(channels) == expected
    for name in ("se_gated_relu", "cbam_gated_relu"):
        assert sum(p.numel() for p in build(name, channels).parameters()) == pytest.approx(expected, rel=0.05)


def test_dynamic_relu_is_the_largest_line():
    module = dynamic_relu_b(8)
    randomise(module)
    x = torch.randn(2, 8, 3, 3)
    hidden = (x.mean((2, 3)) @ module.squeeze.weight.T + module.squeeze.bias).clamp(min=0)
    theta = 2 * torch.sigmoid(hidden @ module.predict.weight.T + module.predict.bias) - 1
    a1, a2, b1, b2 = (part[:, :, None, None] for part in theta.view(2, 4, 8).unbind(1))
    torch.testing.assert_close(module(x), torch.maximum((1 + a1) * x + b1 / 2, a2 * x + b2 / 2))


def test_spatial_attention_is_cut_at_one():
    scores = torch.zeros(1, 1, 3, 3)
    scores[..., 1, 1] = 1000
    attention = spatial_attention(scores)
    assert attention[0, 0, 1, 1] == 1
    assert attention.sum() == pytest.approx(1)
    torch.testing.assert_close(spatial_attention(torch.ones(2, 1, 4, 5)), torch.full((2, 1, 4, 5), 1 / 3))


def test_denoising_operations():
    x, theta, phi = torch.rand(2, 3, 4, 5), torch.randn(2, 2, 4, 5), torch.randn(2, 2, 4, 5)
    flat = x.flatten(2)
    softmax, dot = torch.zeros_like(flat), torch.zeros_like(flat)
    for i in range(20):
        scores = (theta.flatten(2)[:, :, i, None] * phi.flatten(2)).sum(1) / math.sqrt(2)
        weights = scores.exp() / scores.exp().sum(1, keepdim=True)
        softmax[:, :, i] = (weights[:, None] * flat).sum(2)
        dot[:, :, i] = ((flat[:, :, i, None] * flat).sum(1)[:, None] * flat).sum(2) / 20
    torch.testing.assert_close(softmax_means(x, theta, phi).flatten(2), softmax)
    torch.testing.assert_close(dot_means(x).flatten(2), dot)
    assert local_means(x)[0, 0, 1, 2].item() == pytest.approx(x[0, 0, 0:3, 1:4].mean().item())
    assert local_means(x)[0, 0, 0, 0].item() == pytest.approx(x[0, 0, :2, :2].mean().item())
    assert local_medians(x)[0, 0, 1, 2].item() == x[0, 0, 0:3, 1:4].median().item()


def gradient(module: torch.nn.Module, x: float = 0.1) -> float:
    value = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = module(value)
    assert y.item() == max(x, 0)
    return torch.autograd.grad(y, value)[0].item()


@pytest.mark.parametrize(
    ("smooth", "attacker_smooth", "optimizer_smooth"),
    [("both", True, True), ("attacker", True, False), ("optimizer", False, True)],
)
def test_switch_of_smooth_adversarial_training(smooth: str, attacker_smooth: bool, optimizer_smooth: bool):
    module = build("relu_smooth_backward", arguments={"smooth": smooth})
    model, other = torch.nn.Sequential(module), build("relu_smooth_backward", arguments={"smooth": smooth})
    expected = {True: pytest.approx(sigmoid(1.0)), False: 1.0}
    assert gradient(model) == expected[optimizer_smooth]
    with attacker_pass(model) as same:
        assert same is model
        assert gradient(model) == expected[attacker_smooth]
        assert gradient(other) == expected[optimizer_smooth]
        with attacker_pass(model):
            assert gradient(model) == expected[attacker_smooth]
        assert gradient(model) == expected[attacker_smooth]
    assert gradient(model) == expected[optimizer_smooth]


def test_switch_is_put_back_after_an_error():
    model = torch.nn.Sequential(ReluSmoothBackward(smooth="attacker"))
    with pytest.raises(KeyError), attacker_pass(model):
        raise KeyError
    assert gradient(model) == 1


def test_switch_belongs_to_the_forward_pass():
    model = ReluSmoothBackward(smooth="attacker")
    x = torch.tensor(0.1, requires_grad=True)
    with attacker_pass(model):
        y = model(x)
    assert torch.autograd.grad(y, x)[0].item() == pytest.approx(sigmoid(1.0))


def test_smooth_backward_has_a_second_derivative():
    x = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(ReluSmoothBackward()(x), x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    assert second.item() == pytest.approx(10 * sigmoid(1) * (1 - sigmoid(1)))


def test_smooth_relu_at_the_ends():
    module = SmoothRelu()
    assert module.alpha.item() == pytest.approx(400)
    x = torch.tensor([-1e4, 0, 1e4], requires_grad=True)
    y = module(x)
    first: Tensor = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
    assert y.tolist() == pytest.approx([0, 0, 1e4], rel=1e-3)
    assert first.tolist() == pytest.approx([0, 0, 1], rel=1e-3)
    assert torch.autograd.grad(y.sum(), module.root)[0].isfinite().all()
    with torch.no_grad():
        module.root.zero_()
    y = module(x)
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), [x, module.root]))


def test_smooth_relu_of_large_float16_values():
    x = torch.tensor([0.5, 300.0, 60_000.0], dtype=torch.float16, requires_grad=True)
    y = SmoothRelu().half()(x)
    assert y.dtype == torch.float16
    assert y.tolist() == pytest.approx([0.5 - math.log1p(200) / 400, 300, 60_000], rel=1e-3)
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == pytest.approx([200 / 201, 1, 1], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("parametric_softplus", {"alpha": 0}, "alpha is 0; expected a positive number"),
        ("smooth_relu", {"alpha": -1.0}, "alpha is -1.0; expected a positive number"),
        ("relu_smooth_backward", {"alpha": float("nan")}, "has alpha nan; expected a finite number, such as 10.0"),
        ("leaky_relu", {"negative_slope": "x"}, "leaky_relu has negative_slope 'x'; expected a finite number, such as"),
        ("leaky_relu", {"negative_slope": float("inf")}, "negative_slope inf; expected a finite number"),
        ("elu", {"alpha": True}, "elu has alpha True; expected a finite number"),
        ("elu", {"alpha": 10**400}, r"elu has alpha 10+\.\.\.; expected a finite number"),
        ("celu", {"alpha": 0}, "celu has alpha 0; expected a positive number, such as 1.0"),
        ("softplus", {"beta": 0.0}, "softplus has beta 0.0; expected a positive number"),
        ("softplus", {"beta": "q"}, "softplus has beta 'q'; expected a finite number"),
        ("gelu", {"approximate": "bogus"}, "approximate is 'bogus'; expected 'none' or 'tanh'"),
        ("gelu", {"approximate": None}, "gelu has approximate None; expected a text, such as 'none'"),
        ("sparta", {"dynamic": "no"}, "sparta has dynamic 'no'; expected true or false, such as True"),
        ("sparta", {"neighborhood": 2.5}, "sparta has neighborhood 2.5; expected an integer, such as 1"),
        (
            "sparta",
            {"hidden": 8.0},
            "sparta has hidden 8.0; expected an integer, or null for the family's own",
        ),
        ("relu_smooth_backward", {"smooth": "nobody"}, "smooth is 'nobody'; expected one of both, attacker, optimizer"),
        ("dynamic_relu_b", {"pieces": 1}, "pieces 1; expected reduction from 1 and pieces from 2 on"),
        ("dynamic_relu_b", {"temperature": 1.0}, "dynamic_relu_b has no argument temperature"),
        ("dynamic_relu_c", {"temperature": 0.0}, "temperature is 0.0; expected a positive number"),
        (
            "feature_denoising",
            {"operation": "magic"},
            "operation is 'magic'; expected one of softmax, dot, mean, median",
        ),
        ("se_gated_relu", {"hidden": 0}, "hidden is 0; expected a number from 1 on"),
        ("cbam_gated_relu", {"hidden": -1}, "hidden is -1; expected a number from 1 on"),
        ("maxout", {"pieces": 1}, "pieces is 1; expected 2, 3"),
    ],
)
def test_bad_arguments(name: str, arguments: dict, text: str):
    with pytest.raises(SpecError, match=text):
        build(name, 8, arguments)


def test_integers_pass_for_numbers():
    assert build("celu", None, {"alpha": 2})(torch.tensor(-1e9)).item() == -2


def test_unknown_family_lists_the_known_ones():
    with pytest.raises(SpecError, match="no activation family 'rule'; the families are sparta, relu"):
        find_family("rule")
    unhashable: Any = ["sparta"]
    with pytest.raises(SpecError, match=r"no activation family \['sparta'\]; the families are sparta, relu"):
        find_family(unhashable)
    for written in ("SiLU", nn.SiLU, nn.SiLU()):
        with pytest.raises(SpecError, match=r"no activation family .*, maxout\. Did you mean 'silu'\?"):
            find_family(written)  # pyright: ignore[reportArgumentType]
    with pytest.raises(SpecError, match="needs the number of channels"):
        build("maxout")
