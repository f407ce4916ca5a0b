"""Transfers in results.json: read back as written, refused if they are something else, shown as text."""

import json
from dataclasses import replace

import pytest

from sparta_hub.cards import transfer_table
from sparta_hub.errors import ArtifactError
from sparta_hub.evaluation import Accuracy, Gain
from sparta_hub.transfer import Transfer, over_seeds, read_transfers

CLEAN, PGD = Accuracy(54.0, 50.9, 57.1, 540, 1000), Accuracy(37.0, 34.1, 40.0, 370, 1000)
FROZEN = Transfer(
    "sparta-a", "resnet34_cifar", "cifar10", "frozen", 0, "recipe", 4.0, "Linf 8/255", {"clean": CLEAN, "pgd": PGD},
    (Gain("clean", 1.0, -0.5, 2.5, 30, 20, 1000), Gain("pgd", -1.5, -3.0, 0.0, 10, 25, 1000)),
)  # fmt: skip
RELU = Transfer("sparta-a", "resnet34_cifar", "cifar10", "relu", 0, "r", 4.0, "Linf 8/255", {"clean": CLEAN})


def rows():
    return json.loads(json.dumps([FROZEN.to_json(), RELU.to_json()]))


def test_read_back_as_written():
    assert read_transfers(rows()) == (FROZEN, RELU)
    assert read_transfers(()) == ()
    copied = replace(FROZEN, ran_on="3 BatchNorms folded", trained="0a")
    assert read_transfers([copied.to_json()]) == (copied,)
    older = {key: value for key, value in FROZEN.to_json().items() if key not in ("ran_on", "trained")}
    assert read_transfers([older]) == (FROZEN,)


def test_the_table():
    assert transfer_table([FROZEN, RELU]).splitlines() == [
        "| set | host | data | epochs | activation | seed | clean | gain | pgd | gain |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| sparta-a | resnet34_cifar | cifar10 | 4 | frozen | 0 | 54.0 % [50.9, 57.1] | +1.0 [-0.5, +2.5] | 37.0 % [34.1, 40.0] | -1.5 [-3.0, +0.0] |",  # noqa: E501
        "| sparta-a | resnet34_cifar | cifar10 | 4 | ReLU | 0 | 54.0 % [50.9, 57.1] | – | not measured | – |",
    ]
    assert transfer_table([]) == ""


def test_networks_that_differ_in_their_seed_alone_have_a_mean_below_the_table():
    again = replace(FROZEN, seed=1, gains=(replace(FROZEN.gains[0], points=2.0), replace(FROZEN.gains[1], points=-3.5)))
    others = [
        replace(again, mode="tuned"),
        replace(again, epochs=9.0),
        replace(again, recipe="other"),
        replace(again, trained="so"),
        RELU,
    ]
    (found,) = over_seeds([FROZEN, again, *others, replace(RELU, seed=1)])
    assert (found[0], [(gain.attack, gain.points) for gain in found[1]]) == (FROZEN, [("clean", 1.5), ("pgd", -2.5)])
    table, head, lines = transfer_table([FROZEN, *others, again]).split("\n\n")
    assert len(table.splitlines()) == 2 + 7
    assert head.startswith("Means of the gains over ReLU of networks that differ in their seed alone")
    assert lines.startswith("- sparta-a, frozen, in resnet34_cifar on cifar10, 4 epochs, seeds 0, 1: clean +1.5 points")
    assert "; pgd -2.5 points [" in lines
    assert "in the mean of -1.5, -3.5." in lines


def test_worst_cases_of_different_attacks_have_no_mean():
    worst = "worst case of each image, Linf 8/255"
    first, second = (
        replace(
            FROZEN, seed=seed, accuracies={**FROZEN.accuracies, worst: PGD},
            gains=(*FROZEN.gains, Gain(worst, -1.0, -2.0, 0.0, 10, 20, 1000)),
        )
        for seed in (0, 1)
    )  # fmt: skip
    ((_, found),) = over_seeds([first, second])
    assert [gain.attack for gain in found] == ["clean", "pgd", worst]
    more = replace(second, accuracies={**second.accuracies, "apgd": PGD})
    ((_, found),) = over_seeds([first, more])
    assert [gain.attack for gain in found] == ["clean", "pgd"]


def test_text_of_a_stranger_stays_in_its_cell():
    evil = rows()
    evil[0]["host"] = "a | b\n<script> [x](http://e)"
    line = transfer_table(read_transfers(evil)).splitlines()[2]
    assert line.replace("\\|", "").count("|") == 11
    assert "<script" not in line
    assert "](" not in line.replace("\\](", "")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("mode",), "fast", "mode is 'fast'; expected one of frozen, weights, tuned, joint, relu"),
        (("mode",), ["frozen"], "expected rows as sparta-hub writes them"),
        (("seed",), "0", "'0' is no int"),
        (("seed",), True, "True is no int"),
        (("host",), None, "None is no str"),
        (("recipe",), 5, "5 is no str"),
        (("threat",), 5, "5 is no str"),
        (("accuracies", 0, "attack"), 5, "5 is no str"),
        (("accuracies", 0, "correct"), 1.5, "1.5 is no int"),
        (("accuracies", 0, "images"), "9", "'9' is no int"),
        (("epochs",), "many", "could not convert"),
        (("accuracies",), 5, "not iterable"),
        (("accuracies", 0, "percent"), None, "TypeError"),
        (("gains", 0, "images"), 1.5, "1.5 is no int"),
    ],
)
def test_something_else_is_refused(path, value, message):
    changed = rows()
    inner = changed[0]
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(ArtifactError, match=message):
        read_transfers(changed)
    del inner[path[-1]]
    with pytest.raises(ArtifactError, match=f"KeyError: '{path[-1]}'"):
        read_transfers(changed)


def test_what_attacks_ran_on_is_text():
    with pytest.raises(ArtifactError, match="5 is no str"):
        read_transfers([rows()[0] | {"ran_on": 5}])


@pytest.mark.parametrize("value", [None, 3, "text", [1], {"a": 1}])
def test_no_list_of_rows(value):
    with pytest.raises(ArtifactError, match="transfers in results.json cannot be read"):
        read_transfers(value)
