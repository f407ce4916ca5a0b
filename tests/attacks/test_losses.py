"""Losses and targets by value."""

import pytest
import torch
import torch.nn.functional as F

from sparta_hub.attacks import LOSSES, uniform_wrong_class
from sparta_hub.attacks.losses import ce, dlr, margin, objective, reached
from sparta_hub.attacks.targets import ranked_wrong_class
from sparta_hub.errors import AttackError

LOGITS = torch.tensor([[4.0, 1.0, 3.0, 0.0], [4.0, 1.0, 3.0, 0.0]])
Y = torch.tensor([0, 2])


def test_margin_is_the_gap_to_the_best_other_class():
    assert margin(LOGITS, Y).tolist() == [-1, 1]
    assert margin(LOGITS, Y, True).tolist() == [1, -1]


def test_dlr_is_the_margin_over_a_spread_of_sorted_logits():
    assert dlr(LOGITS, Y).tolist() == pytest.approx([-1 / 3, 1 / 3])
    assert dlr(LOGITS, Y, True).tolist() == pytest.approx([1 / 3.5, -1 / 3.5])


def test_ce_is_minus_log_probability_or_log_probability_of_the_target():
    log_p = F.log_softmax(LOGITS, 1)[torch.arange(2), Y]
    assert torch.allclose(ce(LOGITS, Y), -log_p)
    assert torch.allclose(ce(LOGITS, Y, True), log_p)


@pytest.mark.parametrize("targeted", [False, True])
def test_dlr_does_not_see_shift_and_scale(targeted):
    z, y = torch.randn(20, 7, dtype=torch.float64), torch.randint(7, (20,))
    assert torch.allclose(dlr(1e3 * z - 17, y, targeted), dlr(z, y, targeted), atol=1e-9)
    assert dlr(z, y).abs().max() <= 10


def test_a_positive_margin_or_dlr_is_success():
    z, y = torch.randn(50, 5), torch.randint(5, (50,))
    for loss in (margin, dlr):
        assert torch.equal(loss(z, y) > 0, reached(z, y))
        assert torch.equal(loss(z, y, True) > 0, reached(z, y, True))


@pytest.mark.parametrize(("loss", "targeted", "classes"), [("dlr", False, 2), ("dlr", True, 3), ("margin", False, 1)])
def test_too_few_classes_are_refused(loss, targeted, classes):
    with pytest.raises(AttackError, match=rf"Logits are \(4, {classes}\) for 4 images; .* with {classes + 1} or more"):
        LOSSES[loss](torch.zeros(4, classes), torch.zeros(4, dtype=torch.long), targeted)


@pytest.mark.parametrize("label", [-1, 4])
def test_the_first_class_that_the_model_does_not_have_is_refused(label):
    with pytest.raises(
        AttackError, match=f"y ranges from {min(label, 0)} to {max(label, 0)}; this model has classes 0"
    ):
        objective(lambda x: LOGITS, torch.tensor([0, label]), False, "ce")(LOGITS)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("logits", [LOGITS[:1], LOGITS[:, :, None]])
def test_what_is_not_a_row_of_logits_an_image_is_refused(logits):
    with pytest.raises(AttackError, match=r"Logits are \(.*\) for 2 images; an attack expects \(B, classes\) with 2"):
        objective(lambda x: logits, Y, False, "ce")(LOGITS)  # pyright: ignore[reportArgumentType]


def test_a_wrong_class_is_wrong_and_every_one_comes_up_as_often():
    y = torch.arange(5).repeat(4000)
    wanted = uniform_wrong_class(y, 5, generator=torch.Generator().manual_seed(0))
    assert (wanted != y).all()
    counts = torch.stack([(wanted[y == k]).bincount(minlength=5) for k in range(5)])
    assert counts.diagonal().sum() == 0
    assert (counts[~torch.eye(5, dtype=torch.bool)] - 1000).abs().max() < 5 * (1000 * 0.75) ** 0.5
    assert torch.equal(uniform_wrong_class(torch.tensor([0, 1]), 2), torch.tensor([1, 0]))
    with pytest.raises(AttackError, match="num_classes is 1; expected 2 or more"):
        uniform_wrong_class(y, 1)


def test_ranked_wrong_classes_leave_out_the_true_one():
    assert [ranked_wrong_class(LOGITS, Y, rank).tolist() for rank in (1, 2, 3)] == [[2, 0], [1, 1], [3, 3]]
    for rank in (0, 4):
        with pytest.raises(AttackError, match=f"rank is {rank}; expected 1 to 3 for 4 classes"):
            ranked_wrong_class(LOGITS, Y, rank)
