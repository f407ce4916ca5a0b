"""Model cards: spec and records in, README.md out. A value that is missing is an error, never a blank."""

import re
from collections.abc import Iterable, Mapping, Sequence
from string import Template
from typing import Any

from sparta_hub.attacks import attack_of
from sparta_hub.cards._escape import code, line, paragraph, text
from sparta_hub.cards._templates import (
    BASELINE,
    COST,
    ELSEWHERE,
    HUB_IDS,
    INSTALL,
    LICENCES,
    MEANS,
    NO_AUTOATTACK,
    NO_COST,
    NO_DIAGNOSIS,
    NO_TRANSFER,
    PLAIN,
    SET,
    SOURCE,
    TEMPLATE,
    TRANSFER,
    UPPER_BOUND,
)
from sparta_hub.errors import ArtifactError
from sparta_hub.evaluation import attack_name, gain_cell, read_gain
from sparta_hub.spec import ArtifactConfig
from sparta_hub.transfer import IN_WORDS, Transfer, as_table, over_seeds, read_transfers


def plain_card(repo: str, config: ArtifactConfig, *, values: int) -> str:
    """Write the card of a set that comes with no figures.

    Args:
        repo: ``org/name`` where it will be.
        config: its ``config.json``.
        values: numbers in its file of weights.
    """
    from huggingface_hub import ModelCardData

    spec, origin = config.activation, config.activation.origin
    body = Template(PLAIN).substitute(
        name=text(repo.rpartition("/")[2]),
        repo=code(repo),
        family=text(spec.family),
        values=f"{values:,}",
        install=INSTALL,
        sites=", ".join(text(site.name) for site in spec.sites[:40]),
        into=f'"{code(origin.host)}", num_classes=10' if origin else "network",
        before="" if origin else "\nnetwork = ...  # a timm network that `sparta-hub check` accepts\n",
        where=f"{text(origin.host)} on {text(origin.dataset)}, {text(origin.threat)}" if origin else "no known way",
    )
    data = ModelCardData(
        library_name="sparta-hub",
        pipeline_tag="image-classification",
        tags=["activation-function", "timm", line(spec.family)],
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


def render_card(name: str, config: ArtifactConfig, results: Mapping[str, Any], *, values: int) -> str:
    """Write the card of an artifact.

    Args:
        name: its short name.
        config: its ``config.json``.
        results: its ``results.json``: ``training`` (one record), ``evaluation`` (a list), ``remark``, ``comparison``,
            and the paragraphs ``diagnosis`` and ``copies`` (what attacks ran on), if there are any.
        values: numbers in its file of weights.

    Raises:
        ArtifactError: a figure or a piece of provenance is missing; the message names it.
    """
    from huggingface_hub import EvalResult, ModelCardData

    origin = config.activation.origin
    if origin is None:
        raise ArtifactError(f"{name} has no origin in its config; a card cannot say where it was trained.")
    try:
        training, evaluation = results["training"], results["evaluation"]
        body = Template(TEMPLATE).substitute(
            name=code(name),
            opening=_opening(name, config, values),
            install=INSTALL,
            limits=_limits(evaluation, results.get("diagnosis", NO_DIAGNOSIS if values else "")),
            host=text(origin.host),
            stem=text(origin.stem),
            num_classes=origin.num_classes,
            input_size=origin.input_size,
            dataset=text(origin.dataset),
            share=f", {100 * training['limit']:g} % of its images" if "limit" in training else "",
            averaged=", with averaged weights" if training.get("ema_decay") else "",
            threat=text(origin.threat),
            count=f"{max(row['images'] for row in evaluation):,}",
            table=_table(results),
            copies=paragraph(results.get("copies", "")),
            minutes=f"{training['seconds'] / 60:.0f}",
            images=f"{training['images']:,}",
            steps=f"{training['steps']:,}",
            remark=paragraph(results["remark"]),
            cost=_cost(results["overhead"]) if values else NO_COST,
            elsewhere=_elsewhere(name, config, results) if values else "",
            source=SOURCE if config.activation.family == "sparta" else "",
            licence=LICENCES.get(origin.dataset, f"{text(origin.dataset)}, whose terms are not known here"),
            comparison=paragraph(results["comparison"]),
            **{k: code(training[k]) for k in ("recipe", "commit")},
            **{k: text(training[k]) for k in ("method", "batch_size", "epochs", "seed", "hardware", "torch")},
        )
    except KeyError as error:
        raise ArtifactError(f"The card of {name} needs {error} in results.json; measure it first.") from None
    data = ModelCardData(
        license="apache-2.0",
        library_name="sparta-hub",
        pipeline_tag="image-classification",
        tags=["adversarial-robustness", "activation-function", "timm", line(config.activation.family)],
        datasets=[HUB_IDS.get(origin.dataset, line(origin.dataset))],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type=HUB_IDS.get(origin.dataset, line(origin.dataset)),
                dataset_name=line(origin.dataset),
                dataset_split="test",
                metric_type="accuracy",
                metric_name=f"accuracy, {line(row['attack'])}",
                metric_value=row["accuracy"],
                metric_args={"n_examples": row["images"], "attack": line(row["attack"]), **_conditions(row)},
            )
            for row in evaluation
        ],
    )
    body = re.sub(r"\n{3,}", "\n\n", body)  # where a section does not apply
    return f"---\n{data.to_yaml()}\n---\n\n{body.rstrip()}\n"


