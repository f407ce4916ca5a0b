"""What an activation family is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from sparta_hub.spec import Argument


@dataclass(frozen=True)
class Family:
    """A kind of activation.

    Args:
        make: class or function that makes the module: ``make(channels, **arguments)``, or ``make(**arguments)``.
        source: where the formula comes from.
        defaults: every argument there is, with its default.
        per_channel: whether ``make`` wants to know the number of channels.
        positive: arguments that break at 0 and below, where ``make`` does not say so itself.
    """

    make: Callable[..., nn.Module]
    source: str
    defaults: Mapping[str, Argument] = field(default_factory=dict)
    per_channel: bool = False
    positive: tuple[str, ...] = ()
