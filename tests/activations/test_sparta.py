"""SPARTA against a slow, literal reading of the paper's text, and the facts stated in its docstring."""

import pytest
import torch
import torch.nn.functional as F
from contract import randomise
from torch import Tensor, nn

from sparta_hub.activations import Sparta, build, dynamic_conv, sparta
from sparta_hub.errors import SpecError

VARIANTS = [
    pytest.param({"kernel_size": k, "dynamic": d, "neighborhood": n}, id=f"k{k}-{'dynamic' if d else 'static'}-n{n}")
    for k in (1, 3)
    for d in (True, False)
    for n in (1, 2, 4)
]


def reference_batch_norm(x: Tensor, bn: nn.BatchNorm2d, part: slice) -> Tensor:
    assert bn.running_mean is not None
    assert bn.running_var is not None
    mean, var = bn.running_mean[part], bn.running_var[part]
    if bn.training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    shape = (1, -1, 1, 1)
    x = (x - mean.view(shape)) / (var.view(shape) + bn.eps).sqrt()
    return x * bn.weight[part].view(shape) + bn.bias[part].view(shape)


def reference_average(x: Tensor, size: int) -> Tensor:
    """Mean over size x size patches, the last ones smaller."""
    rows = []
    for i in range(0, x.shape[2], size):
        row = [x[:, :, i : i + size, j : j + size].mean((2, 3)) for j in range(0, x.shape[3], size)]
        rows.append(torch.stack(row, 2))
    return torch.stack(rows, 2)


