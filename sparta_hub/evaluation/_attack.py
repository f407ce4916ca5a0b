"""An attack, as the evaluator calls it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature

import torch
from torch import Tensor, nn

from sparta_hub.errors import AttackError, short
from sparta_hub.evaluation._outcome import Argument, AttackSettings
from sparta_hub.threat import ThreatModel


@dataclass(frozen=True)
class Attack:
    """A name and a call: ``function(model, x, y, threat, **arguments, generator=...)``.

    Args:
        name: for the record.
        function: gives the attacked images; ``generator`` is passed if it takes one. With a targeted threat, ``y`` is
            a wrong class, drawn uniformly for each image.
        threat: what it may change.
        arguments: plain values, which the record repeats.

    Raises:
        AttackError: the function is none, or has no such argument; or ``threat`` is none.
    """

    name: str
    function: Callable[..., Tensor]
    threat: ThreatModel
    arguments: Mapping[str, Argument] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise AttackError(
                f"{self.name} has the function {short(self.function)}; expected one, such as sparta_hub.attacks.pgd."
            )
        if not isinstance(self.threat, ThreatModel):
            raise AttackError(
                f"{self.name} has the threat {short(self.threat)}; expected ThreatModel('linf', 8 / 255), for example."
            )
        known = signature(self.function).parameters
        takes_all = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in known.values())
        own = [name for name in known if name not in ("model", "x", "y", "threat", "generator")]
        if unknown := [name for name in self.arguments if name not in own and not takes_all]:
            raise AttackError(
                f"{self.name} has the argument {short(unknown[0])}; its function takes {', '.join(own) or 'none'}."
            )

    @property
    def settings(self) -> AttackSettings:
        """What the record says of it."""
        function = f"{self.function.__module__}.{getattr(self.function, '__qualname__', type(self.function).__name__)}"
        return AttackSettings(self.name, self.threat, dict(self.arguments), function)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Attack a batch."""
        extra = {"generator": generator} if "generator" in signature(self.function).parameters else {}
        return self.function(model, x, y, self.threat, **self.arguments, **extra)
