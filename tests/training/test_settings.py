"""Configurations as JSON and from the command line."""

import json
from dataclasses import replace

import pytest

from sparta_hub.threat import ThreatModel
from training.config import Schedule, TrainConfig
from training.errors import ConfigError
from training.schedules import factor
from training.settings import changed, differences, from_json, to_json, trained
from training.twins import Place

CONFIG = TrainConfig(
    "a", "resnet18_cifar", "sparta", {"hidden": 8}, activation="x", frozen="weights",
    threat=ThreatModel("l2", 0.5, targeted=True), schedule=Schedule("multistep", milestones=(1, 2.5)),
)  # fmt: skip


def test_json_both_ways():
    value = to_json(CONFIG)
    assert from_json(json.loads(json.dumps(value))) == CONFIG


def test_an_older_record_has_the_defaults_of_what_it_lacks():
    assert from_json({"name": "a", "host": "b", "epochs": 3}) == TrainConfig("a", "b", epochs=3)
    older = {key: value for key, value in to_json(CONFIG).items() if key != "image_size"}
    assert from_json(older) == CONFIG


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, "There is no field epoch; the fields are name, host, family"),
        ({"threat": {"epsilon": 1}}, r"There is no field threat.epsilon; the fields are norm, eps, targeted"),
        ({"epochs": "3"}, "epochs is '3'; expected a number"),
        ({"batch_size": 1.5}, "batch_size is 1.5; expected a whole number"),
        ({"frozen": "some"}, "frozen is 'some'; expected true or false or weights"),
        ({"threat": 3}, "threat is 3; expected an object"),
        ({"threat": {"norm": "l7"}}, "threat.norm is 'l7'; expected linf or l2"),
    ],
)
def test_a_record_with_other_fields_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        from_json({**to_json(CONFIG), **change})


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("epochs=10", {"epochs": 10.0}),
        ("epochs=1/2", {"epochs": 0.5}),
        ("batch_size=16", {"batch_size": 16}),
        ("nesterov=true", {"nesterov": True}),
        ("precision=bf16", {"precision": "bf16"}),
        ("frozen=True", {"frozen": True}),
        ("frozen=false", {"frozen": False}),
        ("image_size=299", {"image_size": 299}),
        ("threat.eps=4/255", {"threat": ThreatModel("l2", 4 / 255, targeted=True)}),
        ("schedule.kind=cyclic", {"schedule": replace(CONFIG.schedule, kind="cyclic")}),
        ("schedule.milestones=30,60", {"schedule": replace(CONFIG.schedule, milestones=(30.0, 60.0))}),
        ("method_arguments.steps=7", {"method_arguments": {"steps": 7}}),
        ("method_arguments.step_size=2/255", {"method_arguments": {"step_size": 2 / 255}}),
        ("method_arguments.random_start=false", {"method_arguments": {"random_start": False}}),
    ],
)
def test_a_field_is_set_with_its_own_type(setting, expected):
    new = changed(CONFIG, [setting])
    assert new == replace(CONFIG, **expected)
    assert to_json(new) == to_json(replace(CONFIG, **expected))  # 16 and 16.0 are equal, but not in JSON


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["arguments.name=text"], {"arguments": {"hidden": 8, "name": "text"}}),
        (["method=free"], {"method": "free", "method_arguments": {}}),
        (["method_arguments.replays=2", "method=free"], {"method": "free", "method_arguments": {"replays": 2}}),
        (["method=trades", "method_arguments.steps=5"], {"method": "trades", "method_arguments": {"steps": 5}}),
        (["method=pgd"], {}),
        (["method_arguments.steps=5"], {"method_arguments": {"steps": 5, "random_start": False}}),
        (["family=relu"], {"family": "relu", "arguments": {}}),
        (["family=swish_relu", "placement=all"], {"family": "swish_relu", "arguments": {}, "placement": "all"}),
    ],
)
def test_arguments_go_with_what_they_are_of(settings, expected):
    config = replace(
        CONFIG, activation="", frozen=False, method_arguments={"steps": 10, "random_start": False}
    )  # of pgd
    assert changed(config, settings) == replace(config, **expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["placement=all"], "--set placement has no effect beside activation x, which brings its own; leave it out."),
        (["family=relu"], "--set family has no effect beside activation x, "),
        (["arguments.hidden=4"], "--set arguments.hidden has no effect beside activation x, "),
        (["frozen=false", "activation=", "family=relu", "arguments.alpha=3"],
         "--set arguments.alpha has no effect beside family relu, which leaves the host as it is; leave it out."),
        (["frozen=false", "activation=", "placement=all", "family=relu"],
         "--set placement has no effect beside family relu, "),
        (["schedule.rise=0.5"], "--set schedule.rise has no effect beside schedule.kind multistep; leave it out."),
        (["schedule.kind=cyclic", "schedule.rise=0.5"], "--set schedule.rise has no effect beside .* cyclic"),
        (["schedule.milestones=30,60", "schedule.kind=one_cycle"],
         "--set schedule.milestones has no effect beside schedule.kind one_cycle"),
        (["schedule.kind=cosine", "schedule.gamma=1"], "--set schedule.gamma has no effect beside .* cosine"),
        (["schedule.milestones=", "schedule.kind=multistep"],
         "schedule.kind multistep wants epochs to step at, such as --set schedule.milestones=30,60."),
    ],
)  # fmt: skip
def test_what_would_have_no_effect_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        changed(CONFIG, settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["momentum=0.05", "schedule.momentum_dip=0.01"],
         {"momentum": 0.05, "schedule": Schedule("one_cycle_by_epoch", momentum_dip=0.01)}),
        (["frozen=false", "activation="], {"frozen": False, "activation": ""}),
        (["schedule.kind=cosine", "schedule.momentum_dip=0"],
         {"schedule": Schedule("cosine", momentum_dip=0.0)}),
    ],
)  # fmt: skip
def test_the_order_of_settings_decides_nothing(settings, expected):
    still = replace(CONFIG, nesterov=True)
    without = ["momentum=0", "nesterov=false"]
    assert changed(still, without) == changed(still, without[::-1]) == replace(still, momentum=0.0, nesterov=False)
    dips = replace(CONFIG, nesterov=True, schedule=Schedule("one_cycle_by_epoch", momentum_dip=0.1), epochs=5)
    assert changed(dips, settings) == changed(dips, settings[::-1]) == replace(dips, **expected)


