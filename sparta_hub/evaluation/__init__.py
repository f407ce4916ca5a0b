"""Evaluation: model + images + attacks -> a report that can be checked, resumed and compared image by image."""

from sparta_hub.evaluation._batch import Attack
from sparta_hub.evaluation._evaluate import evaluate
from sparta_hub.evaluation._gain import Gain, gains, paired_gain
from sparta_hub.evaluation._outcome import Argument
from sparta_hub.evaluation._report import Report

__all__ = ["Argument", "Attack", "Gain", "Report", "evaluate", "gains", "paired_gain"]
