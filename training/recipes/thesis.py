"""Tables II to IX of Saleh 2022 (FGSM-SDI), after Jia et al. 2021, arXiv:2110.05007.

The thesis says: L∞ 8/255; SGD with momentum, weight decay 5e-4; lr 0.1 for 110 epochs, divided by 10 at 100 and 105, or
(table VI) 30 epochs of a cyclic lr that peaks at 0.2, at 0.3 for FGSM-GA and FGSM-CKPT; best and last checkpoint.
Both are of one run, so two rows may have one recipe. Table IV repeats three rows of table III.

It does not say in what we have of it, and we chose: batches of 128, momentum 0.9, crop and flip; PGD of 10 steps of
2/255 from a random start; the constants that each method's own paper gives; Free-AT replays the batches of each of its
110 or 30 epochs m times, which the minutes of its rows suggest, so it has m times as many of our epochs, in which a
replay counts; the best checkpoint is the best on 1,000 training images, not on test images. For ImageNet (table IX): 90
epochs, divided by 10 at 30 and 60, replays counted; batches of 256, weight decay 1e-4, PGD steps of ε/4.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import product

from sparta_hub.activations import Argument
from sparta_hub.threat import ThreatModel
from training.config import Schedule, TrainConfig
from training.recipes._paper import HOSTS, PaperRow, slug, with_dataset

SOURCE = "fgsm-sdi-thesis"
BEST, LAST = "multistep110;checkpoint=best", "multistep110;checkpoint=last"
METHOD: dict[str, tuple[str, Mapping[str, Argument]]] = {
    "pgd-at": ("pgd", {"steps": 10, "step_size": 2 / 255, "random_start": True}),
    "fgsm-rs": ("fgsm_rs", {}),
    "fgsm-ckpt": ("fgsm_ckpt", {}),
    "fgsm-ga": ("fgsm_ga", {}),
    "free-at(m=8)": ("free", {"replays": 8}),
    "free-at(m=4)": ("free", {"replays": 4}),
    "fgsm-sdi": ("fgsm_sdi", {}),
}
COMPARED = ("pgd-at", "fgsm-rs", "fgsm-ckpt", "fgsm-ga", "free-at(m=8)", "fgsm-sdi")  # tables III and V to VIII


def row(
    table: str, training: str, variant: str = BEST, *, network: str = "resnet18", dataset: str = "cifar10"
) -> PaperRow:
    """A row of the thesis; all have ReLU."""
    return PaperRow(SOURCE, table, dataset, network, "relu", training, variant)


ROWS = (
    *(row("II", "fgsm-sdi", f"k={k}") for k in (1, 2, 10, 20, 30, 40)),
    *(row("III", m) for m in COMPARED),
    *(row("III", m, LAST) for m in COMPARED if m != "fgsm-ckpt"),
    *(row("IV", m, "multistep110;checkpoint=reimplementation") for m in ("fgsm-rs", "fgsm-ckpt", "fgsm-sdi")),
    *(row("V", m, network="wideresnet34-10") for m in COMPARED),
    *(row("VI", m, "cyclic30;checkpoint=best") for m in COMPARED),
    *(row("VII", m, dataset="cifar100") for m in COMPARED),
    *(row("VIII", m, network="preactresnet18", dataset="tiny-imagenet") for m in COMPARED),
    *(
        row("IX", m, f"epsilon={eps}/255", network="resnet50", dataset="imagenet")
        for m, eps in product(("pgd-at", "free-at(m=4)", "fgsm-rs", "fgsm-sdi"), (2, 4, 8))
    ),
)


def name_of(row: PaperRow) -> str:
    """``thesis_tiii_cifar10_resnet18_relu_fgsm_sdi``; the table says the schedule."""
    variant = row.variant.split(";")[0].removesuffix("/255")
    variant = variant.replace("epsilon=", "eps") if row.table in ("II", "IX") else ""
    return slug("thesis", f"t{row.table}", row.dataset, row.network, row.activation, row.training, variant)


def protocol(name: str, training: str) -> TrainConfig:
    """ResNet-18 with ReLU on CIFAR-10, 110 epochs: what all rows are derived from."""
    method, arguments = METHOD[training]
    return TrainConfig(
        name,
        "resnet18_cifar",
        method=method,
        method_arguments=arguments,
        epochs=110,
        lr=0.1,
        schedule=Schedule("multistep", milestones=(100, 105)),
    )


def recipe(row: PaperRow) -> TrainConfig:
    """The configuration of one row."""
    config = with_dataset(protocol(name_of(row), row.training), slug(row.dataset))
    config = replace(config, host=HOSTS.get(row.network, row.network))
    if row.table == "II":
        config = replace(config, method_arguments={"every": int(row.variant.removeprefix("k="))})
    if row.table == "VI":
        lr = 0.3 if row.training in ("fgsm-ga", "fgsm-ckpt") else 0.2
        config = replace(config, epochs=30, lr=lr, schedule=Schedule("cyclic"))
    if config.method == "free" and row.table != "IX":
        milestones = tuple(8 * epoch for epoch in config.schedule.milestones)
        config = replace(config, epochs=8 * config.epochs, schedule=replace(config.schedule, milestones=milestones))
    if row.table == "IX":
        eps = int(row.variant.removeprefix("epsilon=").removesuffix("/255")) / 255
        config = replace(
            config,
            threat=ThreatModel("linf", eps),
            epochs=90,
            batch_size=256,
            weight_decay=1e-4,
            schedule=Schedule("multistep", milestones=(30, 60)),
        )
        if config.method == "pgd":
            config = replace(config, method_arguments={**config.method_arguments, "step_size": eps / 4})
    return config


def sparta_sdi() -> TrainConfig:
    """FGSM-SDI with SPARTA, otherwise table III's protocol: the next step that the thesis names, without a row."""
    return replace(protocol("thesis_cifar10_resnet18_sparta_fgsm_sdi", "fgsm-sdi"), family="sparta")


PUBLISHED: dict[PaperRow, str] = {r: name_of(r) for r in ROWS}
RECIPES: dict[str, Callable[[], TrainConfig]] = {
    **{name_of(r): partial(recipe, r) for r in ROWS},
    "thesis_cifar10_resnet18_sparta_fgsm_sdi": sparta_sdi,
}
