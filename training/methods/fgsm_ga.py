"""FGSM with gradient alignment (GradAlign; Andriushchenko & Flammarion 2020, arXiv:2007.02617)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparta_hub.activations import attacker_pass
from training.methods._ascent import attacking, image_gradient, noise
from training.methods._method import Batch, Criterion, Method, check_lengths


class FgsmGa(Method):
    """The criterion at ``Π(x + ε·sign ∇L(x))``, plus ``λ·(1 - cos(∇L(x), ∇L(x + η)))``, η ~ U(-ε, ε).

    The published step of 1.25·ε is the same: it starts at x, so the projection brings it back to ε. The gradients that
    are aligned are the attacker's, and those passes count as such; they are differentiated again in the weights.

    The authors' code is reported to differ from the paper, which is followed here: ∇L(x) is a constant there, so that
    only ∇L(x + η) is differentiated again, and x + η is cut to [0, 1].

    Args:
        lambda_: λ; 0.2 is published for CIFAR-10 and ε = 8/255.
    """

    differentiates_twice = True

    def __init__(self, *, lambda_: float = 0.2) -> None:
        super().__init__()
        check_lengths(lambda_=lambda_)
        self.lambda_ = lambda_

    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """One step from the clean image, in the ball and the box."""
        threat = batch.threat
        with attacking(model):
            gradient = image_gradient(model, batch.x, batch.y)
        return threat.project(batch.x + threat.eps * threat.step(gradient), batch.x)

    def objective(self, model: nn.Module, x_adv: Tensor, batch: Batch, criterion: Criterion) -> Tensor:
        """Criterion and misalignment."""
        loss = criterion(model(x_adv), batch.y)
        with attacker_pass(model):
            clean = _gradient(model, batch.x, batch.y)
            noisy = _gradient(model, batch.x + noise(batch, batch.threat.eps), batch.y)
        return loss + self.lambda_ * misalignment(clean, noisy)


def misalignment(a: Tensor, b: Tensor) -> Tensor:
    """Mean of ``1 - cos(a, b)`` over the images (B, C, H, W) at which neither is zero; 0 if there are none."""
    a, b = a.flatten(1), b.flatten(1)
    lengths = a.norm(dim=1) * b.norm(dim=1)
    counts = lengths > 0
    cosine = (a * b).sum(1) / torch.where(counts, lengths, 1)  # no division by 0, in the backward pass neither
    return torch.where(counts, 1 - cosine, 0).sum() / counts.sum().clamp_min(1)


def _gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(leaf), y), leaf, create_graph=True)[0]
