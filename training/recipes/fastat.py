"""The conditions of the FastAT Benchmark (Pan & Yao 2026, arXiv:2604.22853; its figures come from its public logs).

Its configurations say: 49,000 training and 1,000 validation images (Tiny-ImageNet 98,000 and 2,000), 100 epochs of
torch's OneCycleLR, stepped once an epoch, that peaks at lr 0.1 and moves momentum from 0.95 to 0.85 and back (torch's
default, whatever the optimiser was given), batches of 128, weight decay 5e-4, label smoothing 0.4, crop and flip, L∞
8/255, three seeds (``--seed 0``, ``1``, ``2``); averaging with 0.9995 in all rows but PGD-AT; Free-AT with m = 4 and 50
passes, which are 200 epochs here, on a cycle that is four times as long as the run.

What differs here: averaging has a warm-up, and the averaged weights are validated alone, where it keeps the better of
both; single-step attacks climb cross entropy without label smoothing, in the mode that each method's paper gives. PGD
of 10 steps of 2/255 starts at random.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import product

from sparta_hub.activations import Argument
from training.config import Schedule, TrainConfig
from training.recipes._paper import HOSTS, PaperRow, slug, with_dataset

SOURCE = "fastat-benchmark"
VARIANT = "100 epochs onecycle; epsilon=8/255; mean of 3 seeds"
SETS = (("cifar10", "resnet18"), ("cifar100", "resnet18"), ("tiny-imagenet", "preactresnet18"))
_PGD: Mapping[str, Argument] = {"steps": 10, "step_size": 2 / 255, "random_start": True}
METHOD: dict[str, tuple[str, Mapping[str, Argument]]] = {
    "fgsm-at": ("pgd", {"steps": 1, "step_size": 8 / 255, "random_start": False}),
    "fgsm-rs": ("fgsm_rs", {}),
    "free-at": ("free", {"replays": 4}),
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
        validation=2000 if row.dataset == "tiny-imagenet" else 1000,
        method=method,
        method_arguments=arguments,
        epochs=200 if method == "free" else 100,
        batch_size=128,
        lr=0.1,
        momentum=0.95,
        weight_decay=5e-4,
        # its cycle for Free-AT has 200 steps, of which 50 passes make 50: the rate rises for 60, so it never falls
        schedule=Schedule("one_cycle_by_epoch", rise=1.2 if method == "free" else 0.3, momentum_dip=0.1),
        label_smoothing=0.4,
        ema_decay=0.0 if row.training == "pgd-at" else 0.9995,
    )
    return with_dataset(config, slug(row.dataset))


def with_sparta(training: str) -> TrainConfig:
    """SPARTA under the benchmark's conditions on CIFAR-10: there is no published row of it."""
    relu = row("cifar10", "resnet18", training)
    return replace(recipe(relu), name=name_of(replace(relu, activation="sparta")), family="sparta")


PUBLISHED: dict[PaperRow, str] = {r: name_of(r) for r in ROWS}
RECIPES: dict[str, Callable[[], TrainConfig]] = {
    **{name_of(r): partial(recipe, r) for r in ROWS},
    **{with_sparta(m).name: partial(with_sparta, m) for m in METHOD},
}