@pytest.mark.parametrize(
    ("before", "settings", "after"),
    [
        ("crop_flip", ["dataset=gtsrb"], "crop"),
        ("crop_flip", ["dataset=mnist"], "crop"),
        ("crop", ["dataset=cifar100"], "crop_flip"),
        ("crop_flip", ["dataset=imagenet"], "resized_crop_flip"),
        ("crop_flip", ["augmentation=crop_flip", "dataset=svhn"], "crop_flip"),
        ("none", ["dataset=gtsrb"], "none"),
        ("resized_crop_flip", ["dataset=./photos"], "resized_crop_flip"),
        ("none", ["dataset=cifar10"], "none"),
        ("crop", ["dataset=gtsrb"], "crop"),
    ],
)
def test_another_data_set_comes_with_what_its_images_bear(before, settings, after):
    assert changed(replace(CONFIG, augmentation=before), settings).augmentation == after


def test_a_field_is_set_back_to_none():
    assert changed(replace(CONFIG, image_size=299), ["image_size=None"]) == CONFIG


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "--set epochs has no value; expected FIELD=VALUE"),
        ("epoch=1", "There is no field epoch; the fields are name, host, family, arguments"),
        ("threat.size=1", "There is no field threat.size; the fields are norm, eps, targeted"),
        ("epochs=many", "epochs is 'many'; expected a number, such as 0.1 or 8/255"),
        ("epochs=1/0", "epochs is '1/0'; expected a number"),
        ("batch_size=1.5", "batch_size is '1.5'; expected a whole number"),
        ("nesterov=maybe", "nesterov is 'maybe'; expected true or false"),
        ("schedule.kind=zigzag", "schedule.kind is 'zigzag'; expected one_cycle or one_cycle_by_epoch or cyclic"),
        ("schedule.milestones=a,b", "expected numbers with commas between them"),
        ("threat=8/255", r"threat has parts; set threat.norm=... or threat.eps=... or threat.targeted=..."),
        ("method_arguments=7", r"method_arguments has parts; set method_arguments.NAME=..."),
        ("method_arguments.a.b=7", "method_arguments.a.b goes too deep"),
        ("lr.max=1", "lr.max: lr has no parts; expected --set lr=VALUE"),
        ("threat.eps=-1", "eps is -1.0; expected a finite number >= 0"),
        ("epochs=0", "epochs is 0.0; expected a finite number above 0"),
        ("epochs=inf", "epochs is inf; expected a finite number above 0"),
        ("lr=-1", "lr is -1.0; expected a finite number, 0 or more"),
        ("name=../../x", "name is '../../x'; expected letters, digits, _ - and ., as its files are called so"),
        ("name=", "name is ''; expected letters, digits"),
        ("lr=nan", "lr is nan; expected a finite number, 0 or more"),
        ("momentum=-1", "momentum is -1.0; expected 0 or more, and below 1"),
        ("weight_decay=-1", "weight_decay is -1.0; expected a finite number, 0 or more"),
        ("epsilon_warmup=inf", "epsilon_warmup is inf; expected a finite number of epochs, 0 or more"),
        ("awp=inf", "awp is inf; expected a finite number, 0 or more"),
        ("schedule.warmup=inf", "schedule.warmup is inf; expected a finite number of epochs, 0 or more"),
        ("schedule.warmup=-1", "schedule.warmup is -1.0; expected a finite number of epochs, 0 or more"),
        ("schedule.warmup=nan", "schedule.warmup is nan; expected a finite number of epochs, 0 or more"),
        ("schedule.gamma=-0.1", "schedule.gamma is -0.1; expected a finite number, 0 or more"),
        ("schedule.rise=nan", "schedule.rise is nan; expected a finite share of the run, 0 or more"),
        ("schedule.milestones=30,nan", r"schedule.milestones is \(30.0, nan\); expected finite numbers of epochs"),
        (
            "schedule.momentum_dip=0.1",
            "momentum_dip is 0.1 beside schedule.kind multistep and .*; expected 0, or one_cycle_by",
        ),
        ("batch_size=0", "batch_size is 0; expected 1 or more"),
        ("validation=-1", "validation is -1; expected 0 or more"),
        ("image_size=0", "image_size is 0; expected 1 pixel or more, or none"),
        ("image_size=large", "image_size is 'large'; expected a whole number or none"),
        ("label_smoothing=1", "label_smoothing is 1.0; expected 0 or more, and below 1"),
        ("activation=", "frozen is 'weights'; expected False without a pretrained activation to freeze"),
    ],
)
def test_a_wrong_setting_is_answered(setting, message):
    with pytest.raises(ConfigError, match=message):
        changed(CONFIG, [setting])


