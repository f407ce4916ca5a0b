"""Recipes by name: functions that return a complete configuration. Derive one by calling another and ``replace``."""

import difflib
from collections.abc import Callable

from training.config import TrainConfig
from training.errors import ConfigError
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


def find_recipe(name: str) -> TrainConfig:
    """What the recipe ``name`` makes.

    Raises:
        ConfigError: there is none; the message has the nearest ones.
    """
    if name in RECIPES:
        return RECIPES[name]()
    near = difflib.get_close_matches(name.lower(), RECIPES, n=3, cutoff=0.8)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ConfigError(f"There is no recipe {name}; python -m training.run --list shows all {len(RECIPES)}.{hint}")


__all__ = ["PUBLISHED", "RECIPES", "WITHOUT", "PaperRow", "find_recipe"]
