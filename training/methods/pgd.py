"""PGD adversarial training (Madry et al. 2018, arXiv:1706.06083), untargeted or targeted."""

from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.methods._ascent import attacking, random_start, running_statistics_kept
from training.methods._method import Batch, Method, check_counts, check_lengths


class Pgd(Method):
    """``x_{k+1} = Π(x_k + α·s(∇L))``, s the sign (L∞) or the normalised gradient (L2); the last point is trained on.

    If the threat is targeted, every image gets a class drawn uniformly from the wrong ones, once for all steps, and
    each step goes towards it (the protocol of Xie et al. 2019, arXiv:1812.03411, and of the SPARTA paper).

    Args:
        steps: number of steps; 10 is Rice et al.'s (2020, arXiv:2002.11569), Madry et al. have 7.
        step_size: α, in the threat's norm; 2/255 is both papers'. It stays while ε grows in a warm-up.
        random_start: begin at a random point of the ball.
        mode: of the model during the attack. ``eval`` is the default: the attack meets the network as it will be
            evaluated, no image's attack depends on the others in its batch, and it is cheaper; Pang et al. 2021
            (arXiv:2010.00467) found clean accuracy better with it and robust accuracy as good. In ``train`` BatchNorm
            uses the batch's statistics and the running ones stand still: after ten more passes on one batch they
            would hold little but this batch.
    """

    takes_targets = True

    def __init__(
        self,
        *,
        steps: int = 10,
        step_size: float = 2 / 255,
        random_start: bool = True,
        mode: Literal["eval", "train"] = "eval",
    ) -> None:
        super().__init__()
        check_counts(steps=steps)
        check_lengths(step_size=step_size)
        if not isinstance(random_start, bool):
            raise ValueError(f"random_start is {random_start!r}; expected true or false.")
        if mode not in ("eval", "train"):
            raise ValueError(f"mode is {mode!r}; expected 'eval' or 'train'.")
        self.steps, self.step_size, self.random_start, self.mode = steps, step_size, random_start, mode

    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """The last of the points, in the ball and the box."""
        x, labels, threat = batch.x, batch.y, batch.threat
        x_adv = random_start(batch) if self.random_start else x
        length = -self.step_size if threat.targeted else self.step_size
        statistics = running_statistics_kept(model) if self.mode == "train" else nullcontext()
        with attacking(model, evaluating=self.mode == "eval"), statistics:
            for k in range(self.steps):
                leaf = x_adv.detach().requires_grad_()
                logits = model(leaf)
                if threat.targeted and k == 0:
                    classes = logits.shape[1]
                    labels = (batch.y + 1 + batch.draws.integers(classes - 1, x.device)) % classes
                gradient = torch.autograd.grad(F.cross_entropy(logits, labels), leaf)[0]
                x_adv = threat.project(x_adv + length * threat.step(gradient), x)
        return x_adv