def test_momentum_is_not_below_its_dip():
    with pytest.raises(ConfigError, match="momentum is 0.05; expected no less than schedule.momentum_dip"):
        changed(CONFIG, ["schedule.kind=one_cycle_by_epoch", "schedule.momentum_dip=0.1", "momentum=0.05"])


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 0), (0.5, 0), (3, 2)])
def test_a_cycle_by_epoch_wants_more_than_one(epochs, warmup):
    cycle = [f"epochs={epochs}", f"schedule.warmup={warmup}", "schedule.kind=one_cycle_by_epoch"]
    with pytest.raises(ConfigError) as caught:
        changed(CONFIG, cycle)
    assert str(caught.value) == (
        f"schedule.kind one_cycle_by_epoch with epochs {epochs} and schedule.warmup {warmup} would train at lr / "
        "250,000 and less; expected more than one epoch after the warm-up, or --set schedule.momentum_dip=0 --set "
        "schedule.kind=one_cycle."
    )
    schedule, steps = Schedule("one_cycle_by_epoch", warmup=warmup), int(epochs * 10)
    assert max(factor(schedule, step, steps, 10) for step in range(steps)) == 1 / 250_000
    typed = changed(CONFIG, [*cycle, "schedule.momentum_dip=0", "schedule.kind=one_cycle"])  # what the message says
    assert typed.schedule.kind == "one_cycle"
    assert changed(CONFIG, [*cycle, f"epochs={warmup + 1.5}"]).epochs == warmup + 1.5  # an epoch that is begun counts
    assert changed(CONFIG, [*cycle, "schedule.rise=1"]).schedule.rise == 1  # at its top from the first epoch on


def test_nesterov_wants_momentum():
    with pytest.raises(ConfigError, match="nesterov is True; expected False without momentum"):
        changed(CONFIG, ["momentum=0", "nesterov=true"])


def test_differences_are_named_with_their_path():
    other = to_json(replace(CONFIG, epochs=7, threat=ThreatModel("l2", 0.25, targeted=True)))
    assert differences(to_json(CONFIG), other) == [
        "threat.eps is 0.5 there and 0.25 here",
        "epochs is 30 there and 7 here",
    ]


def test_records_of_the_first_engine_say_what_it_did():
    config = TrainConfig("a", "b")
    old, newer = (
        {key: value for key, value in to_json(config).items() if key not in lacking}
        for lacking in (("validation", "nesterov"), ("nesterov",))
    )
    assert trained({"config": old}) == (replace(config, validation=0, nesterov=True), 1.0)
    assert trained({"config": newer, "data": {"limit": 0.5}}) == (config, 0.5)
    last, averaged, best = (Place.of(config, 1.0, weights) for weights in ("last", "averaged", "best"))
    assert last == averaged != best
