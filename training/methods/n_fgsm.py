"""N-FGSM (de Jorge et al. 2022, arXiv:2202.01181): one step from strong noise, and no projection afterwards."""

from torch import Tensor, nn

from training.methods._ascent import attacking, image_gradient, noise
from training.methods._method import Batch, Method, check_lengths


class NFgsm(Method):
    """``x + η + ε·sign ∇L(x + η)``, η ~ U(-kε, kε), neither cut to the ball nor to [0, 1], as published.

    The authors' code is reported to differ from the paper, which is followed here: it cuts x + η and the result to
    [0, 1].

    Args:
        noise: k; 2 is published.
    """

    def __init__(self, *, noise: float = 2.0) -> None:
        super().__init__()
        check_lengths(noise=noise)
        self.noise = noise

    def attack(self, model: nn.Module, batch: Batch) -> Tensor:
        """One step; the result is up to (k + 1)·ε away."""
        threat = batch.threat
        start = batch.x + noise(batch, self.noise * threat.eps)
        with attacking(model):
            gradient = image_gradient(model, start, batch.y)
        return start + threat.eps * threat.step(gradient)
