"""Convolutions as products of matrices: the same values and derivatives, only where they pay, nothing else changed."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import sparta_hub.hosts  # noqa: F401  (registers the small hosts)
from sparta_hub.small_maps import FEWEST, WIDEST, ProductConv2d, _Product, use_products

SHAPES = [  # kernel, stride, padding, height and width of the input
    ((3, 3), (1, 1), (1, 1), (4, 4)),
    ((3, 3), (2, 2), (1, 1), (8, 7)),
    ((3, 2), (1, 2), (0, 1), (5, 6)),
    ((1, 3), (2, 1), (0, 2), (3, 4)),
]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), SHAPES)
def test_values_and_derivatives_are_those_of_the_convolution(kernel, stride, padding, size, fixed):
    x = torch.randn(2, 3, *size, dtype=torch.double, requires_grad=True)
    weight = torch.randn(4, 3, *kernel, dtype=torch.double, requires_grad=not fixed)
    turned = weight.flip(2, 3).permute(1, 2, 3, 0).flatten(1) if fixed and stride == (1, 1) else None

    def product(x, weight):
        return _Product.apply(x, weight, turned, stride, padding)

    expected = F.conv2d(x, weight, stride=stride, padding=padding)
    torch.testing.assert_close(product(x, weight), expected)
    along = torch.randn_like(expected)
    inputs = [x] if fixed else [x, weight]
    seen = torch.autograd.grad(product(x, weight), inputs, along)
    torch.testing.assert_close(seen, torch.autograd.grad(expected, inputs, along))
    assert torch.autograd.gradgradcheck(product, (x, weight))


def pair(*, stride=1, bias=True, fixed=False):
    conv = nn.Conv2d(FEWEST, 16, 3, stride=stride, padding=1, bias=bias).requires_grad_(not fixed)
    model = nn.Sequential(copy.deepcopy(conv))
    assert use_products(model, fixed=fixed) == 1
    return conv, model[0]


def took(y):
    return "_Product" in repr(list(ancestors(y.grad_fn)))


def ancestors(node):
    if node is not None:
        yield node
        for parent, _ in node.next_functions:
            yield from ancestors(parent)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_under_autocast_on_a_small_map_it_is_the_product(stride, bias, fixed):
    conv, product = pair(stride=stride, bias=bias, fixed=fixed)
    x = torch.randn(3, FEWEST, WIDEST * stride, WIDEST * stride, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        expected, seen = conv(x), product(x)
    assert took(seen)
    assert not took(expected)
    assert seen.dtype is torch.bfloat16
    torch.testing.assert_close(seen, expected, rtol=2e-2, atol=2e-2)
    along = torch.randn_like(expected)
    tensors = [[x, *(() if fixed else module.parameters())] for module in (product, conv)]
    for mine, theirs in zip(
        torch.autograd.grad(seen, tensors[0], along), torch.autograd.grad(expected, tensors[1], along), strict=True
    ):
        assert mine.dtype is theirs.dtype is torch.float32
        assert float((mine - theirs).norm() / theirs.norm()) < 1e-2


@pytest.mark.parametrize(
    ("dtype", "width", "taken"),
    [(torch.bfloat16, WIDEST, True), (torch.bfloat16, WIDEST + 1, False), (torch.float32, WIDEST, False)],
)
def test_elsewhere_it_is_torchs_own_to_the_bit(dtype, width, taken):
    conv, product = pair()
    x = torch.randn(2, FEWEST, 3, width, dtype=dtype)
    seen = product.to(dtype)(x)
    assert took(seen) == taken
    assert torch.equal(seen, conv.to(dtype)(x)) or taken


def test_one_image_without_a_batch_is_torchs_own():
    conv, product = pair()
    x = torch.randn(FEWEST, 4, 4, dtype=torch.bfloat16)
    assert torch.equal(product.bfloat16()(x), conv.bfloat16()(x))


def test_the_network_keeps_parameters_names_and_hooks():
    model = timm.create_model("resnet18_cifar", num_classes=10).to(memory_format=torch.channels_last)  # pyright: ignore
    names, before = list(model.state_dict()), dict(model.named_parameters())
    calls = []
    model.get_submodule("layer4.1.conv2").register_forward_hook(lambda *_: calls.append(1))
    assert use_products(model) == 11  # 3x3 from 128 channels on
    assert use_products(model) == 0
    assert list(model.state_dict()) == names
    assert all(parameter is before[name] for name, parameter in model.named_parameters())
    x = torch.rand(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    assert took(y)
    assert calls == [1]
    assert "turned" not in copy.deepcopy(model).state_dict()


def test_fixed_layers_alone_become_bfloat16():
    model = timm.create_model("resnet18_cifar", num_classes=10).requires_grad_(False)
    use_products(model, fixed=True)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            chosen = isinstance(module, ProductConv2d)
            assert module.weight.dtype is (torch.bfloat16 if chosen else torch.float32), name


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(FEWEST - 1, 8, 3), nn.Conv2d(FEWEST, 8, 1), nn.Conv2d(FEWEST, 8, 3, groups=2),
        nn.Conv2d(FEWEST, 8, 3, dilation=2), nn.Conv2d(FEWEST, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(FEWEST, 8, 3, padding="same"), nn.ConvTranspose2d(FEWEST, 8, 3), nn.Linear(FEWEST, 8),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(FEWEST, 8, 3)),
    ],
)  # fmt: skip
def test_other_layers_are_left_alone(other):
    model = nn.Sequential(other)
    assert use_products(model) == 0
    assert model[0] is other
