"""What work costs, in images that pass through a network."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """Count the images that go forward through ``model``, and those whose gradient comes back, in the list's two items.

    Hooks instead of a wrapper, so that the attack gets the model itself; closures, so that a copy that the attack makes
    of the model counts too.
    """
    counts = [0, 0]

    def backward(gradient: Tensor) -> None:
        counts[1] += len(gradient)

    def forward(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        counts[0] += len(output)
        if output.requires_grad:
            output.register_hook(backward)

    handle = model.register_forward_hook(forward)
    try:
        yield counts
    finally:
        handle.remove()
