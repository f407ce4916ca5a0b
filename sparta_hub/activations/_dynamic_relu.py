"""Dynamic ReLU: the largest of a few lines whose coefficients a small network predicts from the input."""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLOPE_RANGE, _INTERCEPT_RANGE = 1.0, 0.5  # the paper's lambda_a and lambda_b


def dynamic_relu(x: Tensor, slopes: Tensor, intercepts: Tensor) -> Tensor:
    """``max_k (a_k x + b_k)``: x (B, C, H, W), slopes a and intercepts b (k, B, C, 1, 1)."""
    return reduce(torch.maximum, [torch.addcmul(b, a, x) for a, b in zip(slopes, intercepts, strict=True)])


def spatial_attention(scores: Tensor, temperature: float = 10.0) -> Tensor:
    """``min(gamma * softmax(scores / temperature), 1)`` over positions, gamma = H W / 3; scores (B, 1, H, W)."""
    weights = torch.softmax(scores.flatten(1) / temperature, 1) * (scores.shape[2] * scores.shape[3] / 3)
    return weights.clamp(max=1).view_as(scores)


class DynamicRelu(nn.Module):
    """Dynamic ReLU (Chen et al. 2020, arXiv:2003.10027), variants B and C, shape (B, C, H, W) to the same shape.

    Coefficients are ``(1, 0, ..., 0)`` plus a residual ``lambda (2 sigmoid(FC(relu(FC(mean x)))) - 1)``, lambda 1 for
    slopes and 0.5 for intercepts. Variant C multiplies the result by an attention over positions, a 1x1 convolution
    and ``spatial_attention``: since that is positive, it is the same as multiplying all coefficients.

    The last layers start at zero, so that B starts as ReLU, and C as ReLU times the even attention, 1/3. From the third
    on, lines are a little off zero: equal ones would get equal gradients, and stay one line for ever.

    Args:
        channels: C.
        spatial: with the attention over positions, which is variant C.
        reduction: how much narrower the hidden layer is than C.
        pieces: k, the number of lines.
        temperature: of the softmax over positions.
    """

    def __init__(
        self, channels: int, *, spatial: bool, reduction: int = 4, pieces: int = 2, temperature: float = 10.0
    ) -> None:
        super().__init__()
        if reduction < 1 or pieces < 2:
            raise ValueError(
                f"reduction is {reduction}, pieces {pieces}; expected reduction from 1 and pieces from 2 on."
            )
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; expected a positive number such as 10.")
        self.pieces, self.spatial, self.temperature = pieces, spatial, temperature
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Linear(channels, hidden)
        self.predict = nn.Linear(hidden, 2 * pieces * channels)
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(self.predict.bias)
        nn.init.normal_(self.predict.weight.detach().unflatten(0, (2, pieces, channels))[:, 2:], std=1e-3)
        if spatial:
            self.score = nn.Conv2d(channels, 1, 1)
            nn.init.zeros_(self.score.weight)
            nn.init.zeros_(self.score.bias)  # pyright: ignore[reportArgumentType]

    def gate(self, x: Tensor) -> tuple[Tensor, ...]:
        """Slopes and intercepts for x (B, C, H, W), each (k, B, C, 1, 1), and for C the attention (B, 1, H, W)."""
        residual = 2 * torch.sigmoid(self.predict(F.relu(self.squeeze(x.mean((2, 3)))))) - 1
        residual = residual.view(x.shape[0], 2, self.pieces, x.shape[1], 1, 1).permute(1, 2, 0, 3, 4, 5)
        slopes, intercepts = _SLOPE_RANGE * residual[0], _INTERCEPT_RANGE * residual[1]
        lines = torch.cat([slopes[:1] + 1, slopes[1:]]), intercepts
        return (*lines, spatial_attention(self.score(x), self.temperature)) if self.spatial else lines

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to x (B, C, H, W)."""
        slopes, intercepts, *attention = self.gate(x)
        y = dynamic_relu(x, slopes, intercepts)
        return y * attention[0] if attention else y


def dynamic_relu_b(channels: int, *, reduction: int = 4, pieces: int = 2) -> DynamicRelu:
    """Variant B: coefficients for every channel, the same at all positions. Arguments as in ``DynamicRelu``."""
    return DynamicRelu(channels, spatial=False, reduction=reduction, pieces=pieces)


def dynamic_relu_c(channels: int, *, reduction: int = 4, pieces: int = 2, temperature: float = 10.0) -> DynamicRelu:
    """Variant C: coefficients for every channel, scaled at every position. Arguments as in ``DynamicRelu``."""
    return DynamicRelu(channels, spatial=True, reduction=reduction, pieces=pieces, temperature=temperature)
