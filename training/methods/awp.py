"""Adversarial weight perturbation (AWP; Wu et al. 2020, arXiv:2004.05884), around any method."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from training.methods._ascent import average_over_processes, running_statistics_kept
from training.methods._method import Batch, Criterion, Method, check_lengths


class Awp(Method):
    """The method's loss at ``w + v`` instead of w, layer by layer ``v = γ·‖w‖·∇L/‖∇L‖``, one step of ascent.

    The images are attacked at w. As in the authors' code, only weights of two or more dimensions are perturbed, so no
    bias and no BatchNorm; frozen ones are not either. ``after_backward`` brings the very bits of w back, so the
    gradient is taken at w + v and the optimiser steps from w. The loss that is climbed is the one that is trained,
    label smoothing and random numbers of the method included.

    BatchNorm's running statistics: the pass that finds v leaves them alone, the pass that is trained on moves them, as
    without AWP.

    Args:
        method: what is perturbed.
        gamma: γ; 0.01 is published for PGD adversarial training and 0.005 for TRADES.
    """

    def __init__(self, method: Method, *, gamma: float) -> None:
        super().__init__()
        check_lengths(gamma=gamma)
        self.method, self.gamma = method, gamma
        self.replays, self.differentiates_twice = method.replays, method.differentiates_twice
        self.takes_targets = method.takes_targets
        self._own: list[tuple[Tensor, Tensor]] = []  # weights, and their values

    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """The method's attack."""
        return self.method.attack(model, batch)

    def objective(self, model: nn.Module, x_adv: Tensor, batch: Batch, criterion: Criterion) -> Tensor:
        """The method's objective at the perturbed weights, which stay until ``after_backward``."""
        weights = [weight for weight in model.parameters() if weight.requires_grad and weight.dim() > 1]
        ahead = replace(batch.draws, generator=batch.draws.generator.clone_state())  # the same noise in both passes
        with running_statistics_kept(model):
            loss = self.method.objective(model, x_adv, replace(batch, draws=ahead), criterion)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        average_over_processes(gradients)
        self._own = [(weight, weight.detach().clone()) for weight in weights]
        try:
            self._perturb(gradients)
            return self.method.objective(model, x_adv, batch, criterion)
        except BaseException:
            self._restore()
            raise

    def after_backward(self, model: nn.Module) -> None:
        """Bring the weights back, then what the method has to do."""
        self._restore()
        self.method.after_backward(model)

    @torch.no_grad()
    def _perturb(self, gradients: tuple[Tensor, ...]) -> None:
        for (weight, _), gradient in zip(self._own, gradients, strict=True):
            direction = gradient / gradient.norm().clamp_min(torch.finfo(gradient.dtype).tiny)
            weight.addcmul_(direction, self.gamma * weight.norm())
        torch.clear_autocast_cache()  # of the weights as they were

    @torch.no_grad()
    def _restore(self) -> None:
        for weight, value in self._own:
            weight.copy_(value)
        self._own = []
        torch.clear_autocast_cache()
