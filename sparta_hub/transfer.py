"""What was measured where an activation set was put into other networks, or trained on other data."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from sparta_hub.errors import ArtifactError
from sparta_hub.evaluation import WORST_CASE, Accuracy, Gain, SeedGain, gain_cell, gains_over_seeds, read_gain

Mode = Literal["frozen", "weights", "tuned", "joint", "relu"]
IN_WORDS: Mapping[str, str] = {
    "frozen": "frozen",
    "weights": 'frozen="weights"',
    "tuned": "pretrained, trained on",
    "joint": "same family, trained with the host",
    "relu": "ReLU",
}


@dataclass(frozen=True)
class Transfer:
    """One trained network: a set in a host on some data, or one of those it is compared with there.

    Args:
        source: name of the set.
        host, dataset: where it was put.
        mode: ``frozen`` and ``weights`` as in ``load(frozen=...)``; ``tuned``: not frozen; ``joint``: the same family,
            trained from scratch with the host; ``relu``: the host with ReLU. All with the same recipe, seed and budget.
        seed, recipe, epochs: of the training.
        threat: that it was trained against, in words.
        accuracies: by attack, ``clean`` first, on the first images of the test split.
        gains: over the ReLU network of the same place and seed, image by image; empty for that network itself, and
            where there is none.
        ran_on: what the copy of the network was that attacks ran on; empty if they ran on the network itself.
        trained: checksum of all else that a training is made of, but for activation and seed; empty in older files.
    """

    source: str
    host: str
    dataset: str
    mode: Mode
    seed: int
    recipe: str
    epochs: float
    threat: str
    accuracies: Mapping[str, Accuracy]
    gains: tuple[Gain, ...] = ()
    ran_on: str = ""
    trained: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``results.json``."""
        rows = [{"attack": name, **asdict(accuracy)} for name, accuracy in self.accuracies.items()]
        return {**vars(self), "accuracies": rows, "gains": [asdict(gain) for gain in self.gains]}


def as_table(rows: Iterable[Transfer]) -> list[tuple[str, ...]]:
    """Cells of text, a line for each network below a line of heads, two columns an attack; empty without rows."""
    rows = list(rows)
    if not rows:
        return []
    attacks = list(dict.fromkeys(attack for row in rows for attack in row.accuracies))
    head = (
        "set",
        "host",
        "data",
        "epochs",
        "activation",
        "seed",
        *(word for attack in attacks for word in (attack, "gain")),
    )
    lines = [
        (row.source, row.host, row.dataset, f"{row.epochs:g}", IN_WORDS[row.mode], str(row.seed),
         *(cell for attack in attacks
           for cell in (str(row.accuracies.get(attack, "not measured")).strip(), gain_cell(row.gains, attack))))
        for row in rows
    ]  # fmt: skip
    return [head, *lines]


def over_seeds(rows: Iterable[Transfer]) -> Iterator[tuple[Transfer, tuple[SeedGain, ...]]]:
    """Networks that differ in their seed alone, by the first of them, with what they gain over ReLU in the mean.

    Worst cases are left out where they are not over the same attacks: their mean would be of different things.
    """
    groups: dict[tuple[Any, ...], list[Transfer]] = {}
    for row in rows:
        place = (row.source, row.host, row.dataset, row.mode, row.recipe, row.epochs, row.threat, row.trained)
        groups.setdefault(place, []).append(row)
    for group in groups.values():
        alike = len({frozenset(row.accuracies) for row in group}) == 1
        gains = {row.seed: [g for g in row.gains if alike or not g.attack.startswith(WORST_CASE)] for row in group}
        if found := gains_over_seeds({seed: own for seed, own in gains.items() if own}):
            yield group[0], found


def read_transfers(value: Any) -> tuple[Transfer, ...]:
    """The rows of a ``results.json``.

    Raises:
        ArtifactError: they are not such rows.
    """
    try:
        return tuple(_from_json(row) for row in value)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ArtifactError(
            f"The transfers in results.json cannot be read ({type(error).__name__}: {error}); expected rows as "
            "sparta-hub writes them. Download or save the artifact again."
        ) from error


def _from_json(row: Mapping[str, Any]) -> Transfer:
    mode = next((mode for mode in get_args(Mode) if mode == row["mode"]), None)
    if mode is None:
        raise ValueError(f"mode is {row['mode']!r}; expected one of {', '.join(get_args(Mode))}")
    return Transfer(
        *(_of(str, row[key]) for key in ("source", "host", "dataset")),
        mode=mode,
        seed=_of(int, row["seed"]),
        recipe=_of(str, row["recipe"]),
        epochs=float(row["epochs"]),
        threat=_of(str, row["threat"]),
        accuracies={
            _of(str, found["attack"]): Accuracy(
                float(found["percent"]), float(found["low"]), float(found["high"]),
                _of(int, found["correct"]), _of(int, found["images"]),
            )
            for found in row["accuracies"]
        },
        gains=tuple(read_gain(gain) for gain in row["gains"]),
        ran_on=_of(str, row.get("ran_on", "")),
        trained=_of(str, row.get("trained", "")),
    )  # fmt: skip


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
