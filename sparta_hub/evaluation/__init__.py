"""Evaluation: model + images + attacks -> a report that can be checked, resumed and compared image by image."""

from sparta_hub.evaluation._attack import Attack
from sparta_hub.evaluation._checks import check_network, check_numbers, first_logits
from sparta_hub.evaluation._choice import SAMPLE
from sparta_hub.evaluation._evaluate import evaluate
from sparta_hub.evaluation._figures import Figure, figures
from sparta_hub.evaluation._gain import Gain, check_same_images, gain_cell, gains, paired_gain, read_gain
from sparta_hub.evaluation._outcome import Argument, AttackSettings, Flags, Speed, attack_name
from sparta_hub.evaluation._report import WORST_CASE, Accuracy, Report, attacks_that_count
from sparta_hub.evaluation._seeds import SeedGain, gains_over_seeds, mean_over_seeds

__all__ = [
    "SAMPLE",
    "WORST_CASE",
    "Accuracy",
    "Argument",
    "Attack",
    "AttackSettings",
    "Figure",
    "Flags",
    "Gain",
    "Report",
    "SeedGain",
    "Speed",
    "attack_name",
    "attacks_that_count",
    "check_network",
    "check_numbers",
    "check_same_images",
    "evaluate",
    "figures",
    "first_logits",
    "gain_cell",
    "gains",
    "gains_over_seeds",
    "mean_over_seeds",
    "paired_gain",
    "read_gain",
]
