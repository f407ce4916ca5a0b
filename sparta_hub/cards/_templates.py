"""The words of a card; what stands between is filled in by ``_render.py``."""

TEMPLATE = """\
# $name

$opening

$install

## Where it was trained

| | |
|---|---|
| network | $host ($stem stem, $num_classes classes), images of $input_size×$input_size in [0, 1], no normalisation |
| data | $dataset, training split$share |
| against | $threat |
| method | $method, recipe `$recipe`, seed $seed |
| length | $epochs epochs: $steps steps of $batch_size, $images images seen |
| cost | $minutes minutes on $hardware, torch $torch |
| code | commit `$commit` |

$remark

## What was measured

On the network it was trained in$averaged, on the first $count images of $dataset's test split, in the
official order. Images that are misclassified already count as broken.

$table

$copies

$comparison

## What it costs

$cost

$elsewhere

## Limits

A research artifact, **not a certified defence**: it was measured against the attacks named above and no others.
$limits

## How to verify

`sparta-hub verify-files $name` compares the files that have a checksum in `config.json`: weights and `results.json`,
not this card. `sparta-hub verify $name --limit 100` measures accuracy without attack and under each single attack
again, on the first 100 of the same images with the same seed, and says how many images differ and whether each accuracy
lies in its interval; it does not measure worst cases, gains, cost or other networks, and AutoAttack, which takes hours
on a CPU, only where it is asked for by its name (`--attack`). The flags of every image are in `results.json`.

## Licence and source

Weights: Apache-2.0. Data: $licence. $source
"""

ELSEWHERE = """\
## Transfer

$transfer

## Hosts

Any timm network whose stages have $channels channels after the addition: `sparta-hub check $name MODEL` says whether
one fits, and which do."""

INSTALL = "To install sparta-hub, type `pip install -e .` in a checkout of it; it is not on PyPI yet."

NO_AUTOATTACK = "AutoAttack has not been run."

UPPER_BOUND = "The accuracies under attack are upper bounds: a stronger attack may break more images."

SOURCE = """\
An independent implementation of *Sparta:
Spatially Attentive and Adversarially Robust Activation* (Guo et al.,
[arXiv:2105.08269](https://arxiv.org/abs/2105.08269)); the wiring was reconstructed from the paper's text.

```bibtex
@article{guo2021sparta,
  title = {Sparta: Spatially Attentive and Adversarially Robust Activation},
  author = {Guo, Qing and Juefei-Xu, Felix and Zhou, Changqing and Feng, Wei and Liu, Yang and Wang, Song},
  journal = {arXiv preprint arXiv:2105.08269},
  year = {2021}
}
```"""

HUB_IDS = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
}

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
    "Each place has one recipe, seed and budget for all its rows. Accuracies on the first images of the test split, "
    "gains over ReLU in points and image by image, both with 95 % intervals."
)

MEANS = "Means of the gains over ReLU of networks that differ in their seed alone, with 95 % intervals over seeds:"

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
$before
model = sparta_hub.load("$repo", model=$into, frozen=True)
```

$install

Trained in $where. **Nothing was measured for this card**: it says nothing of accuracy or robustness, and is no
certified defence.
"""
