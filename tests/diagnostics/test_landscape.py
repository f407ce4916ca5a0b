"""The loss on a plane, in closed form on a linear model."""

from typing import Any

import pytest
import torch
from torch import nn

from sparta_hub.diagnostics import loss_landscape
from sparta_hub.errors import AttackError


class Linear(nn.Module):
    """Margin of class 0: ``-w·x``."""

    def __init__(self, w):
        super().__init__()
        self.w = w

    def forward(self, x):
        score = (x * self.w).sum((1, 2, 3))
        return torch.stack([score, torch.zeros_like(score)], 1)


def test_a_linear_model_in_closed_form():
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(3, 4, 4, generator=generator, dtype=torch.float64)
    x = 0.4 + 0.2 * torch.rand(2, 3, 4, 4, generator=generator, dtype=torch.float64)  # far from the box
    y = torch.tensor([0, 1])
    signs = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(9)).double() * 2 - 1
    found = loss_landscape(
        Linear(w), x, y, radius=0.1, points=5, loss="margin", batch_size=7, generator=torch.Generator().manual_seed(9)
    )
    assert found.offsets.tolist() == pytest.approx([-0.1, -0.05, 0, 0.05, 0.1])
    for i, sign in enumerate((-1, 1)):  # class 0 loses where the score falls, class 1 where it rises
        a, b = found.offsets[:, None], found.offsets[None]
        score = (x[i] * w).sum() + sign * a * w.abs().sum() + b * (signs[i] * w).sum()
        torch.testing.assert_close(found.losses[i], sign * score)


def test_images_stay_in_the_box_and_the_model_as_it_was(robust, images):
    seen = []
    handle = robust.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach().aminmax()))
    robust.train()
    try:
        found = loss_landscape(robust, images.floats(slice(2)), images.y[:2], radius=0.5, points=3)
        assert robust.training
    finally:
        robust.eval()
        handle.remove()
    assert all(low >= 0 and high <= 1 for low, high in seen)
    assert found.losses.shape == (2, 3, 3)
    middle = nn.functional.cross_entropy(robust(images.floats(slice(2))), images.y[:2], reduction="none")
    torch.testing.assert_close(found.losses[:, 1, 1], middle.detach())
    assert (found.losses[:, 2, 1] > found.losses[:, 1, 1]).all()  # up along the gradient


def test_a_function_is_no_network(images):
    function: Any = max
    with pytest.raises(AttackError, match="model is <built-in function max>; expected a network"):
        loss_landscape(function, images.floats(slice(1)), images.y[:1])


@pytest.mark.parametrize("wrong", [{"points": 1}, {"radius": 0.0}, {"radius": float("nan")}])
def test_wrong_arguments(robust, images, wrong):
    with pytest.raises(AttackError, match="expected 2 or more, above 0, 1 or more"):
        loss_landscape(robust, images.floats(slice(1)), images.y[:1], **wrong)
