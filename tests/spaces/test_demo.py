"""A scene by value: the attack is the library's, the maps are what the modules see, the numbers are theirs."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from demo import CHANNELS, Settings, attack, make_scene, numbers, scene_of, top
from space_cases import examples

from sparta_hub.attacks import pgd
from sparta_hub.errors import SpartaError
from sparta_hub.surgery import injected
from sparta_hub.threat import ThreatModel

QUICK = Settings(steps=2)


@pytest.fixture(scope="module")
def x():
    return examples()[1]


@pytest.fixture(scope="module")
def scene(networks, x):
    return make_scene(networks, x, QUICK, truth=1, title="automobile")


def test_the_tiny_pair_knows_its_examples(networks):
    with torch.no_grad():
        for network in networks:
            assert int((network.model(examples()).argmax(1) == torch.arange(10)).sum()) >= 8


def test_the_attack_is_the_librarys(networks, x):
    model = networks[0].model
    done = attack(networks[0], x, QUICK, 1)
    assert torch.equal(done.x, pgd(model, x[None], torch.tensor([1]), ThreatModel("linf", 8 / 255), steps=2)[0])
    with torch.no_grad():
        assert done.losses[-1] == pytest.approx(float(F.cross_entropy(model(done.x[None]), torch.tensor([1]))))
    assert len(done.losses) == 3
    assert done.losses[0] < done.losses[-1]
    assert float((done.x - x).abs().max()) <= 8 / 255 + 1e-6


def test_without_a_class_the_attack_leads_away_from_the_prediction(networks, x):
    with torch.no_grad():
        seen = int(networks[1].model(x[None]).argmax())
    assert attack(networks[1], x, QUICK, None).aim == seen


def test_a_target_is_led_towards(networks, x):
    done = attack(networks[0], x, Settings(steps=5, target=3), 1)
    assert done.aim == 3
    assert done.losses[-1] < done.losses[0]


def test_no_radius_changes_nothing(networks, x):
    scene = make_scene(networks, x, Settings(eps=0), truth=1)
    assert all(torch.equal(view.attacked.x, x) for view in scene.views)
    assert all(site.denoising.before_distance == 0 for view in scene.views for site in view.sites.values())


def test_each_network_has_its_own_attack(scene):
    one, two = (view.attacked.x for view in scene.views)
    assert not torch.equal(one, two)


def test_maps_are_what_the_activation_gets_and_gives(networks, scene, x):
    view, seen = scene.views[0], {}
    first = next(iter(injected(networks[0].model).values()))
    hook = first.register_forward_hook(lambda m, i, o: seen.update({"G1.B1": (i[0][0].clone(), o[0].clone())}))
    with torch.no_grad():
        networks[0].model(x[None])
    hook.remove()
    site = view.sites["G1.B1"]
    before, after = seen["G1.B1"]
    order = after.mean((1, 2)).argsort(descending=True)[:CHANNELS].tolist()
    assert list(site.channels) == order
    assert torch.allclose(site.maps[0, 0], before[order], atol=1e-5)
    assert torch.allclose(site.maps[1, 0], after[order], atol=1e-5)


def test_the_gate_is_what_the_rectified_maps_are_multiplied_by(scene):
    site = scene.views[0].sites["G1.B1"]
    for number, gate in enumerate(site.gates):
        weights = torch.sigmoid(gate.spatial * gate.channel[list(site.channels), None, None])
        assert torch.allclose(site.maps[0, number].relu() * weights, site.maps[1, number], atol=1e-5)
    assert all(site.gates is None for site in scene.views[1].sites.values())


def test_relu_gives_the_rectified_maps(scene):
    for site in scene.views[1].sites.values():
        assert torch.allclose(site.maps[0].relu(), site.maps[1], atol=1e-6)


def test_top_is_sorted_and_named(scene):
    rows = top(scene.views[0], attacked=False)
    assert len(rows) == 3
    assert rows[0][0] == "automobile"
    assert rows[0][1] >= rows[1][1] >= rows[2][1]


def test_success_is_said_of_the_aim(networks, x):
    wrong = make_scene(networks[:1], x, Settings(eps=0), truth=5).views[0]
    right = make_scene(networks[:1], x, Settings(eps=0), truth=1).views[0]
    assert (wrong.success, right.success) == (True, False)


def test_stored_attacks_give_the_same_scene(networks, scene, x):
    again = scene_of(networks, x, QUICK, [view.attacked for view in scene.views], truth=1, title="automobile")
    assert numbers(again) == numbers(scene)


def test_numbers_are_json_and_hold_the_measures(scene):
    told = json.loads(json.dumps(numbers(scene), allow_nan=False))
    assert told["class"] == "automobile"
    assert told["attack"]["eps_255"] == 8
    assert [n["activation"] for n in told["networks"]] == ["SPARTA", "ReLU"]
    assert told["networks"][0]["largest_change_255"] == pytest.approx(8, abs=0.01)
    assert [s["site"] for s in told["networks"][0]["sites"]] == ["G1.B1", "G2.B1", "G3.B1", "G4.B1"]


def test_what_cannot_be_measured_is_null_in_json(scene):
    view = scene.views[0]
    site = view.sites["G1.B1"]
    dead = replace(site, denoising=replace(site.denoising, after_distance=float("nan")))
    told = numbers(replace(scene, views=(replace(view, sites={"G1.B1": dead}),)))
    assert '"after_distance": null' in json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": -1}, r"ε is -1/255; expected 0 to 16\."),
        ({"eps": 17}, r"ε is 17/255; expected 0 to 16\."),
        ({"eps": float("nan")}, r"ε is nan/255; expected 0 to 16\."),
        ({"steps": 0}, "0 steps; expected a whole number from 1 to 50"),
        ({"steps": 51}, "51 steps; expected a whole number from 1 to 50"),
        ({"steps": 2.5}, "2.5 steps; expected a whole number from 1 to 50"),
        ({"steps": 2.0}, "2.0 steps; expected a whole number from 1 to 50"),  # which pgd refuses
    ],
)
def test_settings_out_of_range(arguments, message):
    with pytest.raises(SpartaError, match=message):
        Settings(**arguments)


def test_a_target_that_is_no_class_or_the_images_own(networks, x):
    with pytest.raises(SpartaError, match="The target is class 10; sparta-tiny has 10"):
        attack(networks[0], x, Settings(target=10), 1)
    with pytest.raises(SpartaError, match="of class automobile already; choose another target"):
        attack(networks[0], x, Settings(target=1), 1)


def test_the_models_are_left_as_they_were(networks, scene):
    for network in networks:
        assert not network.model.training
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.model.modules())


def test_settings_write_their_threat():
    assert str(Settings(4, target=2).threat) == "Linf 4/255 targeted"
    assert replace(Settings(), target=None).threat.targeted is False
