"""What the recipes for the zoo share, whatever machine they are for: places, twins, transfers, ablations."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import product

from sparta_hub.activations import Argument
from sparta_hub.injected import Frozen
from training.config import TrainConfig
from training.recipes._paper import with_dataset

Recipe = Callable[[], TrainConfig]

PLACES = {  # as the zoo's names have them -> host, data
    "res18_cifar": ("resnet18_cifar", "cifar10"),
    "res34_cifar": ("resnet34_cifar", "cifar10"),
    "res50_cifar": ("resnet50_cifar", "cifar10"),
    "res18_cifar100": ("resnet18_cifar", "cifar100"),
    "res18_gtsrb": ("resnet18_cifar", "gtsrb"),
}

TRANSFERS = (  # giver in the zoo, place
    ("sparta-res18-cifar", "res34_cifar"),
    ("sparta-res18-cifar", "res18_gtsrb"),
    ("sparta-res18-cifar", "res18_cifar100"),
    ("sparta-res34-cifar", "res18_cifar"),
    ("sparta-res18-gtsrb", "res18_cifar"),
)

FROZEN: dict[str, Frozen] = {  # how a recipe's name says what the pretrained set may do
    "frozen": True,
    "weights": "weights",  # BatchNorm statistics adapt
    "tuned": False,  # it trains on with the host
}

ABLATIONS: dict[str, tuple[str, Mapping[str, Argument]]] = {  # placement and SPARTA's arguments
    "all": ("all", {}),
    **{f"g{stage}": (f"G{stage}.B2", {}) for stage in (1, 2, 3, 4)},
    "n2": ("last", {"neighborhood": 2}),
    "n4": ("last", {"neighborhood": 4}),
    "k3": ("last", {"kernel_size": 3}),
    "wo_dpnet": ("last", {"dynamic": False}),
}


def at(base: Recipe, name: str, family: str, place: str) -> TrainConfig:
    """The conditions of ``base`` with a family at a place; twins differ in the family alone."""
    host, dataset = PLACES[place]
    return with_dataset(replace(base(), name=name, family=family, host=host), dataset)


def transfer(base: Recipe, name: str, giver: str, place: str, frozen: Frozen) -> TrainConfig:
    """The conditions of ``base`` with a pretrained SPARTA of the zoo at another place."""
    return replace(at(base, name, "sparta", place), activation=giver, frozen=frozen)


def twins(
    base: Recipe,
    machine: str,
    suffix: str = "",
    *,
    families: Iterable[str] = ("sparta", "relu"),
    places: Iterable[str] = PLACES,
) -> dict[str, Recipe]:
    """``MACHINE_FAMILY_PLACE_SUFFIX`` for every family at every place."""
    names = {(f, p): "_".join(filter(None, (machine, f, p, suffix))) for f, p in product(families, places)}
    return {name: partial(at, base, name, *where) for where, name in names.items()}


def transfers(base: Recipe, machine: str, suffix: str = "") -> dict[str, Recipe]:
    """``MACHINE_frozen_GIVER_in_PLACE_SUFFIX`` for every transfer, and the same with the other keys of ``FROZEN``."""
    return {
        (name := "_".join(filter(None, (machine, kind, giver.replace("-", "_"), "in", place, suffix)))): partial(
            transfer, base, name, giver, place, frozen
        )
        for (kind, frozen), (giver, place) in product(FROZEN.items(), TRANSFERS)
    }
