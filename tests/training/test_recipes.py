"""Every row of the papers' tables has its recipe, and a recipe is what its paper says."""

import csv
from collections import Counter
from dataclasses import fields, replace

import pytest
import torch

from sparta_hub import ThreatModel
from sparta_hub.data import SOURCES
from sparta_hub.hosts import create_host
from sparta_hub.surgery import eject, inject
from tests.conftest import needs_preact
from training.config import Schedule, TrainConfig
from training.methods import build_method
from training.recipes import PUBLISHED, RECIPES, WITHOUT, PaperRow
from training.recipes._zoo import PLACES
from training.table import FIGURES

PGD10 = {"steps": 10, "step_size": 2 / 255, "random_start": True}


def row(source, table, network, activation, training, variant="", dataset="cifar10"):
    return PaperRow(source, table, dataset, network, activation, training, variant)


def of(*columns, **more) -> TrainConfig:
    return RECIPES[PUBLISHED[row(*columns, **more)]]()


def differing(a: TrainConfig, b: TrainConfig) -> set[str]:
    return {f.name for f in fields(TrainConfig) if getattr(a, f.name) != getattr(b, f.name)}


def test_every_published_row_has_one_recipe_or_a_reason():
    with FIGURES.open(newline="") as file:
        lines = [{f.name: line[f.name] for f in fields(PaperRow)} for line in csv.DictReader(file)]
    rows = {PaperRow(**line) for line in lines}
    assert len(rows) == 234
    assert not PUBLISHED.keys() & WITHOUT.keys()
    assert PUBLISHED.keys() | WITHOUT.keys() == rows
    assert all(name in RECIPES for name in PUBLISHED.values())
    assert all(len(reason) > 20 for reason in WITHOUT.values())
    assert Counter(r.source for r in WITHOUT) == {"smooth-adversarial-training": 3, "fastat-benchmark": 41}


def test_rows_share_a_recipe_only_where_they_are_of_one_training():
    for name, count in Counter(PUBLISHED.values()).items():
        sharing = [r for r, n in PUBLISHED.items() if n == name]
        if count > 1:
            assert {r.training for r in sharing} == {"", "pgd10-at"} or {r.variant for r in sharing} == {
                "multistep110;checkpoint=best", "multistep110;checkpoint=last"
            }  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_bears_its_name_and_its_method_takes_its_arguments(name):
    config = RECIPES[name]()
    assert config.name == name
    assert config.dataset in SOURCES
    method = build_method(config.method, config.method_arguments, awp=config.awp, seed=0)
    assert method.takes_targets or not config.threat.targeted
    giver, zoo = config.activation.removeprefix("./model_cards/"), [f"sparta_{p}".replace("_", "-") for p in PLACES]
    assert not giver or giver in zoo or RECIPES[giver]().family == "sparta"


@needs_preact
def test_every_activation_set_fits_into_its_host():
    sets = {
        (c.host, c.family, tuple(c.arguments.items()), c.placement): c for c in (make() for make in RECIPES.values())
    }
    with torch.device("meta"):
        hosts = {name: create_host(name) for name in {config.host for config in sets.values()}}
    for config in sets.values():
        if config.family != "relu":
            inject(hosts[config.host], config.family, placement=config.placement, arguments=config.arguments)
            eject(hosts[config.host])


def test_the_protocol_of_sparta():
    assert of("sparta-journal", "2", "resnet18", "sparta", "pgd10-at") == TrainConfig(
        "sparta_t2_cifar10_resnet18_sparta", "resnet18_cifar", "sparta",
        method="pgd", method_arguments={"steps": 10, "step_size": 1 / 255, "random_start": False},
        threat=ThreatModel("linf", 16 / 255, targeted=True), epochs=90, lr=0.1, weight_decay=1e-4,
        schedule=Schedule("multistep", milestones=(30, 60)),
    )  # fmt: skip
    static = of("sparta-journal", "2", "resnet18", "sparta-wo-dpnet", "pgd10-at")
    assert (static.family, static.arguments) == ("sparta", {"dynamic": False})
    coarse = of("sparta-journal", "3", "resnet18", "sparta", "pgd10-at", "placement=G4.B2;neighborhood=4")
    assert (coarse.placement, coarse.arguments) == ("G4.B2", {"neighborhood": 4})
    everywhere = of("sparta-journal", "4", "resnet18", "sparta", "pgd10-at", "placement=G{1,2,3,4}.B{1,2}")
    assert everywhere.placement == "G{1,2,3,4}.B{1,2}"
    digits = of("sparta-journal", "7", "resnet18", "elu", "pgd10-at", dataset="svhn")
    assert (digits.dataset, digits.augmentation, digits.epsilon_warmup) == ("svhn", "crop", 5)
    assert of("sparta-journal", "6", "resnet34", "gelu", "standard").method == "standard"


