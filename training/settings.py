"""A configuration as JSON and as ``field=value`` of the command line, checked against the types of its fields."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from fractions import Fraction
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from sparta_hub.errors import SpartaError
from training.config import TrainConfig, usual_augmentation
from training.errors import ConfigError


def to_json(config: TrainConfig) -> dict[str, Any]:
    """Plain values, as they come back from a JSON file."""
    return json.loads(json.dumps(asdict(config)))


def from_json(value: Mapping[str, Any]) -> TrainConfig:
    """Rebuild a configuration; a field that is lacking, as in older records, has its default.

    Raises:
        ConfigError: an unknown field, or a value of another type.
    """
    return cast(TrainConfig, _from(TrainConfig, value, ""))


FIRST_ENGINE = {"validation": 0, "nesterov": True}  # what it did, and had no fields for


def trained(record: Mapping[str, Any]) -> tuple[TrainConfig, float]:
    """What the record of a run says was trained, and on which share of the images."""
    config = record["config"] if "validation" in record["config"] else {**FIRST_ENGINE, **record["config"]}
    return from_json(config), record.get("data", {}).get("limit", 1.0)


def differences(there: Mapping[str, Any], here: Mapping[str, Any], where: str = "") -> list[str]:
    """The fields in which two JSON objects differ, in words."""
    found = []
    for name in dict.fromkeys([*there, *here]):
        a, b = there.get(name), here.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{where}{name}.")
        elif a != b:
            found.append(f"{where}{name} is {a!r} there and {b!r} here")
    return found


def changed(config: TrainConfig, settings: Sequence[str]) -> TrainConfig:
    """Set fields of ``config`` from texts such as ``epochs=10``, ``threat.eps=8/255``, ``method_arguments.steps=7``.

    With another method or family, the arguments of the old one go, but for those that are set here; with another data
    set by name, augmentation is the one that its images bear, unless that is set or there is none. All are set at once:
    their order decides nothing.

    Raises:
        ConfigError: no such field, or a value of another type; the message names the valid ones. Or a field that has no
            effect, or a learning rate that has none.
    """
    before, values, paths = config, asdict(config), [setting.partition("=")[0] for setting in settings]
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting} has no value; expected FIELD=VALUE, such as --set epochs=10.")
        _set(TrainConfig, values, path.split("."), text, path)
    for owner, field in (("method", "method_arguments"), ("family", "arguments")):
        if values[owner] != getattr(before, owner):
            values[field] = {name: value for name, value in values[field].items() if f"{field}.{name}" in paths}
    named = values["dataset"] != before.dataset and "/" not in values["dataset"]  # a folder may hold anything
    if named and "augmentation" not in paths and before.augmentation != "none":
        values["augmentation"] = usual_augmentation(values["dataset"])
    config = cast(TrainConfig, _from(TrainConfig, values, ""))
    _refuse_idle(config, paths)
    _refuse_foot_alone(config)
    return config


_OF_KINDS = {  # field of a schedule -> the kinds that heed it
    "rise": ("one_cycle", "one_cycle_by_epoch"),
    "milestones": ("multistep",),
    "gamma": ("multistep",),
}


def _refuse_idle(config: TrainConfig, paths: Sequence[str]) -> None:
    """Raise ``ConfigError`` if one of the fields that were set changes nothing in what ``config`` trains."""
    kind = config.schedule.kind
    if "schedule.kind" in paths and kind == "multistep" and not config.schedule.milestones:
        raise ConfigError("schedule.kind multistep wants epochs to step at, such as --set schedule.milestones=30,60.")
    for field, kinds in _OF_KINDS.items():
        if f"schedule.{field}" in paths and kind not in kinds:
            raise ConfigError(f"--set schedule.{field} has no effect beside schedule.kind {kind}; leave it out.")
    if config.activation:
        idle, why = ("family", "placement", "arguments"), f"activation {config.activation}, which brings its own"
    elif config.family == "relu":
        idle, why = ("placement", "arguments"), "family relu, which leaves the host as it is"
    else:
        return
    if found := next((path for path in paths if path.partition(".")[0] in idle), None):
        raise ConfigError(f"--set {found} has no effect beside {why}; leave it out.")


def _refuse_foot_alone(config: TrainConfig) -> None:
    """Raise ``ConfigError`` for a cycle by epochs that has one epoch: as torch's, it ends before it has risen."""
    schedule = config.schedule
    if schedule.kind == "one_cycle_by_epoch" and schedule.rise < 1 and config.epochs - schedule.warmup <= 1:
        raise ConfigError(
            f"schedule.kind one_cycle_by_epoch with epochs {config.epochs:g} and schedule.warmup {schedule.warmup:g} "
            "would train at lr / 250,000 and less; expected more than one epoch after the warm-up, or --set "
            "schedule.momentum_dip=0 --set schedule.kind=one_cycle."
        )


