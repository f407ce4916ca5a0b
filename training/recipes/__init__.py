"""Recipes by name: functions that return a complete configuration. Derive one by calling another and ``replace``."""

from collections.abc import Callable

from training.config import TrainConfig
from training.recipes import cpu, fast_gpu, fastat, sat, small, sparta, thesis
from training.recipes._paper import PaperRow

RECIPES: dict[str, Callable[[], TrainConfig]] = {
    **cpu.RECIPES,
    **small.RECIPES,
    **fast_gpu.RECIPES,
    **fastat.RECIPES,
    **sparta.RECIPES,
    **thesis.RECIPES,
    **sat.RECIPES,
}

PUBLISHED: dict[PaperRow, str] = {**sparta.PUBLISHED, **thesis.PUBLISHED, **sat.PUBLISHED, **fastat.PUBLISHED}
WITHOUT: dict[PaperRow, str] = {**sat.WITHOUT, **fastat.WITHOUT}  # rows without a recipe, and why

__all__ = ["PUBLISHED", "RECIPES", "WITHOUT", "PaperRow"]