def test_a_transfer_takes_the_activation_of_the_other_network_or_data():
    network = of("sparta-journal", "8", "resnet34", "sparta<-resnet18(frozen)", "pgd10-at", "cross-network transfer")
    assert (network.host, network.family, network.frozen) == ("resnet34_cifar", "sparta", True)
    assert network.activation == "./model_cards/sparta_t8_cifar10_resnet18_sparta"
    data = of("sparta-journal", "9", "resnet18", "sparta<-svhn(frozen)", "pgd10-at", "cross-dataset transfer")
    assert (data.dataset, data.activation) == ("cifar10", "./model_cards/sparta_t9_svhn_resnet18_sparta")
    assert RECIPES["sparta_t9_svhn_resnet18_sparta"]().dataset == "svhn"


def test_the_protocol_of_the_thesis():
    pgd = of("fgsm-sdi-thesis", "III", "resnet18", "relu", "pgd-at", "multistep110;checkpoint=last")
    assert pgd == TrainConfig(
        "thesis_tiii_cifar10_resnet18_relu_pgd_at", "resnet18_cifar", method="pgd", method_arguments=PGD10, epochs=110,
        schedule=Schedule("multistep", milestones=(100, 105)),
    )  # fmt: skip
    assert of("fgsm-sdi-thesis", "II", "resnet18", "relu", "fgsm-sdi", "k=40").method_arguments == {"every": 40}
    free = of("fgsm-sdi-thesis", "III", "resnet18", "relu", "free-at(m=8)", "multistep110;checkpoint=best")
    assert (free.epochs, free.schedule.milestones) == (880, (800, 840))
    for method, lr in {"pgd-at": 0.2, "fgsm-ga": 0.3, "fgsm-ckpt": 0.3, "fgsm-sdi": 0.2}.items():
        cyclic = of("fgsm-sdi-thesis", "VI", "resnet18", "relu", method, "cyclic30;checkpoint=best")
        assert (cyclic.epochs, cyclic.lr, cyclic.schedule.kind) == (30, lr, "cyclic")
    photos = of("fgsm-sdi-thesis", "IX", "resnet50", "relu", "pgd-at", "epsilon=2/255", dataset="imagenet")
    assert (photos.host, photos.threat.eps, photos.augmentation) == ("resnet50", 2 / 255, "resized_crop_flip")
    assert photos.method_arguments["step_size"] == 0.5 / 255


def test_smooth_adversarial_training():
    imagenet = {"dataset": "imagenet"}
    smooth = of(
        "smooth-adversarial-training", "1", "resnet50", "relu", "pgd1-at", "smooth bwd for optimizer", **imagenet
    )
    assert (smooth.family, smooth.arguments) == ("relu_smooth_backward", {"smooth": "optimizer"})
    assert (smooth.placement, smooth.threat.eps, smooth.method_arguments["steps"]) == ("every", 4 / 255, 1)
    elu = of("smooth-adversarial-training", "2", "resnet50", "elu", "pgd1-at", "alpha=1.6", **imagenet)
    assert elu.arguments == {"alpha": 1.6}
    resnext = of("smooth-adversarial-training", "3", "resnext50_32x4d", "silu", "pgd1-at", **imagenet)
    assert (resnext.host, resnext.family) == ("resnext50_32x4d", "silu")
    usual = of("smooth-adversarial-training", "3", "resnet50", "silu", "pgd1-at", **imagenet)
    for pixels in (299, 380):
        larger = of("smooth-adversarial-training", "3", f"resnet50@{pixels}", "silu", "pgd1-at", **imagenet)
        assert larger == replace(usual, name=f"sat_t3_imagenet_resnet50_{pixels}_silu", image_size=pixels)
    small = RECIPES["sat_cifar10_resnet18_silu"]()
    assert (small.placement, small.threat.eps, small.method_arguments["step_size"]) == ("every", 8 / 255, 8 / 255)


