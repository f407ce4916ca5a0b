"""Plans: counted by hand, measured on tiny networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sparta_hub.errors import DataError, NameNotFoundError
from training import plan as module
from training.config import Schedule, TrainConfig
from training.errors import ConfigError
from training.plan import Cost, Parameters, count_parameters, plan
from training.recipes import RECIPES

CPU = torch.device("cpu")
TINY = TrainConfig("tiny", "resnet10t", "sparta", arguments={"hidden": 8}, method="n_fgsm", epochs=2.5, batch_size=8,
                   validation=6, schedule=Schedule("constant"))  # fmt: skip


@pytest.fixture
def tiny_data(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), np.arange(40) % 10
    np.savez(tmp_path / "cifar10.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    monkeypatch.setenv("SPARTA_DATA", str(tmp_path))


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    monkeypatch.setenv("SPARTA_DATA", str(tmp_path))


def test_what_a_run_is_made_of(tiny_data):
    found = plan(TINY, CPU, measure=False)
    assert (found.data.images, found.data.classes, found.data.pixels) == (40, 10, 32)
    assert found.per_epoch == 34 // 8
    assert found.steps == 10  # 2.5 epochs of 4
    assert found.sites == ("G1.B1", "G2.B1", "G3.B1", "G4.B1")
    assert found.missing == ()
    assert (found.cost, found.seconds) == (None, None)
    text = str(found)
    assert "cifar10: 40 images of 32×32 in 10 classes, 6 held out; crop_flip; 0 MB as bytes" in text
    assert "2.5 epochs, 10 steps of 8 images" in text
    assert "estimate" not in text


def test_parameters_are_those_of_the_papers():
    assert count_parameters(RECIPES["sparta_t2_cifar10_resnet18_relu"]()) == Parameters(11_173_962, 0)
    assert count_parameters(RECIPES["sparta_t2_cifar10_resnet18_sparta"]()) == Parameters(11_173_962, 811_528)
    assert count_parameters(RECIPES["sparta_t6_cifar10_resnet34_relu"]()).total == 21_282_122


PASSES = {  # of the network in one step; backward: gradients that came back through its output
    "standard": ({}, 1, 1),
    "n_fgsm": ({}, 2, 2),
    "fgsm_rs": ({}, 2, 2),
    "pgd": ({"steps": 3}, 4, 4),
    "trades": ({"steps": 3}, 6, 5),  # the clean pass of the attack has no gradient
    "fgsm_sdi": ({"every": 20}, 3, 3),  # the signs, the step from where the generator says, the training
    "free": ({"replays": 2}, 1, 1),
}


@pytest.mark.parametrize("method", PASSES)
def test_passes_are_counted_on_a_real_step(method, tiny_data):
    arguments, forwards, backwards = PASSES[method]
    cost = plan(replace(TINY, family="relu", arguments={}, method=method, method_arguments=arguments), CPU).cost
    assert cost is not None
    assert (cost.forwards, cost.backwards) == (forwards, backwards)
    assert cost.batch == 8
    assert cost.seconds > 0
    assert 50e6 < cost.memory < 1e12  # at least torch itself


def test_the_estimate_is_the_steps_and_the_validations(tiny_data):
    found = replace(plan(TINY, CPU, measure=False), cost=Cost(2, 2, 0.6, 8, 2_000_000_000))
    unit = 0.6 / 8 / 6  # a forward pass of an image, a backward pass being two
    assert found.validation_seconds == pytest.approx(2.5 * 6 * 32 * unit)
    assert found.seconds == pytest.approx(10 * 0.6 + 2.5 * 6 * 32 * unit)
    assert "2 forward and 2 backward passes, 0.6 s (13 images/s), not compiled, on" in str(found)
    assert "estimate   12 s, of it at most 6 s of validation; 2.0 GB of memory" in str(found)
    assert replace(found, data=replace(found.data, held=0)).seconds == pytest.approx(6)


def test_a_share_of_the_images_is_planned(tiny_data):
    found = plan(TINY, CPU, limit=0.5, measure=False)
    assert (found.data.images, found.data.held, found.per_epoch, found.steps) == (20, 3, 17 // 8, 5)
    assert "cifar10: 20 images of 32×32 in 10 classes, 3 held out" in str(found)


def test_a_share_of_images_that_are_not_there_is_planned(no_data):
    found = plan(RECIPES["cpu_relu_res18_cifar"](), CPU, limit=0.1, measure=False)
    assert (found.data.images, found.data.held, found.per_epoch) == (5000, 0, 5000 // 64)


def test_where_whole_batches_take_too_long_a_few_images_are_timed(tiny_data, monkeypatch):
    monkeypatch.setattr(module, "BUDGET", 0.0)
    found = plan(replace(TINY, batch_size=16), CPU)
    assert found.cost is not None
    assert found.cost.batch == 8
    assert "scaled up from 8 images" in str(found)


def test_planning_leaves_the_global_random_state_alone(tiny_data):
    before = torch.random.get_rng_state()
    plan(TINY, CPU)
    assert torch.equal(before, torch.random.get_rng_state())


def test_missing_data_are_named_with_how_to_get_them(no_data):
    found = plan(RECIPES["sparta_t7_svhn_resnet18_sparta"](), CPU, measure=False)
    assert (found.data.images, found.steps) == (73_257, 90 * ((73_257 - 1000) // 128))
    (missing,) = found.missing
    assert missing.startswith("svhn: ")
    assert missing.count("from torchvision.datasets import SVHN") == 1
    assert f"missing    {missing}" in str(found)
    photos = plan(RECIPES["sat_t1_imagenet_resnet50_relu_smooth_bwd_for_both"](), CPU, measure=False)
    assert photos.data.pixels == 224
    assert "put image-net.org's images there" in photos.missing[0]
    larger = plan(RECIPES["sat_t3_imagenet_resnet50_380_silu"](), CPU, measure=False)
    assert (larger.data.images, larger.data.pixels) == (1_281_167, 380)
    assert "49: act1, layer1.0.act1, layer1.0.act2, …, layer4.2.act3" in str(photos)


def test_data_that_nobody_knows_cannot_be_planned(no_data):
    with pytest.raises(DataError, match=r"unheard\.npz is not there"):
        plan(replace(TINY, dataset="unheard"), CPU, measure=False)


def test_a_missing_activation_is_named_and_the_rest_planned_with_a_fresh_one(no_data):
    found = plan(RECIPES["sparta_t8_cifar10_resnet34_sparta_frozen_from_resnet18"](), CPU, measure=False)
    _, missing = found.missing
    assert missing.startswith("./model_cards/sparta_t8_cifar10_resnet18_sparta: ")
    assert found.parameters == Parameters(21_282_122, 811_528)
    assert found.trainable == 21_282_122


def test_a_host_that_cannot_see_the_images_is_refused(tiny_data):
    config = replace(TINY, host="vit_tiny_patch16_224", family="relu", arguments={})
    with pytest.raises(ConfigError, match=r"vit_tiny_patch16_224 fails on the images \(3, 32, 32\) of cifar10: "):
        plan(config, CPU)


def test_a_short_name_that_nobody_knows_is_refused(no_data):
    mistyped = replace(RECIPES["cpu_relu_res18_cifar"](), activation="sparta-res18-cifr")
    with pytest.raises(NameNotFoundError, match="is called 'sparta-res18-cifr'. Did you mean 'sparta-res18-cifar'?"):
        plan(mistyped, CPU, measure=False)


def test_a_frozen_activation_of_the_zoo_is_counted_and_not_trained(no_data):
    found = plan(RECIPES["cpu_frozen_sparta_res18_cifar_in_res34_cifar"](), CPU, measure=False)
    assert found.parameters == Parameters(21_282_122, 811_528)
    assert found.trainable == 21_282_122
    assert "sparta-res18-cifar, frozen, placement last: 811,528 parameters" in str(found)