def reference_gate(module: Sparta, x: Tensor) -> Tensor:
    """phi, with all six convolutions apart."""
    pad, hidden, n = module.kernel_size // 2, module.hidden, module.neighborhood
    small = reference_average(x, n)
    weight, bias = module.conv1_3.weight, module.conv1_3.bias
    assert bias is not None
    one, three = slice(0, hidden), slice(hidden, 2 * hidden)
    features = reference_batch_norm(F.conv2d(small, weight[one], bias[one], padding=pad), module.bn1_3, one).clamp(
        min=0
    )
    middle = F.conv2d(features, module.conv2.weight, module.conv2.bias, padding=pad)
    middle = reference_batch_norm(middle, module.bn2, slice(None)).clamp(min=0)
    spatial = F.conv2d(middle, module.conv4.weight, module.conv4.bias, padding=pad)
    if module.dynamic:
        third = reference_batch_norm(F.conv2d(small, weight[three], bias[three], padding=pad), module.bn1_3, three)
        kernels = module.kernel(third.clamp(min=0).mean((2, 3)))
        spatial = torch.cat(
            [
                F.conv2d(one_map[None], kernel.view(1, 1, module.kernel_size, module.kernel_size), padding=pad)
                for one_map, kernel in zip(spatial, kernels, strict=True)
            ]
        )
    else:
        spatial = F.conv2d(spatial, module.conv5.weight, module.conv5.bias, padding=pad)
    channel = F.conv2d(features, module.conv6.weight, module.conv6.bias, padding=pad).mean((2, 3))
    rows = torch.tensor([i // n for i in range(x.shape[2])])
    columns = torch.tensor([j // n for j in range(x.shape[3])])
    return torch.sigmoid(spatial[:, :, rows][:, :, :, columns] * channel[:, :, None, None])


def make(channels: int = 5, **arguments: bool | int | None) -> Sparta:
    torch.manual_seed(0)
    module = Sparta(channels, **arguments).double()  # pyright: ignore[reportArgumentType]
    randomise(module)
    return module


def example(channels: int = 5, size: tuple[int, int] = (7, 5)) -> Tensor:
    return torch.randn(3, channels, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("arguments", VARIANTS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_equals_the_reference(arguments: dict, mode: bool, memory_format: torch.memory_format):
    module = make(**arguments).train(mode)
    x = example().contiguous(memory_format=memory_format).requires_grad_()
    weights = example().cos()
    before = {name: b.clone() for name, b in module.named_buffers()}
    y = module(x)
    ours = torch.autograd.grad((y * weights).sum(), [x, *module.parameters()])
    assert all(torch.equal(b, before[name]) for name, b in module.named_buffers()) == (not mode)
    expected = x.clamp(min=0) * reference_gate(module, x)
    theirs = torch.autograd.grad((expected * weights).sum(), [x, *module.parameters()])
    torch.testing.assert_close(y, expected)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (1, 9), (3, 2)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_shortcuts_at_other_sizes(size: tuple[int, int], memory_format: torch.memory_format):
    module, x = make().eval(), example(size=size).contiguous(memory_format=memory_format)
    torch.testing.assert_close(module(x), x.clamp(min=0) * reference_gate(module, x))


def test_a_cropped_view_is_taken():
    module, x = make().eval(), example(size=(20, 20))[:, :, 2:18, 2:18]
    torch.testing.assert_close(module(x), module(x.contiguous()))


def test_closed_form_of_the_derivative():
    """dY/dX = phi + X * dphi/dX where X >= 0, else what reaches the other outputs through phi."""
    module, x = make(3).eval(), example(3, (3, 2))[:1].requires_grad_()

    def gate(x: Tensor) -> Tensor:
        spatial, channel = module.gate(x)
        return torch.sigmoid(spatial * channel)

    def flat_jacobian(function: object) -> Tensor:
        return torch.autograd.functional.jacobian(function, x).reshape(x.numel(), x.numel())

    positive = (x >= 0).reshape(-1, 1)
    expected = positive * (torch.diag(gate(x).flatten()) + x.reshape(-1, 1) * flat_jacobian(gate))
    torch.testing.assert_close(flat_jacobian(module), expected)


def test_parameters_on_resnet18():
    total = sum(p.numel() for c in (64, 128, 256, 512) for p in Sparta(c).parameters())
    assert total == 811_528


def test_state_keys():
    names = {key.split(".")[0] for key in Sparta(4).state_dict()}
    assert names == {"conv1_3", "bn1_3", "conv2", "bn2", "conv4", "conv6", "kernel"}
    assert {key.split(".")[0] for key in Sparta(4, dynamic=False).state_dict()} == names - {"kernel"} | {"conv5"}
    assert Sparta(512).conv1_3.weight.shape == (512, 512, 1, 1)
    assert Sparta(4).conv1_3.weight.shape == (8, 4, 1, 1)
    assert Sparta(4, dynamic=False).conv1_3.weight.shape == (4, 4, 1, 1)


def test_folded_batch_norm_equals_unfolded():
    module, x = make().eval(), example()
    hidden = F.relu(module.bn1_3(module.conv1_3(x)))
    first, third = hidden[:, :5], hidden[:, 5:]
    spatial = module.conv4(F.relu(module.bn2(module.conv2(first))))
    spatial = spatial * module.kernel(third.mean((2, 3)))[:, :, None, None]
    channel = module.conv6(first).mean((2, 3), keepdim=True)
    torch.testing.assert_close(module(x), sparta(x, spatial, channel))


@pytest.mark.parametrize("arguments", [{}, {"kernel_size": 3}, {"dynamic": False}, {"neighborhood": 2}])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_second_derivative(arguments: dict, memory_format: torch.memory_format):
    """GradAlign differentiates an input gradient."""
    module = make(2, **arguments).eval()
    x = example(2, (4, 3))[:2].contiguous(memory_format=memory_format).requires_grad_()
    assert torch.autograd.gradgradcheck(module, (x,))


def test_dynamic_kernel_starts_as_the_identity():
    module = Sparta(4, kernel_size=3)
    assert module.kernel.bias.tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    delta = torch.tensor([[[0, 0, 0], [0, 1, 0], [0, 0, 0]]], dtype=torch.float32)
    spatial = torch.randn(2, 1, 5, 4)
    assert torch.equal(dynamic_conv(spatial, delta.expand(2, 3, 3)), spatial)


def test_patches_share_a_score():
    spatial, _ = make(neighborhood=2).gate(example(size=(6, 4)))
    assert torch.equal(spatial[:, :, ::2, ::2], spatial[:, :, 1::2, 1::2])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"kernel_size": 2}, "kernel_size is 2; expected an odd number such as 1 or 3"),
        ({"kernel_size": -1}, "kernel_size is -1; expected an odd number"),
        ({"neighborhood": 0}, "neighborhood is 0; expected 1, 2, 4"),
        ({"hidden": 0}, "hidden is 0; expected a number from 1 on"),
        ({"hidden": -3}, "hidden is -3; expected a number from 1 on"),
    ],
)
def test_bad_arguments(arguments: dict, text: str):
    with pytest.raises(ValueError, match=text):
        Sparta(4, **arguments)
    with pytest.raises(SpecError, match=text):
        build("sparta", 4, arguments)


@pytest.mark.parametrize("neighborhood", [10_000, 10**9])
def test_a_neighborhood_beyond_the_map_is_the_whole_map(neighborhood):
    """And takes no more memory than that: growing one score to 10,000 × 10,000 first would take 400 MB an image."""
    x = example(size=(6, 4))
    whole, huge = (make(neighborhood=n) for n in (6, neighborhood))
    huge.load_state_dict(whole.state_dict())
    assert torch.equal(huge(x), whole(x))
