"""Model cards: spec and records in, README.md out. A value that is missing is an error, never a blank."""

import re
from collections.abc import Iterable, Mapping
from string import Template
from typing import Any

from sparta_hub.errors import ArtifactError
from sparta_hub.spec import ArtifactConfig
from sparta_hub.transfer import IN_WORDS, Transfer, read_transfers

TEMPLATE = """\
# $name

$opening

## Where it was trained

| | |
|---|---|
| network | $host ($stem stem, $num_classes classes), images of $input_size×$input_size in [0, 1], no normalisation |
| data | $dataset, training split |
| against | $threat |
| method | $method, recipe `$recipe`, seed $seed |
| length | $epochs epochs: $steps steps of $batch_size, $images images seen |
| cost | $minutes minutes on $hardware, torch $torch |
| code | commit `$commit` |

$remark

## What was measured

On the network it was trained in, with averaged weights, on the first $count images of $dataset's test split, in the
official order. Images that are misclassified already count as broken.

| attack | accuracy | 95 % interval | gain | images |
|---|---|---|---|---|
$rows

$comparison

## What it costs

$cost

## Transfer

$transfer

## Hosts

Any timm network whose stages have $channels channels after the addition: `sparta-hub check $name MODEL` says whether
one fits, and which do.

## Limits

A research artifact, **not a certified defence**: it was measured against the attacks named above and no others.
$diagnosis

## How to verify

`sparta-hub verify-files $name` compares every file with its checksum. `sparta-hub verify $name --limit 100` measures
the figures above again, on the first 100 of the same images with the same attacks and seed, and says how many images
differ and whether each accuracy lies in its interval. The flags of every image are in `results.json`.

## Licence and source

Weights: Apache-2.0. An independent implementation of *Sparta: Spatially Attentive and Adversarially Robust Activation*
(Guo et al., [arXiv:2105.08269](https://arxiv.org/abs/2105.08269)); the wiring was reconstructed from the paper's text.
Data: $licence.

```bibtex
@article{guo2021sparta,
  title = {Sparta: Spatially Attentive and Adversarially Robust Activation},
  author = {Guo, Qing and Juefei-Xu, Felix and Zhou, Changqing and Feng, Wei and Liu, Yang and Wang, Song},
  journal = {arXiv preprint arXiv:2105.08269},
  year = {2021}
}
```
"""

LICENCES = {
    "cifar10": "CIFAR-10 (Krizhevsky 2009), which carries no explicit licence",
    "cifar100": "CIFAR-100 (Krizhevsky 2009), without an explicit licence; 10 test images are also training images",
    "gtsrb": "German Traffic Sign Recognition Benchmark (Stallkamp et al. 2012); 8 test images are training images too",
    "fashion_mnist": "Fashion-MNIST (Xiao et al. 2017), MIT licence",
    "svhn": "SVHN (Netzer et al. 2011), for non-commercial use",
    "tiny_imagenet": "Tiny ImageNet (Stanford CS231n), images of ImageNet, for non-commercial research",
    "imagenet": "ImageNet (Russakovsky et al. 2015), for non-commercial research and education",
}

SET = """\
A pretrained **$family** activation set for PyTorch CNNs: $values learned values and statistics for the activations at
$sites. Put it into a timm network, freeze it, train the rest.

```python
import sparta_hub

model = sparta_hub.load("$name", model="$other_host", num_classes=10, frozen=True)
trainable = sum(p.numel() for p in model.parameters())  # frozen weights are buffers: no optimiser sees them
print(sparta_hub.status(model)[0])
```"""

BASELINE = """\
A baseline: a trained **$host** whose activations at $sites are **$family**, with nothing to learn. It is here to be
compared with; there are no activation weights to put into other networks.

```python
import sparta_hub

model = sparta_hub.load("$name")  # the trained network
print(sparta_hub.status(model)[0])
```"""

