"""Threat models: what an attacker may change. Images lie in [0, 1]."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Self

import torch
from torch import Tensor

from sparta_hub.errors import AttackError

Norm = Literal["linf", "l2"]
USUAL: dict[Norm, str] = {"linf": "8/255", "l2": "0.5"}  # the radius where none is given


@dataclass(frozen=True)
class ThreatModel:
    """A ball of radius ``eps`` around each image, cut with the box [0, 1].

    Args:
        norm: ``"linf"`` (largest change of any value) or ``"l2"`` (Euclidean length over all values of an image).
        eps: radius, in units of the image range: 8/255 is ``8 / 255``.
        targeted: the attacker wants one given wrong class instead of any wrong class.

    Raises:
        AttackError: an unknown norm; a radius that is no number, negative, not finite, or for L∞ above 1; or
            ``targeted`` is neither True nor False.
    """

    norm: Norm = "linf"
    eps: float = 8 / 255
    targeted: bool = False

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise AttackError(f"norm is {self.norm!r}; expected 'linf' or 'l2'.")
        if not isinstance(self.eps, int | float) or self.eps is True or not 0 <= self.eps < float("inf"):
            raise AttackError(
                f"eps is {self.eps!r}; expected a finite number >= 0, for images in [0, 1], such as 8/255."
            )
        if not isinstance(self.targeted, bool):
            raise AttackError(f"targeted is {self.targeted!r}; expected True or False.")
        if self.norm == "linf" and self.eps > 1:
            raise AttackError(f"eps is {self.eps:g}, more than the whole range of images in [0, 1]; expected 8 / 255?")

    @classmethod
    def parse(cls, text: str, *, norm: Norm = "linf", targeted: bool = False) -> Self:
        """Read ``"8/255"`` or ``"0.03"`` as people write a radius."""
        try:
            radius = float(Fraction(text))
        except (ValueError, ZeroDivisionError, OverflowError):
            raise AttackError(f"eps is {text!r}; expected a fraction such as 8/255 or a number such as 0.03.") from None
        if norm == "linf" and radius > 1:
            raise AttackError(f"eps is {text!r}, more than the whole range of images in [0, 1]; expected {text}/255?")
        return cls(norm, radius, targeted)

    @property
    def radius(self) -> str:
        """``eps`` as people write it: ``8/255``, and for L2 ``0.5``."""
        return f"{self.eps * 255:.4g}/255" if self.norm == "linf" else f"{self.eps:.4g}"

    def __str__(self) -> str:
        return f"{'Linf' if self.norm == 'linf' else 'L2'} {self.radius}{' targeted' if self.targeted else ''}"

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Bring ``x_adv`` (B, C, H, W) back into the ball around ``x`` and into [0, 1]."""
        return (x + self.clip(x_adv - x)).clamp(0, 1)

    def clip(self, delta: Tensor) -> Tensor:
        """Shorten perturbations (B, ...) to at most ``eps``; the box is not looked at."""
        if self.norm == "linf":
            return delta.clamp(-self.eps, self.eps)
        length = per_image(delta.flatten(1).norm(dim=1), delta)
        return delta * (self.eps / length.clamp_min(_tiny(delta))).clamp_max(1)

    def step(self, gradient: Tensor) -> Tensor:
        """Direction of steepest ascent with unit length in this norm: sign, or the normalised gradient."""
        if self.norm == "linf":
            return gradient.sign()
        largest = gradient.flatten(1).abs().amax(1).clamp_min(_tiny(gradient))  # squares of 1e-23 would be 0 in float32
        scaled = gradient / per_image(largest, gradient)
        return scaled / per_image(scaled.flatten(1).norm(dim=1).clamp_min(_tiny(gradient)), gradient)

    def random_start(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw uniformly from the ball around ``x``, then cut with the box."""
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        if self.norm == "linf":
            return (x + (2 * noise - 1) * self.eps).clamp(0, 1)
        normal = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        radius = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype) ** (1 / x[0].numel())
        return (x + self.eps * self.step(normal) * per_image(radius, x)).clamp(0, 1)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Size of each perturbation in this norm, shape (B,)."""
        delta = (x_adv - x).flatten(1)
        return delta.abs().amax(1) if self.norm == "linf" else delta.norm(dim=1)


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, …), so that it multiplies or selects images like ``like``."""
    return values.view(-1, *[1] * (like.dim() - 1))


def _tiny(like: Tensor) -> float:
    """The smallest positive normal number of a dtype: what a length is kept above, so that it can be divided by."""
    return torch.finfo(like.dtype).tiny
