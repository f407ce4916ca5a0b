"""A paper's table beside ours: ``python -m training.table 8``, ``python -m training.table III --source thesis``.

Ours comes from ``training/records/``: whatever was trained by the recipe of a row, and measured by the attack that the
column means; the mean where there are several seeds. A run that differs from the recipe, in its epochs say, has a line
of its own with a note. What nobody measured stays empty.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import mean
from typing import Any

import click

from sparta_hub.errors import SpartaError
from sparta_hub.evaluation import attack_name
from training.entries import RECORDS, ROOT, entries, read_record
from training.errors import ConfigError
from training.plan import count_parameters
from training.recipes import PUBLISHED, RECIPES, WITHOUT, PaperRow
from training.results import results_of
from training.settings import differences, to_json, trained

FIGURES = Path(__file__).parent / "published_results.csv"
SOURCES = {
    "sparta": "sparta-journal",
    "thesis": "fgsm-sdi-thesis",
    "sat": "smooth-adversarial-training",
    "fastat": "fastat-benchmark",
}

_THESIS = {f"acc_{name}": f"thesis-{attack}" for name, attack in (
    ("pgd10", "pgd-10"), ("pgd20", "pgd-20"), ("pgd50", "pgd-50"), ("cw", "cw"), ("apgd", "apgd"), ("aa", "aa"))
}  # fmt: skip
ATTACKS: dict[str, Mapping[str, str]] = {  # source -> column -> what the evaluator calls the attack
    "sparta-journal": {"err_clean": "clean", **{f"err_pgd{n}": f"sparta-pgd-{n}" for n in (10, 30, 50)}},
    "fgsm-sdi-thesis": {"acc_clean": "clean", **_THESIS},
    "fastat-benchmark": {"acc_clean": "clean", **_THESIS},
    "smooth-adversarial-training": {"acc_clean": "clean", "acc_pgd200": "sat-pgd-200-imagenet"},
}
SAME = {"PGD-20, Linf 8/255, step ε/4": "thesis-pgd-20"}  # as older records call it


@dataclass(frozen=True)
class Run:
    """What a record says of one training: the recipe, how it differs from it, and what was measured.

    Args:
        rows: the published rows that it is a run of.
        differences: fields in which its configuration is not the recipe's; empty if it is.
        seed: of the run.
        weights: those measured, ``best`` or ``last``.
        accuracies: attack -> accuracy in percent.
        minutes: of training.
    """

    rows: frozenset[PaperRow]
    differences: tuple[str, ...]
    seed: int
    weights: str
    accuracies: Mapping[str, float]
    minutes: float | None


@dataclass
class Ours:
    """Our figures of one row, from all runs that differ from its recipe in the same way: column -> seed -> figure."""

    differences: tuple[str, ...] = ()
    figures: dict[str, dict[int, float]] = field(default_factory=dict)


def read_published(source: str, table: str) -> dict[PaperRow, dict[str, float]]:
    """The figures of one table: row -> column -> figure, in the order of the paper.

    Raises:
        ConfigError: there is no such table; the message lists those there are.
    """
    known: dict[str, dict[PaperRow, dict[str, float]]] = {}
    with FIGURES.open(newline="") as file:
        for line in csv.DictReader(file):
            if line["source"] == SOURCES[source]:
                row = PaperRow(**{f.name: line[f.name] for f in fields(PaperRow)})
                known.setdefault(row.table, {}).setdefault(row, {})[line["metric"]] = float(line["value"])
    if table not in known:
        raise ConfigError(f"{source} has no table {table!r}; its tables are {', '.join(known)}.")
    return known[table]


def read_runs(root: Path = ROOT) -> list[Run]:
    """All runs of published rows that the records under ``root`` tell of."""
    recipes = {name: _comparable(to_json(RECIPES[name]())) for name in set(PUBLISHED.values())}
    records = [read_record(path) for path in sorted((root / RECORDS).glob("*.json"))]
    measured = [results_of(root, entry) for entry in entries(root)]
    return [run for run in (_run(record, recipes) for record in [*records, *measured]) if run.rows]


def _run(record: Mapping[str, Any], recipes: Mapping[str, Mapping[str, Any]]) -> Run:
    training = record.get("training", record)  # a card's results, or a run's own record
    config = to_json(trained(training)[0])
    names = {name for name, recipe in recipes.items() if recipe == _comparable(config)} or {config["name"]}
    limit = {"limit": training.get("limit", training.get("data", {}).get("limit", 1.0))}
    differ = differences({**recipes.get(min(names), {}), "limit": 1.0}, {**_comparable(config), **limit})
    accuracies = {_attack(line["attack"]): float(line["accuracy"]) for line in record.get("evaluation", ())}
    rows = frozenset(row for row, name in PUBLISHED.items() if name in names)
    seconds, seed = training.get("seconds"), config["seed"]
    minutes = None if seconds is None else seconds / 60
    return Run(rows, tuple(differ), seed, training.get("weights", "best"), accuracies, minutes)


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without what does not make it another training: a name, and the seed, over which the table takes the mean."""
    return {key: value for key, value in config.items() if key not in ("name", "seed")}