def _set(kind: Any, values: dict[str, Any], path: Sequence[str], text: str, whole: str) -> None:
    """Set a field of ``kind``, a data class or a mapping, in its ``values``."""
    name, rest = path[0], path[1:]
    if not is_dataclass(kind):
        if rest or not name:
            raise ConfigError(f"{whole} goes too deep; expected one name after the first dot.")
        values[name] = _parse_argument(text)
        return
    hint = _hint(cast(type, kind), name, whole)
    if is_dataclass(hint) or get_origin(hint) is Mapping:
        if not rest:
            known = [f.name for f in fields(hint)] if is_dataclass(hint) else ["NAME"]
            raise ConfigError(f"{whole} has parts; set {' or '.join(f'{whole}.{part}=...' for part in known)}.")
        _set(hint, values[name], rest, text, whole)
    elif rest:
        raise ConfigError(f"{whole}: {name} has no parts; expected --set {name}=VALUE.")
    else:
        values[name] = _parse(hint, text, whole)


def _hint(kind: type, name: str, whole: str) -> Any:
    hints = get_type_hints(kind)
    if name not in hints:
        raise ConfigError(f"There is no field {whole}; the fields are {', '.join(hints)}.")
    return hints[name]


def _parse(hint: Any, text: str, where: str) -> Any:
    """The value of type ``hint`` that ``text`` means."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for option in options:
        if get_origin(option) is Literal and text in get_args(option):
            return text
        if option is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if option is str:
            return text
        if option is NoneType and text.lower() == "none":
            return None
        try:
            if option is int:
                return int(text)
            if option is float:
                return _number(text)
            if get_origin(option) is tuple:
                return tuple(_number(part) for part in text.split(",") if part.strip())
        except (ValueError, ZeroDivisionError, OverflowError):
            continue
    raise ConfigError(f"{where} is {text!r}; expected {_words(hint)}.")


def _number(text: str) -> float:
    return float(Fraction(text.strip())) if "/" in text else float(text)


def _parse_argument(text: str) -> bool | int | float | str | None:
    """Number, fraction, true, false, null, or the text itself: a method says what it takes."""
    plain = {"true": True, "false": False, "null": None, "none": None}
    if text.lower() in plain:
        return plain[text.lower()]
    for kind in (int, _number):
        try:
            return kind(text)
        except (ValueError, ZeroDivisionError):
            continue
    return text


def _from(hint: Any, value: Any, where: str) -> Any:
    """``value``, as JSON has it, as ``hint`` wants it."""
    if isinstance(hint, type) and is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}; expected an object.")
        dot = f"{where}." if where else ""
        hints = {name: _hint(hint, name, dot + name) for name in value}
        return _made(lambda: hint(**{name: _from(hints[name], value[name], dot + name) for name in value}))
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for option in options:
        kind = get_origin(option) or option
        if kind is Literal and value in get_args(option) and type(value) is str:
            return value
        if kind is tuple and isinstance(value, list) and all(type(v) in (int, float) for v in value):
            return tuple(value)
        if kind is float and type(value) in (int, float):
            return value
        if kind is Mapping and isinstance(value, Mapping):
            return dict(value)
        if type(value) is kind:
            return value
    raise ConfigError(f"{where} is {value!r}; expected {_words(hint)}.")


def _words(hint: Any) -> str:
    """A type as a user would say it."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_words(option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        return "numbers with commas between them, such as 30,60"
    words = {
        int: "a whole number",
        float: "a number, such as 0.1 or 8/255",
        bool: "true or false",
        str: "a text",
        NoneType: "none",
    }
    return words.get(hint, "an object")


def _made(make: Any) -> Any:
    try:
        return make()
    except ConfigError:
        raise
    except (SpartaError, TypeError) as error:
        raise ConfigError(str(error)) from error
