"""JSON of what an evaluation was asked and what every image did, read back strictly."""

from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np

from sparta_hub.errors import AttackError, ReportError, short
from sparta_hub.evaluation._outcome import SPEEDS, AttackSettings, Flags, Outcome, Protocol, Tally
from sparta_hub.records import read_object
from sparta_hub.threat import ThreatModel


def outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    """Plain values; flags are hexadecimal, the first image the highest bit of the first digit."""
    rows = [asdict(tally) for tally in outcome.attacks]
    for row in rows:
        row |= {name: _to_hex(row[name]) for name in ("attacked", "broken", "outside")}
    return {"correct": _to_hex(outcome.correct), "attacks": rows}


def outcome_from_json(value: Any, images: int, attacks: int) -> Outcome:
    """Rebuild the outcome of so many images and attacks."""
    data = read_object(value, ("correct", "attacks"), "outcome")
    if not isinstance(data["attacks"], list) or len(data["attacks"]) != attacks:
        raise ReportError(f"outcome.attacks is {short(data['attacks'])}; expected a list of {attacks}.")
    correct, tallies = _from_hex(data["correct"], images, "correct"), []
    for row in data["attacks"]:
        row = read_object(row, [f.name for f in fields(Tally)], "an attack's outcome")
        for name in ("forwards", "backwards", "seconds"):
            if type(row[name]) not in ((int, float) if name == "seconds" else (int,)) or not 0 <= row[name] < 1e18:
                raise ReportError(f"An attack's {name} is {short(row[name])}; expected a number >= 0.")
        for name in ("attacked", "broken", "outside"):
            row[name] = _from_hex(row[name], images, name)
        tally = Tally(**row)
        if any(a and not c for a, c in zip(tally.attacked, correct, strict=True)):
            raise ReportError("An image was attacked though it was misclassified before; expected it left alone.")
        flags = zip(tally.attacked, tally.broken, tally.outside, strict=True)
        if any((not tried and (broken or out)) or (broken and out) for tried, broken, out in flags):
            raise ReportError("An image that was not attacked is broken, or one whose attack left the ball is.")
        tallies.append(tally)
    return Outcome(correct, tuple(tallies))


def protocol_to_json(protocol: Protocol) -> dict[str, Any]:
    """Plain values for ``json.dumps``."""
    attacks = [{**asdict(a), "arguments": dict(a.arguments)} for a in protocol.attacks]
    for row in attacks:
        if not row["function"]:  # older records stay as they were written
            del row["function"]
    return asdict(replace(protocol, attacks=())) | {"attacks": attacks}


def protocol_from_json(value: Any) -> Protocol:
    """Rebuild a protocol."""
    if isinstance(value, dict):
        value = {"speed": "exact", **value}  # for records from before there was a choice
    data = read_object(value, [f.name for f in fields(Protocol)], "protocol")
    kinds = {"images": int, "num_classes": int, "batch_size": int, "seed": int, "cascade": bool, "attacks": list}
    for name, item in data.items():
        kind = kinds.get(name, str)
        if type(item) is not kind or (name in ("images", "num_classes", "batch_size") and item < 1):
            raise ReportError(f"protocol.{name} is {short(item)}; expected {_KINDS[kind]}.")
    if data["speed"] not in SPEEDS:
        raise ReportError(f"protocol.speed is {short(data['speed'])}; expected one of {', '.join(SPEEDS)}.")
    data["attacks"] = tuple(map(_settings_from_json, data["attacks"]))
    return Protocol(**data)


_KINDS = {int: "an integer, and at least 1 of a size", bool: "true or false", list: "a list", str: "a text"}


def _settings_from_json(value: Any) -> AttackSettings:
    if isinstance(value, dict):
        value = {"function": "", **value}  # older records do not say it
    data = read_object(value, ("name", "threat", "arguments", "function"), "an attack")
    if type(data["function"]) is not str:
        raise ReportError(f"The function of an attack is {short(data['function'])}; expected a text.")
    threat = read_object(data["threat"], ("norm", "eps", "targeted"), "threat")
    if type(threat["targeted"]) is not bool or type(threat["eps"]) not in (int, float):
        raise ReportError(f"A threat is {short(threat)}; expected a number eps, and targeted true or false.")
    try:
        return AttackSettings(data["name"], ThreatModel(**threat), data["arguments"], data["function"])
    except (AttackError, TypeError) as error:
        raise ReportError(f"An attack is described as {short(value)}: {error}") from error


def _to_hex(flags: Flags) -> str:
    return np.packbits(np.array(flags, bool)).tobytes().hex()


def _from_hex(text: Any, count: int, what: str) -> Flags:
    try:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))
    except (TypeError, ValueError):
        bits = np.ones(0, np.uint8)
    if len(bits) != (count + 7) // 8 * 8 or bits[count:].any():
        raise ReportError(
            f"{what} is {short(text)}; expected {count} bits, as {(count + 7) // 8 * 2} hexadecimal digits."
        )
    return tuple(map(bool, bits[:count]))
