"""Several ways to train, each over seeds, beside the first of them: what they gain, in the mean and seed by seed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from sparta_hub.errors import ReportError
from sparta_hub.evaluation import Accuracy, Gain, Report, SeedGain, figures, gain_cell, gains, gains_over_seeds
from training.config import TrainConfig
from training.entries import RECORDS, read_record
from training.errors import ConfigError
from training.figures import gains_over
from training.settings import differences, to_json, trained
from training.twins import Place

COMPARISONS = RECORDS / "comparisons"
_LONG = ("losses", "validations", "launches")  # of a run's record, which a comparison does without


@dataclass(frozen=True)
class Member:
    """A trained network and what was measured of it.

    Args:
        training: the run's own record, but for its curve.
        weights: which of the run were measured: ``best``, ``last``, ``averaged``.
        report: the evaluation.
    """

    training: Mapping[str, Any]
    weights: str
    report: Report

    @property
    def config(self) -> TrainConfig:
        """What was trained."""
        return trained(self.training)[0]

    @property
    def place(self) -> Place:
        """All of its training but the activation and the seed."""
        return Place.of(*trained(self.training), self.weights).seedless

    @property
    def seedless(self) -> dict[str, Any]:
        """All of its training but the seed, as plain values."""
        config, limit = trained(self.training)
        return {**to_json(replace(config, seed=0)), "limit": limit, "weights": self.weights}

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        kept = {key: value for key, value in self.training.items() if key not in _LONG}
        return {"training": kept, "weights": self.weights, "evaluation": self.report.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Member":
        """Rebuild one."""
        return cls(value["training"], value["weights"], Report.from_json(value["evaluation"]))


@dataclass(frozen=True)
class Comparison:
    """Networks by recipe and seed; each recipe is compared with the first one, the baseline.

    Args:
        members: recipe -> seed -> network.
        lacking: names of networks that were to be there, and are not: as when one diverged.

    Raises:
        ConfigError: two networks of one recipe differ in more than their seed, or two were not measured alike.
    """

    members: Mapping[str, Mapping[int, Member]]
    lacking: tuple[str, ...] = ()

    @classmethod
    def of(cls, members: Iterable[Member], lacking: Iterable[str] = ()) -> "Comparison":
        """Sort networks by recipe, in the order in which those come, and by seed; of two with both alike the first.

        What is there after all does not lack.
        """
        found: dict[str, dict[int, Member]] = {}
        for member in members:
            found.setdefault(member.config.name, {}).setdefault(member.config.seed, member)
        there = {member.config.run_name for seeds in found.values() for member in seeds.values()}
        gone = tuple(name for name in dict.fromkeys(lacking) if name not in there)
        return cls({recipe: dict(sorted(seeds.items())) for recipe, seeds in found.items()}, gone)

    def __post_init__(self) -> None:
        everyone = [member for seeds in self.members.values() for member in seeds.values()]
        for recipe, seeds in self.members.items():
            first, *others = seeds.values()
            for other in others:
                if unlike := differences(first.seedless, other.seedless):
                    raise ConfigError(
                        f"Two networks of {recipe} differ in more than their seed: {', '.join(unlike)}. Expected the "
                        "same --set and --limit for all seeds of a comparison."
                    )
        for member in everyone[1:]:
            try:
                gains(member.report, everyone[0].report)
            except ReportError as error:
                raise ConfigError(str(error)) from error

    @property
    def baseline(self) -> str:
        """The recipe that the others are compared with."""
        return next(iter(self.members))

    @property
    def attacks(self) -> list[str]:
        """What all were measured under, ``clean`` first; after several attacks their worst for each image."""
        report = next(iter(self.members[self.baseline].values())).report
        return [figure.attack for figure in figures([report])]

    def accuracies(self, recipe: str) -> list[float]:
        """Under each of ``attacks``, in percent, in the mean over the recipe's seeds."""
        found = [figures([member.report]) for member in self.members[recipe].values()]
        return [fmean(Accuracy.of(figure.flags).percent for figure in seeds) for seeds in zip(*found, strict=True)]

    def gains(self, recipe: str) -> dict[int, list[Gain]]:
        """What a recipe gains over the baseline under each of ``attacks``, by seed, for the seeds that both have."""
        first, own = self.members[self.baseline], self.members[recipe]
        return {seed: gains_over([own[seed].report], [first[seed].report]) for seed in own if seed in first}

    def means(self, recipe: str) -> tuple[SeedGain, ...]:
        """What it gains in the mean; nothing from fewer than two seeds."""
        return gains_over_seeds(self.gains(recipe))

    def unlike(self, recipe: str) -> list[str]:
        """In what a recipe's training (here) differs from the baseline's (there) besides the activation, in words."""
        first, own = (next(iter(self.members[name].values())) for name in (self.baseline, recipe))
        return own.place.unlike(first.place)

    @property
    def remarks(self) -> list[str]:
        """What has to be known beside the figures."""
        return [
            f"{recipe} (here) was not trained as {self.baseline} (there): {', '.join(found)}."
            for recipe in self.members
            if (found := self.unlike(recipe))
        ] + [f"Not there: {', '.join(self.lacking)}."] * bool(self.lacking)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the means are there to be read, and worked out again where they are read back."""
        return {
            "means": {name: [gain.to_json() for gain in self.means(name)] for name in [*self.members][1:]},
            "lacking": [*self.lacking],
            "members": [member.to_json() for seeds in self.members.values() for member in seeds.values()],
        }


def read_comparison(value: Mapping[str, Any], where: str) -> Comparison:
    """A comparison that was written before.

    Args:
        value: what ``Comparison.to_json`` gave.
        where: it stands, for the message.

    Raises:
        ConfigError: it is no comparison.
    """
    try:
        return Comparison.of(map(Member.from_json, value["members"]), value["lacking"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{where} is no comparison: {type(error).__name__}: {error}") from error


def table(comparison: Comparison) -> str:
    """Means over seeds and what each recipe gains over the first, a block for each attack."""
    width, attacks = max(map(len, comparison.members)), comparison.attacks
    blocks = [[attack] for attack in attacks]
    for recipe, seeds in comparison.members.items():
        count = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
        gained = [""] * len(attacks) if recipe == comparison.baseline else _gained(comparison, recipe)
        for block, percent, gain in zip(blocks, comparison.accuracies(recipe), gained, strict=True):
            block.append(f"  {recipe:<{width}}  {percent:5.1f} %, {count}  {gain}".rstrip())
    return "\n".join([line for block in blocks for line in block] + comparison.remarks)


def _gained(comparison: Comparison, recipe: str) -> list[str]:
    """Under each attack, in words."""
    if means := comparison.means(recipe):
        return [str(mean) for mean in means]
    if pairs := comparison.gains(recipe):
        return [f"{gain}, one seed" for gain in next(iter(pairs.values()))]
    return ["no seed in common"] * len(comparison.attacks)


def tables(root: Path) -> str:
    """All recorded comparisons as Markdown, a table each; nothing if there are none."""
    paths = sorted((root / COMPARISONS).glob("*.json"))
    found = [read_comparison(read_record(path), str(path)) for path in paths]
    return "\n\n".join(_markdown(one, path.name) for one, path in zip(found, paths, strict=True))


def _markdown(comparison: Comparison, file: str) -> str:
    """One comparison: what is alike in a line, then a row for each recipe."""
    config = next(iter(comparison.members[comparison.baseline].values())).config
    head = ("recipe", "seeds", *(cell for attack in comparison.attacks for cell in (attack, "gain")))
    rows = [head, ("---",) * len(head)]
    for recipe, seeds in comparison.members.items():
        means = comparison.means(recipe) if recipe != comparison.baseline else ()
        figures_of = zip(comparison.attacks, comparison.accuracies(recipe), strict=True)
        cells = (cell for attack, percent in figures_of for cell in (f"{percent:.1f} %", gain_cell(means, attack)))
        rows.append((f"`{recipe}`", ", ".join(map(str, seeds)), *cells))
    about = (
        f"`{config.host}` on {config.dataset}, {config.epochs:g} epoch{'s' if config.epochs != 1 else ''} of "
        f"{config.method} ([record]({COMPARISONS}/{file})):"
    )
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join([about, lines, *comparison.remarks])
