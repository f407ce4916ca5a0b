"""Free adversarial training (Shafahi et al. 2019, arXiv:1904.12843): one gradient moves weights and images."""

from typing import Any

import torch
from torch import Tensor, nn

from training.methods._method import Batch, Method, check_counts


class Free(Method):
    """Every batch is trained on m times; each backward pass moves the weights, and δ ← Π(δ + ε·s(∇L)).

    δ goes on from batch to batch, as published: it belongs to a place in the batch, not to an image. It starts at 0,
    and does so again when the batch's shape changes. The image trained on is x + δ cut with the box (chosen: the
    paper's algorithm has no box).

    Two rules of the other methods cannot hold where one pass serves both: label smoothing enters δ too, and the pass
    is the optimiser's, never the attacker's, to activations that tell them apart.

    With several processes each has the δ of its own rows.

    Args:
        replays: m; 8 is published for CIFAR-10. The number of epochs counts every replay.
    """

    delta: Tensor

    def __init__(self, *, replays: int = 8) -> None:
        super().__init__()
        check_counts(replays=replays)
        self.replays = replays
        self.register_buffer("delta", torch.zeros(0))
        self.register_load_state_dict_pre_hook(_take_shape)
        self._pending: tuple[Tensor, Batch] | None = None

    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """``x + δ`` as a leaf that will receive its gradient in the backward pass."""
        if self.delta.shape != batch.x.shape:
            self.delta = torch.zeros_like(batch.x)
        x_adv = batch.threat.project(batch.x + self.delta, batch.x).requires_grad_()
        self._pending = x_adv, batch
        return x_adv

    def after_backward(self, model: nn.Module) -> None:
        """Move δ along the gradient that the backward pass left at the images."""
        assert self._pending is not None, "after_backward belongs after the backward pass of this step's loss"
        (x_adv, batch), self._pending = self._pending, None
        assert x_adv.grad is not None
        self.delta = batch.threat.clip(self.delta + batch.threat.eps * batch.threat.step(x_adv.grad))


def _take_shape(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let δ be loaded whatever its shape: a fresh method does not know the batch's."""
    if (saved := state.get(prefix + "delta")) is not None:
        module.delta = saved.new_zeros(saved.shape, device=module.get_buffer("delta").device)