COST = (
    "In a $host of $host_parameters parameters the set adds $parameters (+$share %) and does $flops times the "
    "floating-point work of ReLU. Against ReLU in one run ($precision, $hardware), inference took $inference times as "
    "long, a training step $train times, and $frozen times with the set frozen (record `$record`)."
)

NO_COST = "Nothing: ReLU is what the host has."

TRANSFER = (
    "Each place has one recipe, seed and budget for all its rows; accuracies and paired gains with 95 % intervals, on "
    "the first images of the test split."
)

TRANSFER_HEAD = (
    "| set | host | data | activation | seed | attack | accuracy | gain over ReLU, points |\n"
    "|---|---|---|---|---|---|---|---|"
)

NO_TRANSFER = "Not measured yet."

NO_DIAGNOSIS = (
    "An input-dependent gate can hide gradients; the diagnostics that would show it have not been run on these weights."
)

PLAIN = """\
# $name

A **$family** activation set for PyTorch CNNs, made with sparta-hub: $values learned values and statistics for the
activations at $sites.

```python
import sparta_hub

model = sparta_hub.load("$repo", model="$host", num_classes=10, frozen=True)
```

Trained in $where. **Nothing was measured for this card**: it says nothing of accuracy or robustness, and is no
certified defence.
"""

_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;"} | {ord(c): f"\\{c}" for c in "\\[]|"}


def plain_card(repo: str, config: ArtifactConfig, *, values: int) -> str:
    """Write the card of a set that comes with no figures.

    Args:
        repo: ``org/name`` where it will be.
        config: its ``config.json``.
        values: numbers in its file of weights.
    """
    from huggingface_hub import ModelCardData

    spec, origin = config.activation, config.activation.origin
    text = Template(PLAIN).substitute(
        name=_text(repo.rpartition("/")[2]),
        repo=_code(repo),
        family=_text(spec.family),
        values=f"{values:,}",
        sites=", ".join(_text(site.name) for site in spec.sites[:40]),
        host=_code(origin.host) if origin else "resnet18",
        where=f"{_text(origin.host)} on {_text(origin.dataset)}, {_text(origin.threat)}" if origin else "no known way",
    )
    data = ModelCardData(
        library_name="sparta-hub",
        pipeline_tag="image-classification",
        tags=["activation-function", "timm", _line(spec.family)],
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


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
        text = Template(TEMPLATE).substitute(
            name=_code(name),
            opening=_opening(name, config, values),
            diagnosis=_paragraph(results.get("diagnosis", NO_DIAGNOSIS)),
            channels="/".join(str(site.channels) for site in config.activation.sites),
            host=_text(origin.host),
            stem=_text(origin.stem),
            num_classes=origin.num_classes,
            input_size=origin.input_size,
            dataset=_text(origin.dataset),
            threat=_text(origin.threat),
            count=f"{max(row['images'] for row in evaluation):,}",
            rows="\n".join(
                f"| {_text(r['attack'])} | {r['accuracy']:.1f} % | {r['low']:.1f}–{r['high']:.1f} "
                f"| {_gain(results.get('gains', ()), r['attack'])} | {r['images']:,} |"
                for r in evaluation
            ),
            minutes=f"{training['seconds'] / 60:.0f}",
            images=f"{training['images']:,}",
            steps=f"{training['steps']:,}",
            remark=_paragraph(results["remark"]),
            cost=_cost(results["overhead"]) if values else NO_COST,
            transfer=_transfers(results),
            licence=LICENCES[origin.dataset],
            comparison=_paragraph(results["comparison"]),
            **{k: _code(training[k]) for k in ("recipe", "commit")},
            **{k: _text(training[k]) for k in ("method", "batch_size", "epochs", "seed", "hardware", "torch")},
        )
    except KeyError as error:
        raise ArtifactError(f"The card of {name} needs {error} in results.json; measure it first.") from None
    data = ModelCardData(
        license="apache-2.0",
        library_name="sparta-hub",
        pipeline_tag="image-classification",
        tags=["adversarial-robustness", "activation-function", "timm", _line(config.activation.family)],
        datasets=[_line(origin.dataset)],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type=_line(origin.dataset),
                dataset_name=_line(origin.dataset),
                dataset_split="test",
                metric_type="accuracy",
                metric_name=f"accuracy, {_line(row['attack'])}",
                metric_value=row["accuracy"],
                metric_args={"n_examples": row["images"], "attack": _line(row["attack"])},
            )
            for row in evaluation
        ],
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def _opening(name: str, config: ArtifactConfig, values: int) -> str:
    """What it is, and how to use it; a family with nothing learned is a baseline."""
    origin = config.activation.origin
    assert origin is not None
    return Template(SET if values else BASELINE).substitute(
        name=_code(name),
        family=_text(config.activation.family),
        values=f"{values:,}",
        sites=", ".join(_text(site.name) for site in config.activation.sites),
        host=_text(origin.host),
        other_host="resnet34_cifar" if origin.host != "resnet34_cifar" else "resnet18_cifar",
    )