def _attack(text: str) -> str:
    """``thesis-pgd-20(steps=20, …), Linf 8/255`` -> ``thesis-pgd-20``."""
    return SAME.get(text) or attack_name(text)


def ours(row: PaperRow, runs: Iterable[Run], columns: Iterable[str]) -> list[Ours]:
    """Our figures of a row: first those of its very recipe, perhaps empty, then those of runs that differ from it.

    Where a row does not say which weights it means, the best ones come first.
    """
    groups: dict[tuple[str, ...], Ours] = {(): Ours()}
    wanted = re.findall("checkpoint=(best|last)", row.variant) or ("best", "last")
    for run in sorted(runs, key=lambda run: run.weights):
        if row in run.rows and run.weights in wanted:
            group = groups.setdefault(run.differences, Ours(run.differences))
            for column in columns:
                if (figure := _figure(run, row, column)) is not None:
                    group.figures.setdefault(column, {}).setdefault(run.seed, figure)
    if "params_million" in columns and row in PUBLISHED:
        groups[()].figures["params_million"] = {0: count_parameters(RECIPES[PUBLISHED[row]]()).total / 1e6}
    return list(groups.values())


def _figure(run: Run, row: PaperRow, column: str) -> float | None:
    if column == "train_minutes":
        return run.minutes
    accuracy = run.accuracies.get(ATTACKS[row.source].get(column, ""))
    return 100 - accuracy if accuracy is not None and column.startswith("err_") else accuracy


def render(source: str, table: str, runs: Iterable[Run]) -> str:
    """The table as text: for each column the paper's figure, ours, and ours minus the paper's."""
    published, runs = read_published(source, table), list(runs)
    labels = [name for name in ("dataset", "network", "activation", "training", "variant")
              if len({getattr(row, name) for row in published}) > 1] or ["activation"]  # fmt: skip
    columns = list(dict.fromkeys(column for figures in published.values() for column in figures))
    lines = [[*labels, *("paper", "ours", "diff") * len(columns), "seeds", "recipe"]]
    notes: list[str] = []
    for row, figures in published.items():
        for group in ours(row, runs, figures):
            mark = ""
            if group.differences:
                notes.append("; ".join(group.differences))
                mark = f" *{len(notes)}"
            seeds = {seed for name in group.figures.keys() - {"params_million"} for seed in group.figures[name]}
            cells = [cell for column in columns for cell in _cells(figures.get(column), group.figures.get(column))]
            recipe = PUBLISHED.get(row) or f"none: {WITHOUT[row]}"
            lines.append([*(asdict(row)[name] for name in labels), *cells, str(len(seeds) or ""), recipe + mark])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths[len(labels) : -2] = [max(6, w) for w in widths[len(labels) : -2]]
    text = ["  ".join(_aligned(line, widths, len(labels))).rstrip() for line in lines]
    triples = zip(columns, *(widths[len(labels) + i : -2 : 3] for i in range(3)), strict=True)
    head = [" " * w for w in widths[: len(labels)]] + [name.center(a + b + c + 4) for name, a, b, c in triples]
    notes = [f"*{i} not quite the recipe (there) but (here): {note}" for i, note in enumerate(notes, 1)]
    return "\n".join(["  ".join(head).rstrip(), *text, *notes])


def _cells(paper: float | None, by_seed: Mapping[int, float] | None) -> tuple[str, str, str]:
    measured = mean(by_seed.values()) if by_seed else None
    return (
        "" if paper is None else f"{paper:.2f}",
        "" if measured is None else f"{measured:.2f}",
        "" if paper is None or measured is None else f"{measured - paper:+.2f}",
    )


def _aligned(line: list[str], widths: list[int], labels: int) -> list[str]:
    left = (*range(labels), len(line) - 1)
    return [cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))]


@click.command(help=__doc__)
@click.argument("table")
@click.option("--source", type=click.Choice(list(SOURCES)), default="sparta", show_default=True)
def main(table: str, source: str) -> None:
    """Print one table."""
    try:
        click.echo(render(source, table, read_runs()))
    except SpartaError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
