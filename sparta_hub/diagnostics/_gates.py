"""Attacks that know of a gate: PGD whose gradient takes the gates of injected activations as constants.

They are judged, as every attack is, on the true model. An activation has a gate if it says what depends on its input
beside the rectified input itself: a method ``gate(x)``, or ``coefficients(x)``, that its ``forward`` calls.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn

from sparta_hub.attacks import pgd
from sparta_hub.attacks.gradient import held_still
from sparta_hub.surgery import injected
from sparta_hub.threat import ThreatModel

METHODS = ("gate", "coefficients")
Gate = Tensor | tuple[Tensor, ...]
Compute = Callable[[Tensor], Gate]


def gates(model: nn.Module) -> dict[nn.Module, str]:
    """The injected activations that have a gate and are enabled, with the name of the method that computes it."""
    standing = [module.activation for module in injected(model).values() if module.enabled]
    return {m: name for m in standing for name in METHODS if callable(getattr(m, name, None))}


def gate_detached(
    model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, *, steps: int, generator: torch.Generator
) -> Tensor:
    """PGD through gates that are computed anew at each step but get no gradient (BPDA, Athalye et al. 2018).

    Finds what a gate hides whose own gradient is steep, noisy or misleading. arXiv:1802.00420, section 4.1.
    """
    detached = {module: _detached(getattr(module, name)) for module, name in gates(model).items()}
    with _replaced(gates(model), detached):
        return pgd(model, x, y, threat, steps=steps, generator=generator)


def gate_frozen(
    model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, *, steps: int, generator: torch.Generator
) -> Tensor:
    """PGD through the gates of the clean images x, whatever the attacked ones would have.

    Finds what a gate hides that closes as soon as an image is changed, and lets no gradient through.
    """
    kept: dict[nn.Module, list[Gate]] = {module: [] for module in gates(model)}
    recording = {module: _recorded(getattr(module, name), kept[module]) for module, name in gates(model).items()}
    with held_still(model), torch.no_grad(), _replaced(gates(model), recording):
        model(x)
    with _replaced(gates(model), {module: _repeated(seen) for module, seen in kept.items()}):
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
def _replaced(methods: Mapping[nn.Module, str], new: Mapping[nn.Module, Any]) -> Iterator[None]:
    """Let each object's own method be another for a while, also if an error ends it."""
    try:
        for module, name in methods.items():
            object.__setattr__(module, name, new[module])
        yield
    finally:
        for module, name in methods.items():
            module.__dict__.pop(name, None)
