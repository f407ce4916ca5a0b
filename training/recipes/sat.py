"""Xie et al. 2020, *Smooth Adversarial Training*, arXiv:2006.14536: its tables, figure 3, sections 4.2 and 6.

The paper says: ImageNet, PGD-1 in L∞ 4/255 while training; on CIFAR-10 PGD-1 in 8/255; the activation is replaced
everywhere; smooth ReLU's α is learnable and starts at 400.

It does not say in what we have of it, and we chose: one step of ε from a random start; 100 epochs, lr 0.1 divided by 10
at 30, 60 and 90, batches of 256, momentum 0.9, weight decay 1e-4, the same for images of 299 and 380 pixels; on
CIFAR-10 the conditions of ``thesis.protocol``.

Every recipe takes another host: ``--set host=resnext101_32x8d`` or any name that timm knows.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

from sparta_hub.threat import ThreatModel
from training.config import Schedule, TrainConfig
from training.recipes import thesis
from training.recipes._paper import ACTIVATIONS, PaperRow, slug

SOURCE = "smooth-adversarial-training"
BACKWARD = {  # table 1 -> the argument ``smooth`` of relu_smooth_backward
    "smooth bwd for attacker": "attacker",
    "smooth bwd for optimizer": "optimizer",
    "smooth bwd for both": "both",
}


def row(table: str, activation: str, variant: str = "", *, network: str = "resnet50") -> PaperRow:
    """A row of this paper."""
    return PaperRow(SOURCE, table, "imagenet", network, activation, "pgd1-at", variant)


ROWS = (
    *(row("1", "relu", variant) for variant in ("relu fwd; relu bwd", *BACKWARD)),
    *(row("fig3", a) for a in ("relu", "parametric-softplus(alpha=10)", "silu")),
    row("sec4.2", "smooth-relu", "alpha learnable, init 400"),
    *(row("2", a, f"alpha={alpha}") for alpha, a in product((1.0, 1.2, 1.4, 1.6, 1.8, 2.0), ("elu", "celu"))),
    *(row("3", "silu", network=n) for n in ("resnet50", "resnet101", "resnet152", "resnext50_32x4d")),
    *(row("3", "silu", network=n) for n in ("resnet50@299", "resnet50@380")),  # pixels that images have
    row("sec6", "silu", "attack iterations"),
)

_TIMM = "timm has no network of this name; train a near one, such as {}"
WITHOUT = {
    row("3", "silu", network="resnext50_32x8d"): _TIMM.format("sat_imagenet_resnext101_32x8d_silu"),
    row("3", "silu", network="resnext152_32x8d@380"): _TIMM.format("sat_imagenet_resnext101_32x8d_silu"),
    row("4", "silu", "enhanced recipe", network="efficientnet-l1"): _TIMM.format("sat_imagenet_efficientnet_b0_silu"),
}

NEAR = tuple(product(("resnext101_32x8d", "efficientnet_b0"), ("silu", "smooth-relu")))  # hosts that no row has
CIFAR10 = ("relu", "silu", "gelu", "elu", "celu", "smooth-relu", "parametric-softplus(alpha=10)")


def name_of(row: PaperRow) -> str:
    """``sat_t2_imagenet_resnet50_elu_alpha_1_2``, ``sat_fig3_imagenet_resnet50_silu``."""
    table = f"t{row.table}" if row.table.isdigit() else row.table
    variant = row.variant if row.table == "2" or row.variant in BACKWARD else ""
    return slug("sat", table, row.dataset, row.network, row.activation, variant)


def protocol(name: str, activation: str, host: str = "resnet50") -> TrainConfig:
    """ImageNet, any host of timm's, the activation everywhere."""
    family, arguments = ACTIVATIONS[activation]
    return TrainConfig(
        name,
        host,
        family,
        arguments=arguments,
        placement="every",
        dataset="imagenet",
        augmentation="resized_crop_flip",
        method="pgd",
        method_arguments={"steps": 1, "step_size": 4 / 255, "random_start": True},
        threat=ThreatModel("linf", 4 / 255),
        epochs=100,
        batch_size=256,
        lr=0.1,
        weight_decay=1e-4,
        schedule=Schedule("multistep", milestones=(30, 60, 90)),
    )


def recipe(row: PaperRow) -> TrainConfig:
    """The configuration of one row."""
    host, _, pixels = row.network.partition("@")
    config = protocol(name_of(row), row.activation, host)
    if pixels:
        config = replace(config, image_size=int(pixels))
    if row.variant in BACKWARD:
        config = replace(config, family="relu_smooth_backward", arguments={"smooth": BACKWARD[row.variant]})
    if row.table == "2":
        config = replace(config, arguments={"alpha": float(row.variant.removeprefix("alpha="))})
    return config


def cifar10(activation: str) -> TrainConfig:
    """ResNet-18 on CIFAR-10 with PGD-1 in 8/255, the activation everywhere."""
    name = slug("sat_cifar10_resnet18", activation)
    family, arguments = ACTIVATIONS[activation]
    pgd1 = {"steps": 1, "step_size": 8 / 255, "random_start": True}
    config = replace(thesis.protocol(name, "pgd-at"), family=family, arguments=arguments, placement="every")
    return replace(config, method_arguments=pgd1)


PUBLISHED: dict[PaperRow, str] = {r: name_of(r) for r in ROWS}
RECIPES: dict[str, Callable[[], TrainConfig]] = {
    **{name_of(r): partial(recipe, r) for r in ROWS},
    **{(name := slug("sat_imagenet", host, a)): partial(protocol, name, a, host) for host, a in NEAR},
    **{slug("sat_cifar10_resnet18", a): partial(cifar10, a) for a in CIFAR10},
}
