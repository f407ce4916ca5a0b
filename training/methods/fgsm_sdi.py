"""FGSM with sample-dependent initialisation (FGSM-SDI; Jia et al. 2022, arXiv:2110.05007)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.methods._ascent import attacking, average_over_processes, image_gradient
from training.methods._method import Batch, Method, check_counts, check_lengths

_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8  # Adam's


class Generator(nn.Module):
    """``g(x, s)`` in [-1, 1]: images and signs, both (B, C, H, W), to one direction of that shape.

    Conv3×3(2C→64)+BN+ReLU, a residual block of 64, Conv3×3(64→C)+BN, tanh. The inside of the block (two Conv3×3+BN, a
    ReLU between them and one after the sum) and tanh are chosen. BatchNorm always uses the batch's statistics (on CUDA
    those of all processes, see ``build_method``): the generator works in training alone, so there are no running ones.
    """

    def __init__(self, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        self.enter = _conv_bn(2 * channels, width)
        self.inner = _conv_bn(width, width)
        self.outer = _conv_bn(width, width)
        self.leave = _conv_bn(width, channels)

    def forward(self, x: Tensor, signs: Tensor) -> Tensor:
        """The direction, in the dtype of x."""
        z = F.relu(self.enter(torch.cat([x, signs], 1)))
        z = F.relu(z + self.outer(F.relu(self.inner(z))))
        return self.leave(z).to(x.dtype).tanh()


def _conv_bn(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)  # BatchNorm takes any bias away
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, track_running_stats=False))


class FgsmSdi(Method):
    """``Π(x + η + ε·sign ∇L(x + η))`` with ``η = ε·g(x, sign ∇L(x))``; g climbs the loss that the network descends.

    Every ``every`` steps, before it is used, g takes one step of Adam up the loss at the attacked images, through η,
    the signs being constants. With an L2 threat η is shortened to the ball (chosen). Adam's moments are buffers: a
    checkpoint holds all that g is. Its initial weights are drawn as the module is made: see ``build_method``.

    The authors' code is reported to differ from the paper, which is followed here: it smooths labels by 0.1, and has g
    in eval mode where it attacks.

    Args:
        every: k; 20 is published.
        lr: of g; Adam at 1e-3 is the authors' code.
        channels: of the images.
    """

    def __init__(self, *, every: int = 20, lr: float = 1e-3, channels: int = 3) -> None:
        super().__init__()
        check_counts(every=every, channels=channels)
        check_lengths(lr=lr)
        self.every, self.lr = every, lr
        self.generator = Generator(channels).to(memory_format=torch.channels_last)
        for i, weight in enumerate(self.generator.parameters()):
            self.register_buffer(f"mean{i}", torch.zeros_like(weight))
            self.register_buffer(f"square{i}", torch.zeros_like(weight))

    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """One step from where g says, in the ball and the box."""
        with attacking(model):
            signs = image_gradient(model, batch.x, batch.y).sign()
            if batch.step % self.every == 0:
                self._climb(model, batch, signs)
            with torch.no_grad():
                start = self._start(batch, signs)
            return _step(model, start, batch)

    def _start(self, batch: Batch, signs: Tensor) -> Tensor:
        return batch.x + batch.threat.clip(batch.threat.eps * self.generator(batch.x, signs))

    def _climb(self, model: nn.Module, batch: Batch, signs: Tensor) -> None:
        """One step of Adam on g, uphill."""
        weights = list(self.generator.parameters())
        torch.clear_autocast_cache()  # of casts without gradient, which torch before 2.10 would use here
        loss = F.cross_entropy(model(_step(model, self._start(batch, signs), batch)), batch.y)
        gradients = torch.autograd.grad(loss, weights)
        average_over_processes(gradients)
        count = batch.step // self.every + 1
        with torch.no_grad():
            for i, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
                mean, square = self.get_buffer(f"mean{i}"), self.get_buffer(f"square{i}")
                mean.lerp_(gradient, 1 - _BETA1)
                square.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
                scale = (square / (1 - _BETA2**count)).sqrt_().add_(_TINY)
                weight.addcdiv_(mean, scale, value=self.lr / (1 - _BETA1**count))
        torch.clear_autocast_cache()  # of the weights as they were


def _step(model: nn.Module, start: Tensor, batch: Batch) -> Tensor:
    """One step of FGSM; its gradient in ``start`` is the projection's."""
    threat = batch.threat
    gradient = image_gradient(model, start, batch.y)
    return threat.project(start + threat.eps * threat.step(gradient), batch.x)
