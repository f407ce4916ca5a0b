"""ZeroGPU: on a Space that lends a GPU for each call, ``spaces.GPU`` asks for it; elsewhere nothing happens."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def on_gpu(function: Callable[P, R]) -> Callable[P, R]:
    """``spaces.GPU`` around ``function`` where the Hub's package ``spaces`` is installed; else ``function`` itself."""
    try:
        from spaces import GPU  # type: ignore[import-not-found]  # in a checkout, `spaces` is this very folder's parent
    except ImportError:
        return function
    return GPU(duration=30)(function)
