"""Model cards: spec and records in, README.md out. A value that is missing is an error, never a blank."""

from collections.abc import Mapping
from string import Template
from typing import Any

from sparta_hub.errors import ArtifactError
from sparta_hub.spec import ArtifactConfig

TEMPLATE = """\
# $name

A pretrained **$family** activation set for PyTorch CNNs: $values learned values and statistics for the activations at
$sites. Put it into a timm network, freeze it, train the rest.

```python
import sparta_hub

model = sparta_hub.load("$name", model="$other_host", num_classes=10, frozen=True)
trainable = sum(p.numel() for p in model.parameters())  # frozen weights are buffers: no optimiser sees them
print(sparta_hub.status(model)[0])
```

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

| attack | accuracy | 95 % interval | images |
|---|---|---|---|
$rows

$comparison

## Hosts

Any timm network whose stages have $channels channels after the addition: `sparta-hub check $name MODEL` says whether
one fits, and which do.

## Limits

A research artifact, **not a certified defence**: it was measured against the attacks named above and no others. An
input-dependent gate can hide gradients; the diagnostics that would rule this out have not been run on these weights.

## Licence and source

Weights: Apache-2.0. An independent implementation of *Sparta: Spatially Attentive and Adversarially Robust Activation*
(Guo et al., [arXiv:2105.08269](https://arxiv.org/abs/2105.08269)); the wiring was reconstructed from the paper's text.
Data: CIFAR-10 (Krizhevsky 2009), which carries no explicit licence.
"""


def render_card(name: str, config: ArtifactConfig, results: Mapping[str, Any], *, values: int) -> str:
    """Write the card of an artifact.

    Args:
        name: its short name.
        config: its ``config.json``.
        results: its ``results.json``: ``training`` (one record), ``evaluation`` (a list), ``remark``, ``comparison``.
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
            name=name,
            family=config.activation.family,
            values=f"{values:,}",
            sites=", ".join(site.name for site in config.activation.sites),
            channels="/".join(str(site.channels) for site in config.activation.sites),
            other_host="resnet34_cifar" if origin.host != "resnet34_cifar" else "resnet18_cifar",
            host=origin.host,
            stem=origin.stem,
            num_classes=origin.num_classes,
            input_size=origin.input_size,
            dataset=origin.dataset,
            threat=origin.threat,
            count=f"{max(row['images'] for row in evaluation):,}",
            rows="\n".join(
                f"| {r['attack']} | {r['accuracy']:.1f} % | {r['low']:.1f}–{r['high']:.1f} | {r['images']:,} |"
                for r in evaluation
            ),
            minutes=f"{training['seconds'] / 60:.0f}",
            images=f"{training['images']:,}",
            steps=f"{training['steps']:,}",
            remark=results["remark"],
            comparison=results["comparison"],
            **{
                k: training[k]
                for k in ("method", "recipe", "batch_size", "epochs", "seed", "hardware", "torch", "commit")
            },
        )
    except KeyError as error:
        raise ArtifactError(f"The card of {name} needs {error} in results.json; measure it first.") from None
    data = ModelCardData(
        license="apache-2.0",
        library_name="sparta-hub",
        pipeline_tag="image-classification",
        tags=["adversarial-robustness", "activation-function", "timm", config.activation.family],
        datasets=[origin.dataset],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type=origin.dataset,
                dataset_name=origin.dataset,
                dataset_split="test",
                metric_type="accuracy",
                metric_name=f"accuracy, {row['attack']}",
                metric_value=row["accuracy"],
                metric_args={"n_examples": row["images"], "attack": row["attack"]},
            )
            for row in evaluation
        ],
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text}"
