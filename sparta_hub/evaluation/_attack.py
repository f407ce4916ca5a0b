"""An attack, as the evaluator calls it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from inspect import Parameter, signature, unwrap
from types import FunctionType

import torch
from torch import Tensor, nn

from sparta_hub.errors import AttackError, short
from sparta_hub.evaluation._outcome import Argument, AttackSettings
from sparta_hub.identity import in_words, made_of, modules_sha256, state_sha256
from sparta_hub.threat import ThreatModel


@dataclass(frozen=True)
class Attack:
    """A name and a call: ``function(model, x, y, threat, **arguments, generator=...)``.

    Args:
        name: for the record.
        function: gives the attacked images; ``generator`` is passed if it takes one. With a targeted threat, ``y`` is
            a wrong class, drawn uniformly for each image. With ``functools.partial`` the record has its keywords.
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
        if isinstance(self.function, partial) and self.function.args:
            raise AttackError(
                f"{self.name} has a partial call with {short(self.function.args[0])} in front; expected keywords "
                "alone, since the evaluator gives the model, the images, their classes and the threat."
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
        arguments = dict(self.arguments)
        if isinstance(self.function, partial):
            arguments = dict(self.function.keywords) | arguments
        return AttackSettings(self.name, self.threat, arguments, self._identity[0])

    @property
    def unknown(self) -> str:
        """The kind of what the function holds that a record cannot tell from others; empty if there is none."""
        return self._identity[1]

    @property
    def _identity(self) -> tuple[str, str]:
        """The function in words that tell it from others, and what is missing to that."""
        function = unwrap(self.function.func if isinstance(self.function, partial) else self.function)
        name = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"
        if isinstance(function, FunctionType):
            held = made_of(function) if "<" in function.__qualname__ else []
        else:
            held = [getattr(function, "__self__", function)]
        words = [(part, _in_words(part)) for part in held]
        unknown = next((type(part).__name__ for part, found in words if not found), "")
        if not held or unknown:
            return name, unknown
        return f"{name} {sha256(repr([found for _, found in words]).encode()).hexdigest()[:8]}", ""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Attack a batch."""
        extra = {"generator": generator} if "generator" in signature(self.function).parameters else {}
        return self.function(model, x, y, self.threat, **self.arguments, **extra)


def _in_words(value: object) -> str:
    if isinstance(value, list | dict | set):  # which the function can fill, so the next run may find another
        return ""
    return f"{state_sha256(value)} {modules_sha256(value)}" if isinstance(value, nn.Module) else in_words(value)
