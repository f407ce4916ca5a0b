from typing import Any

import pytest
import torch

from sparta_hub import ThreatModel
from sparta_hub.errors import AttackError


def images(n=8):
    return torch.rand(n, 3, 5, 5, dtype=torch.float64)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_start_and_projection_stay_in_ball_and_box(norm):
    threat = ThreatModel(norm, 0.3)
    x = images()
    for x_adv in (threat.random_start(x, torch.Generator().manual_seed(1)), threat.project(x + torch.randn_like(x), x)):
        assert (threat.distance(x_adv, x) <= 0.3 + 1e-12).all()
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_fill_the_ball_evenly(norm):
    """A share s^d of the volume lies within the share s of the radius, and as much on one side of x as on the other."""
    x, threat = torch.full((2000, 3, 2, 1), 0.5, dtype=torch.float64), ThreatModel(norm, 0.3)
    delta = threat.random_start(x, torch.Generator().manual_seed(0)) - x
    volume = (threat.distance(x + delta, x) / 0.3) ** x[0].numel()
    for share in (0.25, 0.5, 0.75):
        assert abs(float((volume <= share).double().mean()) - share) < 0.04
    assert delta.mean(0).abs().max() < 0.02
    assert (delta[:, 0] * delta[:, 1]).mean(0).abs().max() < 0.003  # no direction is likelier than another


def test_projection_leaves_what_is_inside_alone():
    x = images() * 0.5 + 0.25
    inside = x + 0.01
    assert torch.allclose(ThreatModel("l2", 10.0).project(inside, x), inside)
    assert torch.allclose(ThreatModel("linf", 0.02).project(inside, x), inside)


def test_l2_clip_scales_to_the_radius():
    delta = torch.full((1, 1, 1, 4), 1.0)  # length 2
    assert torch.allclose(ThreatModel("l2", 0.5).clip(delta), torch.full_like(delta, 0.25))


@pytest.mark.parametrize("size", [1e-37, 1e-25, 1e-3, 1.0, 1e25, 1e37])
def test_l2_step_has_unit_length_whatever_the_gradient(size):
    gradient = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, -1.0]]).view(3, 1, 1, 2) * size
    expected = torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, -1.0]]).view(3, 1, 1, 2)
    torch.testing.assert_close(ThreatModel("l2").step(gradient), expected)


def test_distance_of_each_norm():
    x = torch.zeros(1, 1, 1, 2)
    moved = torch.tensor([[[[0.3, -0.4]]]])
    assert ThreatModel("linf").distance(moved, x).item() == pytest.approx(0.4)
    assert ThreatModel("l2").distance(moved, x).item() == pytest.approx(0.5)


def test_a_generator_gives_the_same_start():
    x = images()
    first, second = (ThreatModel().random_start(x, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_parse_and_print():
    assert ThreatModel.parse("8/255").eps == pytest.approx(8 / 255)
    assert ThreatModel.parse("1").eps == 1  # all that an image can hold
    assert ThreatModel.parse("2.5", norm="l2", targeted=True) == ThreatModel("l2", 2.5, targeted=True)
    assert str(ThreatModel()) == "Linf 8/255"
    assert str(ThreatModel("l2", 0.5, targeted=True)) == "L2 0.5 targeted"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ThreatModel("l1"),  # pyright: ignore[reportArgumentType]
            "norm is 'l1'; expected 'linf' or 'l2'",
        ),
        (lambda: ThreatModel(eps=-1), "eps is -1; expected a finite number >= 0"),
        (lambda: ThreatModel(eps=float("inf")), "eps is inf; expected a finite number >= 0"),
        (lambda: ThreatModel.parse("eight"), "eps is 'eight'; expected a fraction such as 8/255"),
        (lambda: ThreatModel.parse("8/0"), "eps is '8/0'"),
        (lambda: ThreatModel.parse("1e400"), "eps is '1e400'; expected a fraction such as 8/255"),
        (
            lambda: ThreatModel.parse("8"),
            r"eps is '8', more than the whole range of images in \[0, 1\]; expected 8/255",
        ),
    ],
)
def test_errors_say_what_is_expected(make, message):
    with pytest.raises(AttackError, match=message):
        make()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_zero_gradient_gives_a_zero_step_in_every_precision(dtype):
    zero = torch.zeros(2, 3, 2, 2, dtype=dtype)
    assert torch.equal(ThreatModel("l2", 0.5).step(zero), zero)
    assert torch.equal(ThreatModel("l2", 0.5).clip(zero), zero)


@pytest.mark.parametrize(
    ("norm", "eps", "message"),
    [
        ("linf", 8, "eps is 8, more than the whole range of images in .0, 1.; expected 8 / 255?"),
        ("linf", "8/255", "eps is '8/255'; expected a finite number >= 0, for images in .0, 1., such as 8/255."),
        ("l2", None, "eps is None; expected a finite number"),
        ("L2", 0.5, "norm is 'L2'; expected 'linf' or 'l2'."),
        ("linf", True, "eps is True; expected a finite number"),
    ],
)
def test_a_radius_that_cannot_be_meant_is_refused(norm, eps, message):
    with pytest.raises(AttackError, match=message):
        ThreatModel(norm, eps)


def test_targeted_is_true_or_false():
    wrong: Any = "no"
    with pytest.raises(AttackError, match="targeted is 'no'; expected True or False"):
        ThreatModel(targeted=wrong)


def test_radii_beyond_the_box_have_a_meaning_in_l2_alone():
    assert ThreatModel("linf", 1).eps == 1
    assert ThreatModel("l2", 10).eps == 10