def test_the_conditions_of_fastat():
    variant = "100 epochs onecycle; epsilon=8/255; mean of 3 seeds"
    averaged = of("fastat-benchmark", "logs", "resnet18", "relu", "pgd-at-wa", variant)
    assert averaged == TrainConfig(
        "fastat_cifar10_resnet18_relu_pgd_at_wa", "resnet18_cifar", validation=1000, method="pgd",
        method_arguments=PGD10, epochs=100, batch_size=128, lr=0.1, momentum=0.95, weight_decay=5e-4,
        label_smoothing=0.4, ema_decay=0.9995, schedule=Schedule("one_cycle_by_epoch", momentum_dip=0.1),
    )  # fmt: skip
    plain = of("fastat-benchmark", "logs", "resnet18", "relu", "pgd-at", variant)
    assert differing(averaged, plain) == {"name", "ema_decay"}
    assert plain.ema_decay == 0
    others = [of("fastat-benchmark", "logs", "resnet18", "relu", m, variant) for m in ("fgsm-rs", "n-fgsm", "free-at")]
    assert {config.ema_decay for config in others} == {0.9995}
    assert (others[2].epochs, others[2].method_arguments) == (200, {"replays": 4})
    tiny = of("fastat-benchmark", "logs", "preactresnet18", "relu", "n-fgsm", variant, dataset="tiny-imagenet")
    assert tiny.validation == 2000


def test_fast_recipes_are_the_benchmarks_best_but_shorter():
    fast = RECIPES["fast_relu_res18_cifar_pgd"]()
    best = RECIPES["fastat_cifar10_resnet18_relu_pgd_at_wa"]()
    assert differing(fast, best) == {"name", "epochs", "ema_decay", "precision", "schedule", "momentum"}
    for method in ("pgd", "n_fgsm", "fgsm_sdi"):
        short = RECIPES[f"fast_sparta_res18_cifar_{method}"]()
        horizon = 1 / (1 - short.ema_decay) / (short.epochs * (49_000 // 128))
        assert horizon == pytest.approx(1 / (1 - 0.9995) / (100 * (49_000 // 128)), rel=0.05)


def test_cpu_recipes_mean_what_they_meant_when_the_first_weights_were_trained():
    sparta = RECIPES["cpu_sparta_res18_cifar"]()
    assert sparta == TrainConfig(
        "cpu_sparta_res18_cifar", "resnet18_cifar", "sparta", validation=0, method="n_fgsm", epochs=4, batch_size=64,
        lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, schedule=Schedule("one_cycle", rise=0.3),
        label_smoothing=0.1, ema_decay=0.998, precision="bf16",
    )  # fmt: skip
    assert RECIPES["cpu_relu_res18_cifar"]() == replace(sparta, name="cpu_relu_res18_cifar", family="relu")


def test_twins_differ_in_the_family_alone_and_transfers_in_where_the_activation_comes_from():
    twins = [name for name in RECIPES if name.startswith(("cpu_relu", "fast_relu"))]
    assert len(twins) == 6 + 15
    for name in twins:
        sparta = RECIPES[name.replace("_relu_", "_sparta_")]()
        assert differing(RECIPES[name](), sparta) == {"name", "family"}
    frozen = RECIPES["cpu_frozen_sparta_res18_cifar_in_res34_cifar"]()
    assert frozen.activation == "sparta-res18-cifar"
    assert differing(frozen, RECIPES["cpu_sparta_res34_cifar"]()) == {"name", "activation", "frozen"}
    for kind, expected in (("weights", "weights"), ("tuned", False)):
        other = RECIPES[f"cpu_{kind}_sparta_res18_cifar_in_res34_cifar"]()
        assert differing(frozen, other) == {"name", "frozen"}
        assert (frozen.frozen, other.frozen) == (True, expected)


def test_road_signs_are_not_mirrored():
    for name, make in RECIPES.items():
        mirrored = make().augmentation.endswith("flip")
        assert mirrored == (make().dataset not in ("gtsrb", "svhn")), name
