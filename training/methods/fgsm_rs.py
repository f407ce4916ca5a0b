"""FGSM with a random start (Wong et al. 2020, arXiv:2001.03994)."""

from torch import Tensor, nn

from training.methods._ascent import attacking, image_gradient, random_start
from training.methods._method import Batch, Method, check_lengths


class FgsmRs(Method):
    """``Π(x + η + α·sign ∇L(x + η))``, η ~ U(-ε, ε). Falls into catastrophic overfitting with long schedules.

    x + η is cut with the box before the gradient is taken, as in the authors' code.

    Args:
        alpha: α in units of ε; 1.25 is published.
    """

    def __init__(self, *, alpha: float = 1.25) -> None:
        super().__init__()
        check_lengths(alpha=alpha)
        self.alpha = alpha

    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """One step, in the ball and the box."""
        threat, start = batch.threat, random_start(batch)
        with attacking(model):
            gradient = image_gradient(model, start, batch.y)
        return threat.project(start + self.alpha * threat.eps * threat.step(gradient), batch.x)
