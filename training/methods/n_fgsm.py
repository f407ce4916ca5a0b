"""N-FGSM (de Jorge et al. 2022, arXiv:2202.01181): one step from strong noise, and no projection afterwards."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparta_hub.threat import ThreatModel

NOISE = 2.0  # k: the noise is uniform in a cube of k·ε


def n_fgsm(model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, generator: torch.Generator) -> Tensor:
    """``x + η + ε·sign ∇L(x + η)``, η ~ U(-2ε, 2ε), neither cut to the ball nor to [0, 1], as published.

    The model stays in the mode it is in: in training, BatchNorm uses the batch's statistics here too.
    """
    noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    start = (x + NOISE * threat.eps * (2 * noise - 1)).contiguous(memory_format=torch.channels_last).requires_grad_()
    gradient = torch.autograd.grad(F.cross_entropy(model(start), y), start)[0]
    return (start + threat.eps * gradient.sign()).detach()
