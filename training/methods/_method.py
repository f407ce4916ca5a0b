"""What a training method is: how one batch becomes the loss that the optimiser descends."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparta_hub.threat import ThreatModel
from training.errors import ConfigError

Criterion = Callable[[Tensor, Tensor], Tensor]  # logits (B, K), labels (B,) -> mean loss, with label smoothing


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step.

    They are drawn for the batch of all processes, and each process keeps its own rows: several processes together see
    what one would.

    Args:
        generator: on the device of the images; seeded from the run's seed and the step alone.
        rows: this process's part of the whole batch.
        total: images in the whole batch.
    """

    generator: torch.Generator
    rows: slice
    total: int

    def uniform(self, like: Tensor, low: float, high: float) -> Tensor:
        """Uniform in [low, high), of shape, dtype, device and memory format of ``like`` (B, …)."""
        shape = (self.total, *like.shape[1:])
        numbers = torch.rand(shape, generator=self.generator, device=like.device, dtype=like.dtype)[self.rows]
        return torch.empty_like(like).copy_(numbers).mul_(high - low).add_(low)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal, of shape, dtype, device and memory format of ``like`` (B, …)."""
        shape = (self.total, *like.shape[1:])
        numbers = torch.randn(shape, generator=self.generator, device=like.device, dtype=like.dtype)[self.rows]
        return torch.empty_like(like).copy_(numbers)

    def integers(self, high: int, device: torch.device) -> Tensor:
        """Uniform in 0 … high - 1, (B,)."""
        return torch.randint(high, (self.total,), generator=self.generator, device=device)[self.rows]


@dataclass(frozen=True)
class Batch:
    """One step's images, labels, ball and randomness.

    Args:
        x: (B, C, H, W) floats in [0, 1], augmented, channels_last.
        y: (B,) class numbers.
        threat: the ball of this step; its ε is smaller during warm-up.
        step: the optimiser's step, from 0.
        replay: how often this batch was trained on before; 0 unless the method replays.
        draws: random numbers.
    """

    x: Tensor
    y: Tensor
    threat: ThreatModel
    step: int
    replay: int
    draws: Draws


class Method(nn.Module, ABC):
    """A training method. What it remembers between steps lies in its parameters and buffers, so checkpoints hold it.

    The engine calls, for every optimiser step: ``loss``, ``backward`` on what it gave, ``after_backward``, and then
    the optimiser. The model is in training mode and under the run's autocast, and is the plain module: gradients of
    several processes are averaged by the engine after the backward pass, so a method may call the model as often as it
    needs, and twice differentiate.

    A method writes ``attack``, and ``objective`` if that is more than the criterion. Neither may wait for the device:
    no ``.item()``, no ``if`` on a tensor's value. The attack sees no criterion, so label smoothing cannot enter it.
    """

    replays: int = 1  # how many steps in a row see the same batch
    differentiates_twice: bool = False  # then the model cannot be compiled: AOT autograd has no second derivative
    takes_targets: bool = False  # whether there is a form for an attacker who wants one given class

    @abstractmethod
    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """The images to train on, (B, C, H, W)."""

    def objective(self, model: nn.Module, x_adv: Tensor, batch: Batch, criterion: Criterion) -> Tensor:
        """The loss to descend, at the model's present weights and for the images that ``attack`` gave."""
        return criterion(model(x_adv), batch.y)

    def loss(self, model: nn.Module, batch: Batch, criterion: Criterion) -> Tensor:
        """The loss of this step, a number with a gradient.

        Raises:
            ConfigError: the threat is targeted, and the method has no such form.
        """
        if batch.threat.targeted and not self.takes_targets:
            raise ConfigError(
                f"{type(self).__name__} has no targeted form and the threat is {batch.threat}; "
                "expected an untargeted threat, or the method pgd."
            )
        return self.objective(model, self.attack(model, batch), batch, criterion)

    def after_backward(self, model: nn.Module) -> None:
        """What there is to do between the backward pass and the optimiser's step."""


def check_counts(**counts: int) -> None:
    """Raise ``ValueError`` unless every count is an integer from 1 on."""
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{name} is {count!r}; expected an integer from 1 on.")


def check_lengths(**lengths: float) -> None:
    """Raise ``ValueError`` unless every length or weight is a finite number from 0 on."""
    for name, length in lengths.items():
        if not 0 <= length < math.inf:
            raise ValueError(f"{name} is {length!r}; expected a finite number from 0 on.")
