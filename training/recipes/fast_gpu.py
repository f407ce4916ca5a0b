"""Recipes that are meant to fit in 30 minutes of one GPU each.

They are the FastAT Benchmark's best conditions (``fastat_cifar10_resnet18_relu_pgd_at_wa``: one cycle, label smoothing
0.4, averaging, 1,000 images for validation), shorter, in bf16, with a rate that moves at every step and a momentum that
does not. All that differs is ours: the faster methods get more epochs, and averaging reaches back over the same 5 % of
the steps as the benchmark's 0.9995 does.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from training.config import Schedule, TrainConfig
from training.recipes import fastat
from training.recipes._zoo import ABLATIONS, Recipe, transfers, twins


def pgd() -> TrainConfig:
    """PGD-10, 30 epochs: eleven passes a step, 11,460 steps."""
    config = fastat.recipe(fastat.row("cifar10", "resnet18", "pgd-at-wa"))
    return replace(config, name="fast_sparta_res18_cifar_pgd", family="sparta", epochs=30, ema_decay=0.9983,
                   precision="bf16", momentum=0.9, schedule=Schedule("one_cycle"))  # fmt: skip


def n_fgsm() -> TrainConfig:
    """N-FGSM, 100 epochs: two passes a step, 38,200 steps."""
    return replace(pgd(), method="n_fgsm", method_arguments={}, epochs=100, ema_decay=0.9995)


def fgsm_sdi() -> TrainConfig:
    """FGSM-SDI, 80 epochs: three passes a step, and its generator's; 30,560 steps."""
    return replace(pgd(), method="fgsm_sdi", method_arguments={}, epochs=80, ema_decay=0.9994)


METHOD: dict[str, Recipe] = {"pgd": pgd, "n_fgsm": n_fgsm, "fgsm_sdi": fgsm_sdi}
FAMILIES = ("silu", "smooth_relu", "dynamic_relu_b", "se_gated_relu", "cbam_gated_relu", "feature_denoising")


def ablation(name: str) -> TrainConfig:
    """``fast_sparta_res18_cifar_pgd`` with one choice of SPARTA's made otherwise."""
    placement, arguments = ABLATIONS[name]
    return replace(pgd(), name=f"fast_sparta_{name}_res18_cifar_pgd", placement=placement, arguments=arguments)


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    **{name: make for method, base in METHOD.items() for name, make in twins(base, "fast", method).items()},
    **{name: make for method, base in METHOD.items() for name, make in transfers(base, "fast", method).items()},
    **twins(pgd, "fast", "pgd", families=FAMILIES, places=("res18_cifar",)),
    **{f"fast_sparta_{name}_res18_cifar_pgd": partial(ablation, name) for name in ABLATIONS},
}
