"""FGSM with checkpoints along the step (Kim et al. 2021, arXiv:2010.01799)."""

import torch
from torch import Tensor, nn

from training.methods._ascent import attacking, image_gradient, random_start
from training.methods._method import Batch, Method, check_counts, check_lengths


class FgsmCkpt(Method):
    """``x + (j/c)·δ``, δ from one FGSM-RS step, j the smallest of 0 … c whose image is misclassified, else c.

    All in eval mode, so that whether an image is misclassified does not depend on the others in its batch; the authors'
    code attacks so too. It tests j = 0 at the noisy start, here it is the clean image. Which j is taken is decided on
    the device; every image goes through all of the c tests.

    Args:
        checkpoints: c; 3 is published.
        alpha: step of the FGSM in units of ε; 1.25 is published.
    """

    def __init__(self, *, checkpoints: int = 3, alpha: float = 1.25) -> None:
        super().__init__()
        check_counts(checkpoints=checkpoints)
        check_lengths(alpha=alpha)
        self.checkpoints, self.alpha = checkpoints, alpha

    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """The smallest checkpoint that fools, in the ball and the box."""
        x, threat, start = batch.x, batch.threat, random_start(batch)
        with attacking(model, evaluating=True):
            gradient = image_gradient(model, start, batch.y)
            delta = threat.project(start + self.alpha * threat.eps * threat.step(gradient), x) - x
            x_adv = x + delta
            with torch.no_grad():
                for j in reversed(range(self.checkpoints)):  # the smallest last, so that it wins
                    nearer = x + j / self.checkpoints * delta
                    wrong = model(nearer).argmax(1) != batch.y
                    x_adv = torch.where(wrong[:, None, None, None], nearer, x_adv)
        return x_adv
