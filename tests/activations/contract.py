"""What every activation family promises, as checks of one module; ``test_contract_catches`` shows each can fail."""

import copy
from collections.abc import Callable

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.func import functional_call

CHANNELS = 6
Check = Callable[[nn.Module, nn.Module], None]


def maps(seed: int = 0, batch: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    """Maps (B, 6, 7, 5) of both signs, away from the kink at 0 and without ties."""
    generator = torch.Generator().manual_seed(seed)
    size = batch * CHANNELS * 7 * 5
    values = 0.2 + 2 * torch.randperm(size, generator=generator, dtype=torch.float64) / size
    signs = torch.randint(0, 2, (size,), generator=generator) * 2 - 1
    return (values * signs).view(batch, CHANNELS, 7, 5).to(dtype)


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Move weights and statistics away from where they start, so that no zero hides a fault."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():  # positive, so that a variance stays one
                tensor.add_(0.3 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype))
    return module


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def output_and_gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, and the gradient of a weighted sum of it in the input and all parameters."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = module(x)
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), [x, *module.parameters()])]


def check_shape_and_dtype(module: nn.Module, twin: nn.Module) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for mode in (True, False):
            y = copy.deepcopy(module).to(dtype).train(mode)(maps(dtype=dtype))
            assert y.shape == maps().shape
            assert y.dtype == dtype


def check_finite(module: nn.Module, twin: nn.Module) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        x = maps(dtype=dtype)
        x[0], x[1, :, :3], x[1, :, 3:], x[2, 0] = 1e4, -1e4, 1e4, 0
        for values in (maps(dtype=dtype), x, torch.zeros_like(x), -x):
            for result in output_and_gradients(module.eval().to(dtype), values):
                assert result.isfinite().all()


def check_gradient(module: nn.Module, twin: nn.Module) -> None:
    module.double().eval()
    names = [name for name, _ in module.named_parameters()]
    weights = [p.detach().clone().requires_grad_() for p in module.parameters()]

    def call(x: Tensor, *values: Tensor) -> Tensor:
        return functional_call(module, dict(zip(names, values, strict=True)), (x,))

    x = maps(dtype=torch.float64, batch=2).requires_grad_()
    # fast mode sums over all entries, where errors of opposite sign can cancel; the exact one is slow with many weights
    assert torch.autograd.gradcheck(call, (x, *weights), fast_mode=len(weights) > 1)


def check_samples_independent(module: nn.Module, twin: nn.Module) -> None:
    module.eval()
    x, others = maps(0), maps(1)
    y = module(x)
    same(module(x.flip(0)).flip(0), y)
    same(module(torch.cat([x[:1], 5 * others[1:]]))[:1], y[:1])
    same(module(x[:1]), y[:1])


def check_empty_batch(module: nn.Module, twin: nn.Module) -> None:
    assert module.eval()(maps()[:0]).shape == (0, CHANNELS, 7, 5)


def check_deterministic(module: nn.Module, twin: nn.Module) -> None:
    module.eval()
    first, second = (output_and_gradients(module, maps()) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def check_input_untouched(module: nn.Module, twin: nn.Module) -> None:
    for mode in (True, False):
        for grad in (True, False):
            x = maps()
            with torch.set_grad_enabled(grad):
                module.train(mode)(x)
            assert torch.equal(x, maps())


def check_memory_format(module: nn.Module, twin: nn.Module) -> None:
    for mode in (True, False):
        plain, last = copy.deepcopy(module).train(mode), copy.deepcopy(module).train(mode)
        last.to(memory_format=torch.channels_last)
        x = maps().to(memory_format=torch.channels_last)
        for a, b in zip(output_and_gradients(plain, maps()), output_and_gradients(last, x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def check_state_dict(module: nn.Module, twin: nn.Module) -> None:
    twin.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(twin.eval()(maps()), module.eval()(maps()))


def check_safetensors(module: nn.Module, twin: nn.Module) -> None:
    """No pickle: what ``safetensors`` can hold is all there is."""
    data = safetensors.torch.save(module.state_dict())
    twin.load_state_dict(safetensors.torch.load(data), strict=True)
    assert torch.equal(twin.eval()(maps()), module.eval()(maps()))


def check_deepcopy(module: nn.Module, twin: nn.Module) -> None:
    other = copy.deepcopy(module)
    assert torch.equal(other.eval()(maps()), module.eval()(maps()))
    randomise(other, 1)
    assert all(not torch.equal(p, q) for p, q in zip(other.parameters(), module.parameters(), strict=True))


def check_compiles(module: nn.Module, twin: nn.Module) -> None:
    """One graph, equal to eager: with gradients and moving statistics in train mode, the output alone in eval mode."""
    torch._dynamo.reset()
    eager, compiled = copy.deepcopy(module), copy.deepcopy(module)
    compiled.compile(fullgraph=True, backend="aot_eager")
    results = zip(output_and_gradients(compiled, maps()), output_and_gradients(eager, maps()), strict=True)
    for a, b in [*results, *zip(compiled.buffers(), eager.buffers(), strict=True)]:
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        same(compiled.eval()(maps()), eager.eval()(maps()))


CHECKS: dict[str, Check] = {
    name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")
}
