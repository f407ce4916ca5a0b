"""The demo, at a size that shows that it works and not how well."""

import json

import pytest
import torch
from click import Choice
from click.testing import CliRunner
from PIL import Image

import sparta_hub
from sparta_hub import demo
from sparta_hub.cli import main
from sparta_hub.data import load_bundled
from sparta_hub.errors import SpartaError


@pytest.fixture(scope="module")
def result():
    return demo.run_demo(seed=1, steps=3, batch_size=16, test_count=20, attack_steps=2, progress=False)


def test_twins_share_everything_but_the_activation(result):
    (sparta,), relu = result.sets, result.relu
    assert (sparta.extra_parameters, relu.extra_parameters) == (811_528, 0)
    assert 0 <= sparta.robust <= sparta.clean <= 100
    assert 0 <= relu.robust <= relu.clean <= 100


def test_the_activation_did_not_move(result):
    from sparta_hub.surgery import state_of

    fresh = state_of(sparta_hub.load("sparta-res18-cifar", model=demo.HOST, num_classes=10))
    trained = state_of(result.sets[0].model)
    assert all(torch.equal(fresh[key], trained[key]) for key in fresh)


def test_the_seed_decides(result):
    again = demo.run_demo(seed=1, steps=3, batch_size=16, test_count=20, attack_steps=2, progress=False)
    for one, two in ((result.sets[0], again.sets[0]), (result.relu, again.relu)):
        state = two.model.state_dict()
        assert all(torch.equal(tensor, state[key]) for key, tensor in one.model.state_dict().items())
        assert (one.clean, one.robust) == (two.clean, two.robust)
    other = demo.run_demo(seed=2, steps=1, batch_size=16, test_count=1, attack_steps=1, progress=False)
    key = "fc.weight"
    assert not torch.equal(other.relu.model.state_dict()[key], result.relu.model.state_dict()[key])


def test_the_table_reports_whoever_wins(result):
    from dataclasses import replace

    text = demo.table(result)
    assert "SPARTA (frozen)" in text
    assert "811,528" in text
    relu, (sparta,) = replace(result.relu, robust=12.5), result.sets
    last = [
        demo.table(replace(result, sets=(replace(sparta, robust=robust),), relu=relu))
        .splitlines()[-1]
        .split(" under")[0]
        for robust in (10.0, 13.0, 12.5)
    ]
    assert last == [
        "ReLU is 2.5 points ahead of SPARTA (frozen)",
        "SPARTA (frozen) is 0.5 points ahead of ReLU",
        "SPARTA (frozen) and ReLU are level",
    ]


def test_every_mode_has_a_twin_with_what_it_says():
    from sparta_hub.surgery import spec_of, state_of, status

    found = demo.run_demo(
        modes=[*demo.MODES], seed=1, steps=1, batch_size=4, test_count=4, attack_steps=1, progress=False
    )
    assert [twin.name for twin in found.sets] == [
        "SPARTA (frozen)", "SPARTA (weights)", "SPARTA (tuned)", "SPARTA (joint)",
    ]  # fmt: skip
    assert [status(twin.model)[0].frozen for twin in found.sets] == [True, "weights", False, False]
    fresh = sparta_hub.load("sparta-res18-cifar", model=demo.HOST, num_classes=10)
    states = [
        state_of(model)["stage1.block1.conv1_3.weight"] for model in (fresh, *(twin.model for twin in found.sets))
    ]
    moved = [float((state - states[0]).abs().max()) for state in states[1:]]
    assert moved[:2] == [0, 0]
    assert 0 < moved[2] < 0.1 < moved[3]  # a step away, and from anywhere
    assert spec_of(found.sets[3].model).origin is None
    assert len(demo.table(found).splitlines()) == 1 + 5 + 1


@pytest.mark.parametrize(("modes", "seen"), [(["frozen", "froze"], "frozen, froze"), ([], r"\(none\)")])
def test_unknown_modes_are_refused(modes, seen):
    with pytest.raises(SpartaError, match=f"The modes are {seen}; expected one or more of frozen, weights, "):
        demo.run_demo(modes=modes)


def test_the_command_knows_all_modes():
    (option,) = (option for option in main.commands["demo"].params if option.name == "modes")
    assert isinstance(option.type, Choice)
    assert [*option.type.choices] == [*demo.MODES]


def test_the_label_is_that_of_the_set(tmp_path):
    other = demo.run_demo("relu-res18-cifar", steps=1, batch_size=4, test_count=4, attack_steps=1, progress=False)
    assert other.sets[0].name == "relu (frozen)"
    assert "SPARTA" not in demo.table(other)


def test_a_file_in_the_way_is_found_before_the_work(tmp_path):
    (tmp_path / "out").write_text("")
    done = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "out is a file; expected a folder, or the name of a new one." in done.stderr
    assert "train" not in done.stderr


def test_the_figure_is_written_and_shows_more_than_one_colour(result, tmp_path):
    with Image.open(demo.write_demo(result, tmp_path / "new")) as image:
        assert image.width > 800
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 100


def test_maps_before_a_relu_that_works_in_place_are_its_inputs(result):
    before, after = demo._maps(result.relu.model, "layer1.0.act2", result.images[:1])
    assert before.min() < 0
    assert torch.equal(before.relu(), after)


def test_bundled_images_are_real_and_balanced():
    train, test = load_bundled("train"), load_bundled("test")
    assert train.x.shape == (2000, 3, 32, 32)
    assert train.y.bincount().tolist() == [200] * 10
    assert test.y.bincount().tolist() == [50] * 10
    assert train.x.float().std() > 50
    assert train.num_classes == 10


def test_sizes_out_of_range_are_refused():
    with pytest.raises(SpartaError, match="1 to 500 test images"):
        demo.run_demo(test_count=501)


def test_the_command_prints_json(tmp_path):
    done = CliRunner().invoke(main, ["demo", "--steps", "1", "--images", "4", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout[done.stdout.index("{") :])
    assert [twin["name"] for twin in data["twins"]] == ["SPARTA (frozen)", "ReLU"]
    assert (tmp_path / "feature-maps.png").is_file()
