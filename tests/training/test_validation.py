"""Measuring, choosing the best, and the rule of catastrophic overfitting, by value."""

import pytest
import torch
from torch import nn

from sparta_hub.data import Images
from sparta_hub.threat import ThreatModel
from training.config import TrainConfig
from training.validation import Validation, aim, best_of, has_overfitted, measure


class Threshold(nn.Module):
    """Class 1 if the mean is above 127.5/255."""

    def __init__(self):
        super().__init__()
        self.middle = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        score = x.flatten(1).mean(1) - self.middle
        return torch.stack([-score, score], 1)


def history(*rows: tuple[float, float]) -> list[Validation]:
    return [Validation(i, i, loss, 50.0, pgd) for i, (loss, pgd) in enumerate(rows)]


def test_accuracies_of_a_model_with_known_answers():
    values = torch.tensor([10, 119, 120, 127, 128, 135, 136, 250])
    x = values.to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4).contiguous()
    model = Threshold().train()
    assert measure(model, Images(x, (values > 127).long(), "grey"), ThreatModel("linf", 8 / 255)) == (100, 50)
    assert model.training


def test_the_best_is_the_first_with_the_highest_accuracy_under_attack():
    found = history((2, 30), (1.5, 40), (1.4, 40), (1.3, 39))
    best = best_of(found)
    assert best is not None
    assert best.step == 1
    assert best_of([]) is None


def test_standard_training_aims_at_clean_accuracy():
    found = [Validation(0, 0, 2.0, 60.0, 40.0), Validation(1, 1, 1.0, 90.0, 0.0), Validation(2, 2, 0.9, 90.0, 1.0)]
    standard, adversarial = (TrainConfig("a", "resnet18_cifar", method=method) for method in ("standard", "trades"))
    assert best_of(found, aim(standard)) == found[1]
    assert best_of(found, aim(adversarial)) == found[0]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(2, 30), (1.5, 40), (1.0, 19.9)], True),  # below half of 40, loss lower
        ([(2, 30), (1.5, 40), (1.5, 0)], True),
        ([(2, 30), (1.5, 40), (1.0, 20)], False),  # half is not below half
        ([(2, 30), (1.5, 40), (1.6, 0)], False),  # the loss rose too: it diverges
        ([(2, 30), (1.5, 40), (1.0, 35)], False),
        ([(2, 12), (1.5, 3)], False),  # nine points: noise at the beginning of a run
        ([(2, 12), (1.5, 1)], True),
        ([(2, 30)], False),
        ([(2, 30), (1.0, 0), (0.9, 0)], True),  # still collapsed
        ([(2, 30), (1.0, 0), (1.1, 31)], False),  # recovered
    ],
)
def test_the_rule_of_catastrophic_overfitting(rows, expected):
    assert has_overfitted(history(*rows)) is expected
