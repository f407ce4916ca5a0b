"""What the published tables have in common: their rows, their words for things, and the names of recipes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sparta_hub.activations import Argument
from training.config import TrainConfig, usual_augmentation

Changes = tuple[str, Mapping[str, Argument]]  # a family and its arguments, where they differ from its defaults


@dataclass(frozen=True)
class PaperRow:
    """One row of a published table, as ``published_results.csv`` names it, without its figures."""

    source: str
    table: str
    dataset: str
    network: str
    activation: str
    training: str
    variant: str = ""


HOSTS = {
    "resnet18": "resnet18_cifar",
    "resnet34": "resnet34_cifar",
    "preactresnet18": "preact_resnet18",
    "wideresnet34-10": "wide_resnet34_10",
}  # for small images; ImageNet's networks are called as timm calls them

ACTIVATIONS: dict[str, Changes] = {
    "relu": ("relu", {}),
    "sparta": ("sparta", {}),
    "sparta-wo-dpnet": ("sparta", {"dynamic": False}),
    "swish": ("silu", {}),
    "silu": ("silu", {}),
    "swish-relu": ("swish_relu", {}),
    "elu": ("elu", {}),
    "celu": ("celu", {}),
    "gelu": ("gelu", {}),
    "smooth-relu": ("smooth_relu", {}),
    "parametric-softplus(alpha=10)": ("parametric_softplus", {"alpha": 10.0}),
    "dyrelu": ("dynamic_relu_b", {"pieces": 3}),  # of three lines are the published sizes, 11.79 and 21.90 M
    "feature-denoising": ("feature_denoising", {}),
}


def slug(*parts: str) -> str:
    """Lower-case words joined by underscores: ``("FGSM-RS", "k=1")`` -> ``fgsm_rs_k_1``; empty parts are left out."""
    return "_".join(filter(None, (re.sub(r"[^a-z0-9]+", "_", part.lower()).strip("_") for part in parts)))


def with_dataset(config: TrainConfig, dataset: str) -> TrainConfig:
    """The same on another data set, with the augmentation that its images bear."""
    return replace(config, dataset=dataset, augmentation=usual_augmentation(dataset))
