"""Attacks by name, from the options of ``sparta-hub eval``."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from inspect import signature

from torch import Tensor

from sparta_hub.attacks import ATTACKS, PRESETS, attack_of
from sparta_hub.errors import AttackError
from sparta_hub.evaluation import Argument, Attack
from sparta_hub.threat import USUAL, Norm, ThreatModel


def make_attacks(
    names: Sequence[str],
    *,
    norm: Norm | None = None,
    eps: str | None = None,
    targeted: bool = False,
    steps: int | None = None,
    step_size: str | None = None,
    restarts: int | None = None,
    early_stop: bool = False,
) -> list[Attack]:
    """Attacks by name, with what was asked for; a preset has all of that itself.

    Args:
        names: keys of ``ATTACKS`` or ``PRESETS``.
        norm, eps, targeted: threat model; L∞ 8/255 (L2: 0.5) by default.
        steps, step_size, restarts: go to each attack that takes them; None leaves its own default.
        early_stop: let the attacks that can, presets too, drop images that they have broken.

    Raises:
        AttackError: a name that nobody knows or that comes twice, or an option that none of the attacks takes.
    """
    if unknown := [name for name in names if name not in ATTACKS and name not in PRESETS]:
        raise AttackError(
            f"There is no attack {unknown[0]!r}; expected one of {', '.join(ATTACKS)}, "
            f"or a preset: {', '.join(PRESETS)}."
        )
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise AttackError(f"{twice[0]} is named twice; expected each attack once.")
    if "cw" in names and norm != "l2":
        raise AttackError("cw attacks in L2, which --norm l2 of sparta-hub eval gives it; in L∞ take cw_linf.")
    norm_or_usual = norm or "linf"
    threat = ThreatModel.parse(eps or USUAL[norm_or_usual], norm=norm_or_usual, targeted=targeted)
    given: dict[str, Argument] = {"steps": steps, "step_size": _number("step size", step_size), "restarts": restarts}
    given = {option: value for option, value in given.items() if value is not None}
    early: dict[str, Argument] = {"early_stop": True} if early_stop else {}
    attacks = []
    for name in names:
        function, preset = ATTACKS[attack_of(name)], PRESETS.get(name)
        if preset is None:
            attacks.append(Attack(name, function, threat, _taken(function, given | early)))
        else:
            attacks.append(Attack(name, function, preset.threat, {**preset.arguments, **_taken(function, early)}))
    free = [name for name in names if name in ATTACKS]
    for option in given:
        if not any(option in signature(ATTACKS[name]).parameters for name in free):
            raise AttackError(f"{_flag(option)} means nothing to {', '.join(names)}; leave it out.")
    if not free and (norm or eps or targeted):
        raise AttackError(f"{', '.join(names)} has its own threat model; leave out --norm, --eps and --targeted.")
    return attacks


def _taken(attack: Callable[..., Tensor], options: Mapping[str, Argument]) -> dict[str, Argument]:
    """Those options that the attack has."""
    return {name: value for name, value in options.items() if name in signature(attack).parameters}


def _number(what: str, text: str | None) -> float | None:
    try:
        return None if text is None else float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise AttackError(f"{what} is {text!r}; expected a fraction such as 1/255 or a number such as 0.004.") from None


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"
