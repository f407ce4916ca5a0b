"""Recipes that are short enough for many seeds: which activation is ahead, and by how much more than a seed decides?

A quarter of ResNet-18's width and one epoch: some ten minutes of one CPU core each, without bf16 instructions. What
holds here need not hold for wider networks and longer training. All figures are ours; averaging reaches back over the
same share of the steps as that of ``cpu_sparta_res18_cifar`` does.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sparta_hub.activations import FAMILIES
from training.config import TrainConfig
from training.recipes import cpu
from training.recipes._zoo import ABLATIONS


def n_fgsm(family: str) -> TrainConfig:
    """``small_FAMILY_res18w16_cifar``: any family with N-FGSM; twins differ in the family alone."""
    return replace(cpu.n_fgsm(), name=f"small_{family}_res18w16_cifar", host="resnet18_w16_cifar", family=family,
                   epochs=1, ema_decay=0.992, precision="fp32")  # fmt: skip


def fgsm_sdi(family: str) -> TrainConfig:
    """The same with FGSM-SDI, whose generator costs as much as this network does."""
    return replace(n_fgsm(family), name=f"small_{family}_res18w16_cifar_fgsm_sdi", method="fgsm_sdi")


def ablation(what: str) -> TrainConfig:
    """SPARTA with one choice made otherwise."""
    placement, arguments = ABLATIONS[what]
    return replace(
        n_fgsm("sparta"), name=f"small_sparta_{what}_res18w16_cifar", placement=placement, arguments=arguments
    )


def wider() -> TrainConfig:
    """ReLU in a wider network, larger than that of SPARTA with 3×3 kernels: is it more than size that helps those?"""
    return replace(n_fgsm("relu"), name="small_relu_res18w24_cifar", host="resnet18_w24_cifar")


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    **{n_fgsm(family).name: partial(n_fgsm, family) for family in FAMILIES},
    **{ablation(what).name: partial(ablation, what) for what in ABLATIONS},
    wider().name: wider,
    **{fgsm_sdi(family).name: partial(fgsm_sdi, family) for family in ("relu", "sparta")},
}
