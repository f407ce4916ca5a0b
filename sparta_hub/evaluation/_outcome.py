"""What an evaluation was asked, and what every image did."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from math import isfinite
from typing import Literal, get_args

from sparta_hub.errors import AttackError, short
from sparta_hub.threat import ThreatModel

Argument = bool | int | float | str | None
Flags = tuple[bool, ...]


@dataclass(frozen=True)
class AttackSettings:
    """What a record says of an attack: its name, its threat model, the arguments it is called with, and its function.

    The function (module and name; empty in older records) does not decide whether two records are of the same attack.
    """

    name: str
    threat: ThreatModel
    arguments: Mapping[str, Argument]
    function: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise AttackError(f"An attack is called {short(self.name)}; expected a name such as 'pgd'.")
        if not isinstance(self.arguments, Mapping):
            raise AttackError(f"{self.name} has arguments {short(self.arguments)}; expected names and values.")
        for name, value in self.arguments.items():
            if not isinstance(name, str) or not isinstance(value, Argument):
                raise AttackError(
                    f"{self.name} has the argument {short(name)} = {short(value)}; expected numbers, texts, true, "
                    "false or null, so that the record can hold them."
                )
            if isinstance(value, float) and not isfinite(value):
                raise AttackError(f"{self.name} has the argument {name} = {value}; expected a finite number.")

    def __str__(self) -> str:
        arguments = ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.arguments.items())
        return f"{self.name}({arguments}), {self.threat}" if arguments else f"{self.name}, {self.threat}"

    @property
    def words(self) -> str:
        """For tables: lengths of steps in 255ths of the image range, and no ``early_stop``, which saves work alone."""
        arguments = ", ".join(
            f"{k} {v * 255:.4g}/255" if k == "step_size" and isinstance(v, float) else f"{k} {v}"
            for k, v in self.arguments.items()
            if k != "early_stop"
        ).replace("_", " ")
        return f"{self.name} ({arguments}), {self.threat}" if arguments else f"{self.name}, {self.threat}"


def attack_name(text: str) -> str:
    """The name in what ``str`` or ``words`` make of an attack's settings."""
    return re.split(r"[(,]", text, maxsplit=1)[0].strip()


Speed = Literal["exact", "fast", "compiled"]
SPEEDS: tuple[Speed, ...] = get_args(Speed)


@dataclass(frozen=True)
class Protocol:
    """Everything that decides the outcome; a run goes on only from one with the same protocol.

    Args:
        model, data: what they are called.
        images: how many were evaluated, the first of the set.
        num_classes: logits of the model.
        batch_size, seed: as given; together they fix all randomness.
        cascade: later attacks saw only what earlier ones had left.
        speed: attacks ran on the model itself (``exact``), or on a copy that a sample showed to be as good (``fast``,
            ``compiled``).
        attacks: in the order in which they ran.
        weights_sha256, modules_sha256, data_sha256: of the state dict, the kinds of modules, the images with labels.
    """

    model: str
    data: str
    images: int
    num_classes: int
    batch_size: int
    seed: int
    cascade: bool
    speed: Speed
    attacks: tuple[AttackSettings, ...]
    weights_sha256: str
    modules_sha256: str
    data_sha256: str

    def differences(self, other: "Protocol") -> str:
        """Where two protocols differ, in words; empty if they do not."""
        pairs = [(f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self) if f.name != "attacks"]
        names, others = [attack.name for attack in self.attacks], [attack.name for attack in other.attacks]
        pairs.append(("attacks", names, others))
        if names == others:
            for there, here in zip(self.attacks, other.attacks, strict=True):
                arguments = sorted({*there.arguments, *here.arguments})
                pairs.append((f"the threat of {here.name}", there.threat, here.threat))
                pairs += [(f"{k} of {here.name}", there.arguments.get(k), here.arguments.get(k)) for k in arguments]
                if there.function and here.function:
                    pairs.append((f"the function of {here.name}", there.function, here.function))
        return "; ".join(f"{name} is {short(a)} there and {short(b)} here" for name, a, b in pairs if a != b)


@dataclass(frozen=True)
class Tally:
    """What one attack did.

    Args:
        attacked, broken, outside: a flag an image: it was attacked; it was then misclassified; the attack left the ball
            or the box, and the image counts as not broken.
        forwards, backwards: images that went through the model, and whose gradient was taken, inside the attack. The
            evaluator's own prediction of each batch comes on top.
        seconds: spent inside the attack, over all processes.
    """

    attacked: Flags
    broken: Flags
    outside: Flags
    forwards: int
    backwards: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """Clean predictions and one tally an attack, of a batch or of all images."""

    correct: Flags
    attacks: tuple[Tally, ...]


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome of the images of several, in their order."""
    return Outcome(
        _chained(outcome.correct for outcome in outcomes),
        tuple(
            Tally(
                _chained(tally.attacked for tally in tallies),
                _chained(tally.broken for tally in tallies),
                _chained(tally.outside for tally in tallies),
                sum(tally.forwards for tally in tallies),
                sum(tally.backwards for tally in tallies),
                round(sum(tally.seconds for tally in tallies), 3),
            )
            for tallies in zip(*(outcome.attacks for outcome in outcomes), strict=True)
        ),
    )


def worst_case(outcome: Outcome) -> Flags:
    """Which images were right and withstood every attack."""
    broken = zip(outcome.correct, *(tally.broken for tally in outcome.attacks), strict=True)
    return tuple(right and not any(lost) for right, *lost in broken)


def _chained(flags: Iterable[Flags]) -> Flags:
    return tuple(chain.from_iterable(flags))
