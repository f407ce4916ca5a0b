"""Attacks that know of a gate: PGD whose gradient takes the gates of injected activations as constants.

They are judged, as every attack is, on the true model. An activation has a gate if it has a method ``gate(x)`` that its
``forward`` calls: all that depends on its input beside the rectified input itself, or the lines it is the largest of.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle

import torch
from torch import Tensor, nn

from sparta_hub.attacks import pgd
from sparta_hub.attacks.gradient import held_still
from sparta_hub.surgery import injected
from sparta_hub.threat import ThreatModel

METHOD = "gate"
Gate = Tensor | tuple[Tensor, ...]
Compute = Callable[[Tensor], Gate]


def gates(model: nn.Module) -> dict[nn.Module, Compute]:
    """The injected activations that have a gate and are enabled, with the method that computes it."""
    standing = [module.activation for module in injected(model).values() if module.enabled]
    return {module: getattr(module, METHOD) for module in standing if callable(getattr(module, METHOD, None))}


def gate_detached(
    model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, *, steps: int, generator: torch.Generator
) -> Tensor:
    """PGD through gates that are computed anew at each step but get no gradient (BPDA, Athalye et al. 2018).

    Finds what a gate hides whose own gradient is steep, noisy or misleading. arXiv:1802.00420, section 4.1.
    """
    with _replaced({module: _detached(compute) for module, compute in gates(model).items()}):
        return pgd(model, x, y, threat, steps=steps, generator=generator)


def gate_frozen(
    model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, *, steps: int, generator: torch.Generator
) -> Tensor:
    """PGD through the gates of the clean images x, whatever the attacked ones would have.

    Finds what a gate hides that closes as soon as an image is changed, and lets no gradient through.
    """
    kept: dict[nn.Module, list[Gate]] = {module: [] for module in gates(model)}
    recording = {module: _recorded(compute, kept[module]) for module, compute in gates(model).items()}
    with held_still(model), torch.no_grad(), _replaced(recording):
        model(x)
    with _replaced({module: _repeated(seen) for module, seen in kept.items()}):
        return pgd(model, x, y, threat, steps=steps, generator=generator)


def _detached(compute: Compute) -> Compute:
    return lambda x: _without_gradient(compute(x))


def _recorded(compute: Compute, seen: list[Gate]) -> Compute:
    def record(x: Tensor) -> Gate:
        seen.append(_without_gradient(compute(x)))
        return seen[-1]

    return record


def _repeated(seen: list[Gate]) -> Compute:
    """Give what was seen in the same order, forward pass after forward pass."""
    again = cycle(seen)
    return lambda x: next(again)


def _without_gradient(gate: Gate) -> Gate:
    return gate.detach() if isinstance(gate, Tensor) else tuple(part.detach() for part in gate)


@contextmanager
def _replaced(new: Mapping[nn.Module, Compute]) -> Iterator[None]:
    """Let each module's gate be another for a while, also if an error ends it."""
    try:
        for module, compute in new.items():
            object.__setattr__(module, METHOD, compute)
        yield
    finally:
        for module in new:
            module.__dict__.pop(METHOD, None)