def _table(results: Mapping[str, Any]) -> str:
    """Accuracies, beside the gains if there are any."""
    gains = [read_gain(row) for row in results.get("gains", ())]
    lines = [("attack", "accuracy", "95 % interval", "gain", "images"), ("---",) * 5] + [
        (text(row["attack"]), f"{row['accuracy']:.1f} %", f"{row['low']:.1f}–{row['high']:.1f}",
         gain_cell(gains, row["attack"]), f"{row['images']:,}") for row in results["evaluation"]
    ]  # fmt: skip
    return _markdown(lines if gains else [(*cells[:3], cells[4]) for cells in lines])


def _limits(evaluation: Iterable[Mapping[str, Any]], diagnosis: str) -> str:
    """What the figures cannot say, and what a diagnosis found."""
    thorough = any(attack_of(attack_name(row["attack"])) == "autoattack" for row in evaluation)
    return " ".join(filter(None, ("" if thorough else NO_AUTOATTACK, UPPER_BOUND, paragraph(diagnosis))))


def _conditions(row: Mapping[str, Any]) -> dict[str, Any]:
    """Seed and threat model of a figure, for the metadata: here they survive, beside the data set they would not."""
    return {key: row[key] for key in ("seed", "norm", "eps", "targeted") if key in row}


def _elsewhere(name: str, config: ArtifactConfig, results: Mapping[str, Any]) -> str:
    """What happens in other networks, and which ones there are; a baseline has nothing to put there."""
    return Template(ELSEWHERE).substitute(
        name=code(name),
        transfer=_transfers(results),
        channels="/".join(str(site.channels) for site in config.activation.sites),
    )


def _opening(name: str, config: ArtifactConfig, values: int) -> str:
    """What it is, and how to use it; a family with nothing learned is a baseline."""
    origin = config.activation.origin
    assert origin is not None
    return Template(SET if values else BASELINE).substitute(
        name=code(name),
        family=text(config.activation.family),
        values=f"{values:,}",
        sites=", ".join(text(site.name) for site in config.activation.sites),
        host=text(origin.host),
        other_host="resnet34_cifar" if origin.host != "resnet34_cifar" else "resnet18_cifar",
    )


def _cost(overhead: Mapping[str, Any]) -> str:
    """What ``benchmarks/activation_overhead.py`` measured of the family."""
    counts = {key: f"{overhead[key]:,}" for key in ("parameters", "host_parameters")}
    ratios = {key: f"{overhead[key]:.2f}" for key in ("flops", "inference", "train", "frozen")}
    words = {key: text(overhead[key]) for key in ("host", "precision", "hardware")}
    share = f"{100 * overhead['parameters'] / overhead['host_parameters']:.1f}"
    return Template(COST).substitute(share=share, record=code(overhead["record"]), **counts, **ratios, **words)


def _transfers(results: Mapping[str, Any]) -> str:
    rows = read_transfers(results.get("transfers", ()))
    table = transfer_table(rows)
    return f"{TRANSFER}{_copies(rows)}\n\n{table}" if table else NO_TRANSFER


def _copies(rows: Sequence[Transfer]) -> str:
    """Sentences on the rows whose attacks ran on a copy; their activation is named where the others' did not."""
    on: dict[str, list[str]] = {}
    for row in rows:
        alike = {other.ran_on for other in rows if (other.host, other.dataset) == (row.host, row.dataset)}
        which = f" ({IN_WORDS[row.mode]})" if len(alike) > 1 else ""
        on.setdefault(row.ran_on, []).append(f"{text(row.host)} on {text(row.dataset)}{which}")
    return "".join(
        f" The attacks on {', '.join(dict.fromkeys(places))} searched on a copy ({text(what)}), and the network "
        "itself decided."
        for what, places in on.items()
        if what
    )


def transfer_table(rows: Iterable[Transfer]) -> str:
    """Transfers as a Markdown table, with the means over seeds below it; empty if there are none."""
    rows = list(rows)
    head, *lines = as_table(rows) or [()]
    if not lines:
        return ""
    means = [
        f"- {text(row.source)}, {text(IN_WORDS[row.mode])}, in {text(row.host)} on {text(row.dataset)}, "
        f"{row.epochs:g} epochs, seeds {', '.join(map(str, gains[0].seeds))}: "
        f"{'; '.join(f'{text(gain.attack)} {gain}' for gain in gains)}."
        for row, gains in over_seeds(rows)
    ]
    own = [(*map(text, line[:3]), *line[3:]) for line in lines]  # names may be a stranger's, figures are ours
    table = _markdown([tuple(map(text, head)), ("---",) * len(head), *own])
    return "\n\n".join([table, *(["\n".join([MEANS, "", *means])] if means else [])])


def _markdown(lines: Iterable[Iterable[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
