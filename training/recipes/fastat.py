"""The conditions of the FastAT Benchmark (Pan & Yao 2026, arXiv:2604.22853).

It says: 49,000 training and 1,000 validation images, 100 epochs of OneCycle that peaks at lr 0.1, batches of 128,
weight decay 5e-4, label smoothing 0.4, crop and flip, L∞ 8/255, three seeds (``--seed 0``, ``1``, ``2``); averaging
with 0.9995 in PGD-AT-WA, which is the only one that averages here.

It does not say in what we have of it, and we chose: momentum 0.9; linear rise over 30 % of the run and linear fall; PGD
of 10 steps of 2/255 from a random start; Free-AT with m = 8, whose 100 epochs count every replay, as its minutes
suggest; on Tiny-ImageNet too 1,000 images for validation, crop and flip; the constants that each method's paper gives.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import product

from sparta_hub.activations import Argument
from training.config import Schedule, TrainConfig
from training.recipes._paper import DATASETS, HOSTS, PaperRow, slug, with_dataset

SOURCE = "fastat-benchmark"
VARIANT = "100 epochs onecycle; epsilon=8/255; mean of 3 seeds"
SETS = (("cifar10", "resnet18"), ("cifar100", "resnet18"), ("tiny-imagenet", "preactresnet18"))
_PGD: Mapping[str, Argument] = {"steps": 10, "step_size": 2 / 255, "random_start": True}
METHOD: dict[str, tuple[str, Mapping[str, Argument]]] = {
    "fgsm-at": ("pgd", {"steps": 1, "step_size": 8 / 255, "random_start": False}),
    "fgsm-rs": ("fgsm_rs", {}),
    "free-at": ("free", {"replays": 8}),
    "grad-align": ("fgsm_ga", {}),
    "n-fgsm": ("n_fgsm", {}),
    "pgd-at": ("pgd", _PGD),
    "pgd-at-wa": ("pgd", _PGD),
}
NOT_OURS = ("elle", "fgsm-cuap", "fgsm-fuap", "fgsm-mep-cs", "fgsm-pco", "fgsm-pgi", "fgsm-rs-cs", "fgsm-uap", "gat",
            "liet", "n-aaer", "nu-at", "ssat", "zero-grad")  # fmt: skip


def row(dataset: str, network: str, training: str) -> PaperRow:
    """A row of the benchmark; all have ReLU."""
    return PaperRow(SOURCE, "logs", dataset, network, "relu", training, VARIANT)


ROWS = tuple(row(*where, m) for where, m in product(SETS, METHOD))
WITHOUT = {
    row(*where, m): f"{m} is not among the methods of this project"
    for where, m in product(SETS, NOT_OURS)
    if (where[0], m) != ("tiny-imagenet", "n-aaer")  # which the benchmark has no log of
}


def name_of(row: PaperRow) -> str:
    """``fastat_cifar10_resnet18_relu_pgd_at_wa``."""
    return slug("fastat", row.dataset, row.network, row.activation, row.training)


def recipe(row: PaperRow) -> TrainConfig:
    """The configuration of one row."""
    method, arguments = METHOD[row.training]
    config = TrainConfig(
        name_of(row),
        HOSTS[row.network],
        family=row.activation,
        validation=1000,
        method=method,
        method_arguments=arguments,
        epochs=100,
        batch_size=128,
        lr=0.1,
        weight_decay=5e-4,
        schedule=Schedule("one_cycle"),
        label_smoothing=0.4,
        ema_decay=0.9995 if row.training == "pgd-at-wa" else 0.0,
    )
    return with_dataset(config, DATASETS[row.dataset])


def with_sparta(training: str) -> TrainConfig:
    """SPARTA under the benchmark's conditions on CIFAR-10: there is no published row of it."""
    relu = row("cifar10", "resnet18", training)
    return replace(recipe(relu), name=name_of(replace(relu, activation="sparta")), family="sparta")


PUBLISHED: dict[PaperRow, str] = {r: name_of(r) for r in ROWS}
RECIPES: dict[str, Callable[[], TrainConfig]] = {
    **{name_of(r): partial(recipe, r) for r in ROWS},
    **{with_sparta(m).name: partial(with_sparta, m) for m in METHOD},
}