def _cost(overhead: Mapping[str, Any]) -> str:
    """What ``benchmarks/activation_overhead.py`` measured of the family."""
    counts = {key: f"{overhead[key]:,}" for key in ("parameters", "host_parameters")}
    ratios = {key: f"{overhead[key]:.2f}" for key in ("flops", "inference", "train", "frozen")}
    words = {key: _text(overhead[key]) for key in ("host", "precision", "hardware")}
    share = f"{100 * overhead['parameters'] / overhead['host_parameters']:.1f}"
    return Template(COST).substitute(share=share, record=_code(overhead["record"]), **counts, **ratios, **words)


def _transfers(results: Mapping[str, Any]) -> str:
    table = transfer_table(read_transfers(results.get("transfers", ())))
    return f"{TRANSFER}\n\n{table}" if table else NO_TRANSFER


def transfer_table(rows: Iterable[Transfer]) -> str:
    """Transfers as a Markdown table, a row for each attack; empty if there are none."""
    lines = [
        " | ".join(
            (f"| {_text(row.source)}", _text(row.host), _text(row.dataset), IN_WORDS[row.mode], str(row.seed),
             _text(attack), f"{accuracy.percent:.1f} % [{accuracy.low:.1f}, {accuracy.high:.1f}]",
             row.gain(attack))
        ) + " |"
        for row in rows
        for attack, accuracy in row.accuracies.items()
    ]  # fmt: skip
    return "\n".join([TRANSFER_HEAD, *lines]) if lines else ""


def _gain(gains: Iterable[Mapping[str, Any]], attack: str) -> str:
    found = next((gain for gain in gains if gain["attack"] == attack), None)
    return f"{found['points']:+.1f} [{found['low']:+.1f}, {found['high']:+.1f}]" if found else "–"


def _text(value: object) -> str:
    """``value`` as plain text in Markdown, also in a table: one line, no HTML, link or markup."""
    return _line(value).translate(_ESCAPES | {ord(c): f"\\{c}" for c in "*`~"})


def _paragraph(value: object) -> str:
    """``value`` as one paragraph that may stress words, but holds no HTML, link or image and begins no other block."""
    text = _line(value).translate(_ESCAPES)
    text = re.sub(r"^(\d+)([.)])", r"\1\\\2", text)
    return re.sub(r"^([#>+\-=~|]|\*(?=\s)|```)", r"\\\1", text)


def _code(value: object) -> str:
    """``value`` where Markdown shows code: one line, and nothing that could end the code."""
    return re.sub(r"[]`\"\\<>|[]", "'", _line(value))


def _line(value: object) -> str:
    """``value`` on one line, also for the metadata, where YAML itself quotes what it has to."""
    return " ".join(str(value).split())
