"""Standard training: the images as they are."""

from torch import Tensor, nn

from training.methods._method import Batch, Method


class Standard(Method):
    """No attack; the threat is not looked at."""

    takes_targets = True

    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """The clean images."""
        return batch.x
