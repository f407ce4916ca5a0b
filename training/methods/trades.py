"""TRADES (Zhang et al. 2019, arXiv:1901.08573): accuracy on clean images, and the same answer around them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.methods._ascent import attacking
from training.methods._method import Batch, Criterion, Method, check_counts, check_lengths


class Trades(Method):
    """The criterion at x, plus ``β·KL(p(x) ‖ p(x'))``, x' found by steps up that divergence.

    The attack is in eval mode, as in the authors' code, so statistics move in the two passes trained on, clean and
    attacked, and nowhere else. β, noise, steps and step size are published.

    Args:
        beta: β, 1/λ in the paper.
        steps: of the attack.
        step_size: in the threat's norm.
        noise: standard deviation of the normal noise that the attack starts with: at x the divergence has no slope.
    """

    def __init__(self, *, beta: float = 6.0, steps: int = 10, step_size: float = 0.007, noise: float = 0.001) -> None:
        super().__init__()
        check_counts(steps=steps)
        check_lengths(beta=beta, step_size=step_size, noise=noise)
        self.beta, self.steps, self.step_size, self.noise = beta, steps, step_size, noise

    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """The last of the points, in the ball and the box."""
        x, threat = batch.x, batch.threat
        x_adv = x + self.noise * batch.draws.normal(x)
        with attacking(model, evaluating=True):
            with torch.no_grad():
                clean = model(x).clone()  # where passes are CUDA graphs, the next one writes over what this one gave
            for _ in range(self.steps):
                leaf = x_adv.detach().requires_grad_()
                gradient = torch.autograd.grad(divergence(clean, model(leaf)), leaf)[0]
                x_adv = threat.project(x_adv + self.step_size * threat.step(gradient), x)
        return x_adv

    def objective(self, model: nn.Module, x_adv: Tensor, batch: Batch, criterion: Criterion) -> Tensor:
        """Criterion on the clean images, and the weighted divergence, which has a gradient in both of its sides."""
        clean = model(batch.x)
        return criterion(clean, batch.y) + self.beta * divergence(clean, model(x_adv))


def divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """``KL(softmax(clean) ‖ softmax(attacked))``, logits (B, K), the mean over images."""
    return F.kl_div(attacked.log_softmax(1), clean.log_softmax(1), log_target=True, reduction="batchmean")
