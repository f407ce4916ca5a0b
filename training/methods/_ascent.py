"""What the attacks inside training share.

In which mode BatchNorm is during an attack is each method's own matter. The single-step methods leave the model in
training mode, as their authors' code does: the attack sees the batch's statistics, and its passes count in the running
ones too. PGD, TRADES and FGSM-CKPT attack in eval mode, and there no statistics move.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparta_hub.activations import attacker_pass
from sparta_hub.processes import process
from training.methods._method import Batch
from training.parallel import World, average_


@contextmanager
def attacking(model: nn.Module, *, evaluating: bool = False) -> Iterator[None]:
    """Inside the ``with``, passes are the attacker's and parameters want no gradient; afterwards all is as before.

    A compiled model computes all gradients that are wanted, whatever is asked for: hence ``requires_grad_``. And the
    weights that autocast casts here stay out of its cache, from which torch before 2.10 would take a cast made under
    ``no_grad`` into the pass trained on.

    Args:
        model: the network.
        evaluating: in eval mode, module by module, so that parts that were in it already stay there afterwards.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    modules = [module for module in model.modules() if module.training] if evaluating else []
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        _set(modules, "training", False)
        with attacker_pass(model):
            yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
        _set(modules, "training", True)


@contextmanager
def running_statistics_kept(model: nn.Module) -> Iterator[None]:
    """Inside the ``with``, BatchNorm in training mode uses the batch's statistics and leaves the running ones alone."""
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats
    ]
    try:
        _set(layers, "track_running_stats", False)
        yield
    finally:
        _set(layers, "track_running_stats", True)


def _set(modules: Sequence[nn.Module], name: str, value: bool) -> None:
    for module in modules:
        object.__setattr__(module, name, value)  # nn.Module's own is a hundred times slower: milliseconds a step


def image_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of the mean cross entropy in the images x (B, C, H, W)."""
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(leaf), y), leaf)[0]


def noise(batch: Batch, radius: float) -> Tensor:
    """Uniform in the cube (L∞) or the Euclidean ball of that radius, (B, C, H, W)."""
    x, draws = batch.x, batch.draws
    if batch.threat.norm == "linf":
        return radius * draws.uniform(x, -1, 1)
    length = draws.uniform(x[:, :1, :1, :1], 0, 1) ** (1 / x[0].numel())
    return radius * length * batch.threat.step(draws.normal(x))


def random_start(batch: Batch) -> Tensor:
    """A point drawn uniformly from the ball around each image, then cut with the box."""
    return (batch.x + noise(batch, batch.threat.eps)).clamp(0, 1)


def average_over_processes(gradients: Sequence[Tensor]) -> None:
    """In place, for gradients that a method uses itself: the engine never sees them."""
    average_(gradients, World(count=process()[1]))
