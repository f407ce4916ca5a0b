"""Tables 2 to 9 of Guo et al. 2021, *Sparta*, arXiv:2105.08269.

The paper says: CIFAR-10, SVHN and Tiny-ImageNet, ResNets with the 3×3 stem, targeted PGD of 10 steps of 1/255 in
ε = 16/255, as its tables test (``sparta-pgd-10``, from the image itself), SGD with lr 0.1 divided by 10 at epochs 30
and 60, weight decay 1e-4, network and activation together.

It does not say, and we chose: 90 epochs in all; batches of 128, momentum 0.9, crop and flip (no flip of SVHN's digits);
1,000 training images to choose the best checkpoint; on SVHN, where training at full strength does not get going, five
epochs in which ε grows; other activations stand at the same sites as SPARTA; Dynamic ReLU has three lines, which is
what its published sizes are of. The ``activation`` of a transfer is the artifact that
``python -m training.publish RUN RECIPE`` makes of its giver's run.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

from sparta_hub.threat import ThreatModel
from training.config import Schedule, TrainConfig
from training.recipes._paper import ACTIVATIONS, HOSTS, PaperRow, slug, with_dataset

SOURCE = "sparta-journal"
AT = "pgd10-at"
CROSS_NETWORK, CROSS_DATASET = "cross-network transfer", "cross-dataset transfer"
COMPARED = ("relu", "elu", "gelu", "feature-denoising", "dyrelu", "smooth-relu", "sparta")  # tables 6 and 7
PLACEMENTS = ("G1.B2", "G2.B2", "G3.B2", "G4.B2", "G{1,2,3,4}.B{1,2}", "G{1,2,3,4}.B2")


def row(
    table: str,
    activation: str = "sparta",
    training: str = AT,
    variant: str = "",
    *,
    network: str = "resnet18",
    dataset: str = "cifar10",
) -> PaperRow:
    """A row of this paper; most are of ResNet-18 on CIFAR-10."""
    return PaperRow(SOURCE, table, dataset, network, activation, training, variant)


ROWS = (
    *(row("2", a, t) for t, a in product((AT, "standard"), ("relu", "sparta-wo-dpnet", "sparta"))),
    *(row("3", variant=f"placement=G4.B2;neighborhood={n}") for n in (1, 2, 4)),
    *(row("4", variant=f"placement={p}") for p in PLACEMENTS),
    *(row("5", a) for a in ("swish", "swish-relu", "sparta")),
    *(row("6", a, t, network=n) for a, n, t in product(COMPARED, ("resnet18", "resnet34"), (AT, "standard"))),
    *(row("7", a, dataset=d) for a, d in product(COMPARED, ("tiny-imagenet", "svhn"))),
    *(row("8", a, variant=CROSS_NETWORK) for a in ("relu", "sparta<-resnet34(frozen)", "sparta")),
    *(row("8", a, variant=CROSS_NETWORK, network="resnet34") for a in ("relu", "sparta<-resnet18(frozen)", "sparta")),
    *(row("9", a, variant=CROSS_DATASET) for a in ("relu", "sparta<-svhn(frozen)", "sparta")),
    *(row("9", a, variant=CROSS_DATASET, dataset="svhn") for a in ("relu", "sparta<-cifar10(frozen)", "sparta")),
)

PARAMETERS = {  # rows that count parameters, and train nothing -> the row whose network they count
    replace(r, training=""): r for r in ROWS if r.table == "6" and r.training == AT
}


def name_of(row: PaperRow) -> str:
    """``sparta_t6_cifar10_resnet34_elu``, ``sparta_t2_cifar10_resnet18_relu_standard``, ``…_frozen_from_svhn``."""
    activation = row.activation.replace("(frozen)", "").replace("<-", " frozen from ")
    training = "" if row.training == AT else row.training
    variant = "" if "transfer" in row.variant else row.variant.replace("placement=", "").replace("neighborhood=", "n")
    return slug("sparta", f"t{row.table}", row.dataset, row.network, activation, training, variant)


def protocol(name: str) -> TrainConfig:
    """SPARTA in ResNet-18 on CIFAR-10: what all rows are derived from."""
    return TrainConfig(
        name,
        "resnet18_cifar",
        "sparta",
        method="pgd",
        method_arguments={"steps": 10, "step_size": 1 / 255, "random_start": False},
        threat=ThreatModel("linf", 16 / 255, targeted=True),
        epochs=90,
        batch_size=128,
        lr=0.1,
        weight_decay=1e-4,
        schedule=Schedule("multistep", milestones=(30, 60)),
    )


def recipe(row: PaperRow) -> TrainConfig:
    """The configuration of one row."""
    config = with_dataset(replace(protocol(name_of(row)), host=HOSTS[row.network]), slug(row.dataset))
    family, _, giver = row.activation.removesuffix("(frozen)").partition("<-")
    config = replace(config, family=ACTIVATIONS[family][0], arguments=ACTIVATIONS[family][1])
    if row.dataset == "svhn":
        config = replace(config, epsilon_warmup=5)
    if row.training == "standard":
        config = replace(config, method="standard", method_arguments={}, epsilon_warmup=0)
    if giver:
        changed = {"network": giver} if row.variant == CROSS_NETWORK else {"dataset": giver}
        config = replace(config, activation=artifact_of(replace(row, activation=family, **changed)), frozen=True)
    for key, _, value in (part.partition("=") for part in row.variant.split(";")):
        if key == "placement":
            config = replace(config, placement=value)
        if key == "neighborhood":
            config = replace(config, arguments={"neighborhood": int(value)})
    return config


def artifact_of(row: PaperRow) -> str:
    """Folder of the activations that were trained by the recipe of ``row``."""
    return f"./model_cards/{name_of(row)}"


PUBLISHED: dict[PaperRow, str] = {r: name_of(r) for r in ROWS} | {r: name_of(of) for r, of in PARAMETERS.items()}
RECIPES: dict[str, Callable[[], TrainConfig]] = {name_of(r): partial(recipe, r) for r in ROWS}
