"""Model cards: spec and records in, README.md out. A value that is missing is an error, never a blank."""

from collections.abc import Iterable, Mapping
from string import Template
from typing import Any

from sparta_hub.cards._escape import code, line, paragraph, text
from sparta_hub.cards._templates import (
    BASELINE,
    COST,
    LICENCES,
    NO_COST,
    NO_DIAGNOSIS,
    NO_TRANSFER,
    PLAIN,
    SET,
    TEMPLATE,
    TRANSFER,
)
from sparta_hub.errors import ArtifactError
from sparta_hub.evaluation import gain_cell, read_gain
from sparta_hub.spec import ArtifactConfig
from sparta_hub.transfer import Transfer, as_table, read_transfers


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
        sites=", ".join(text(site.name) for site in spec.sites[:40]),
        host=code(origin.host) if origin else "resnet18",
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
            and ``diagnosis``, a paragraph, if there was one.
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
        gains = [read_gain(row) for row in results.get("gains", ())]
        body = Template(TEMPLATE).substitute(
            name=code(name),
            opening=_opening(name, config, values),
            diagnosis=paragraph(results.get("diagnosis", NO_DIAGNOSIS)),
            channels="/".join(str(site.channels) for site in config.activation.sites),
            host=text(origin.host),
            stem=text(origin.stem),
            num_classes=origin.num_classes,
            input_size=origin.input_size,
            dataset=text(origin.dataset),
            threat=text(origin.threat),
            count=f"{max(row['images'] for row in evaluation):,}",
            rows="\n".join(
                f"| {text(r['attack'])} | {r['accuracy']:.1f} % | {r['low']:.1f}–{r['high']:.1f} "
                f"| {gain_cell(gains, r['attack'])} | {r['images']:,} |"
                for r in evaluation
            ),
            minutes=f"{training['seconds'] / 60:.0f}",
            images=f"{training['images']:,}",
            steps=f"{training['steps']:,}",
            remark=paragraph(results["remark"]),
            cost=_cost(results["overhead"]) if values else NO_COST,
            transfer=_transfers(results),
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
        datasets=[line(origin.dataset)],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type=line(origin.dataset),
                dataset_name=line(origin.dataset),
                dataset_split="test",
                metric_type="accuracy",
                metric_name=f"accuracy, {line(row['attack'])}",
                metric_value=row["accuracy"],
                metric_args={"n_examples": row["images"], "attack": line(row["attack"])},
            )
            for row in evaluation
        ],
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"


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
    table = transfer_table(read_transfers(results.get("transfers", ())))
    return f"{TRANSFER}\n\n{table}" if table else NO_TRANSFER


def transfer_table(rows: Iterable[Transfer]) -> str:
    """Transfers as a Markdown table; empty if there are none."""
    head, *lines = as_table(rows) or [()]
    if not lines:
        return ""
    own = [(*map(text, line[:3]), *line[3:]) for line in lines]  # names may be a stranger's, figures are ours
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (tuple(map(text, head)), ("---",) * len(head), *own))
