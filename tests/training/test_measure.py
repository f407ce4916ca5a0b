"""A transfer, from finished runs to the giver's card and the README's table; what is out of date is not shown."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import sparta_hub
from sparta_hub.artifacts import WEIGHTS, sha256_of
from training import measure as module
from training.card import BEGIN, END, rewrite
from training.entries import read_entry, write_entry
from training.errors import ConfigError
from training.measure import check_giver, measure
from training.publish import publish

PGD = "thesis-pgd-20 (steps 20, step size 2/255), Linf 8/255"


@pytest.fixture
def run(root, trained):
    """Makes a finished run of a config; its folder."""
    return lambda config: str(trained(root / config.name, config))


@pytest.fixture
def giver(root, run, tiny):
    """A published set."""
    run(tiny)
    return publish(root, root / "tiny", "giver", count=4, with_host=True, remark="r", comparison="c",
                   overhead="overhead.json")  # fmt: skip


@pytest.fixture
def place(tiny, giver):
    """What is trained alike at one place: another seed, so that it is not the place of the giver itself."""
    there = replace(tiny, seed=7)
    return {
        "frozen": replace(there, name="f", activation=str(giver), frozen=True, arguments={}),
        "weights": replace(there, name="w", activation=str(giver), frozen="weights", arguments={}),
        "tuned": replace(there, name="t", activation=str(giver), arguments={}),
        "joint": replace(there, name="j"),
        "relu": replace(there, name="r", family="relu", arguments={}),
    }


def rows(folder):
    return sparta_hub.transfers(folder)


def test_a_place_is_shown_with_all_that_was_trained_alike(root, run, giver, place, tiny):
    assert rows(giver) == ()
    assert "Not measured yet." in (giver / "README.md").read_text()
    for config in [*reversed(place.values()), replace(place["joint"], name="else", arguments={"hidden": 4})]:
        measure(root, run(config), count=4)
    found = rows(giver)
    assert [row.mode for row in found] == list(place)
    assert [row.recipe for row in found] == ["f", "w", "t", "j", "r"]
    assert {(row.source, row.host, row.dataset, row.seed, row.epochs) for row in found} == {
        ("giver", tiny.host, "cifar10", 7, 2.0)
    }
    for row in found:
        report = json.loads((root / f"training/records/evaluations/{row.recipe}-seed7.json").read_text())["summary"]
        assert list(row.accuracies) == ["clean", PGD]
        assert row.accuracies["clean"].correct == report["clean"]["correct"]
        assert row.accuracies[PGD].correct == report["attacks"][0]["correct"]
        assert [gain.attack for gain in row.gains] == ([] if row.mode == "relu" else ["clean", PGD])
    clean = {row.mode: row.accuracies["clean"].percent for row in found}
    assert found[0].gains[0].points == clean["frozen"] - clean["relu"]
    table = (root / "README.md").read_text().split(BEGIN)[1].split(END)[0].strip()
    assert len(table.splitlines()) == 2 + 5
    assert table in (giver / "README.md").read_text()
    assert f"| giver | {tiny.host} | cifar10 | 2 | ReLU | 7 | {clean['relu']:.1f} %" in table.replace("\\_", "_")
    text = (root / "README.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")


def test_more_attacks_are_added_and_a_second_time_nothing_is_lost(root, giver):
    entry = measure(root, "giver", count=4, attacks=["fgsm"])
    assert entry.evaluations == ("giver.json", "giver-2.json")
    assert entry == read_entry(root, "giver")
    shown = [row["attack"] for row in sparta_hub.info(giver).results["evaluation"]]
    assert shown == ["clean", PGD, "fgsm, Linf 8/255", "worst case of each image, Linf 8/255"]


def test_other_images_than_before_are_refused_before_they_are_measured(root, giver):
    """Else the entry would have evaluations that no card, no table and no other command can show."""
    with pytest.raises(ConfigError, match="giver was measured on 4 images, and this would be on 3; .*: --count 4."):
        measure(root, "giver", count=3)
    assert read_entry(root, "giver").evaluations == ("giver.json",)
    assert measure(root, "giver", count=4, attacks=["fgsm"]).evaluations == ("giver.json", "giver-2.json")


def test_other_images_than_those_of_a_network_trained_alike_are_refused_before_they_are_measured(
    root, run, giver, place
):
    """Else neither could be measured again, nor any card be written."""
    measure(root, run(place["relu"]), count=4)
    folder = run(place["joint"])
    with pytest.raises(ConfigError, match="r-seed7 was measured on 4 images, and this would be on 3; .*: --count 4."):
        measure(root, folder, count=3)
    assert measure(root, folder, count=4).evaluations == ("j-seed7.json",)


def test_a_run_done_again_takes_the_place_of_the_first(root, run, giver, place):
    measure(root, run(place["relu"]), count=4)
    first = json.loads((root / "r/training.json").read_text())
    twice = measure(root, str(root / "r"), count=4, attacks=["fgsm"])
    assert (twice.training, twice.evaluations) == ("r-seed7.json", ("r-seed7.json", "r-seed7-2.json"))
    shutil.rmtree(root / "r")
    record = Path(run(place["relu"])) / "training.json"
    found = json.loads(record.read_text())
    record.write_text(json.dumps(found | {"seconds": first["seconds"] + 1}))  # else it may be the first to the tenth
    again = measure(root, str(root / "r"), count=4)
    assert (again.training, again.evaluations) == ("r-seed7-2.json", ("r-seed7-3.json",))
    assert read_entry(root, "r-seed7") == again


def test_a_run_that_differs_stands_beside_the_first(root, run, giver, place):
    """Another length, other weights of the same run, another share of the images."""
    first = measure(root, run(place["relu"]), count=4)
    last = measure(root, str(root / "r"), count=4, which="last")
    shutil.rmtree(root / "r")
    shorter = measure(root, run(replace(place["relu"], epochs=1)), count=4)
    record = json.loads((root / "r/training.json").read_text())
    record["data"]["limit"] = 0.5
    (root / "r/training.json").write_text(json.dumps(record))
    fewer = measure(root, str(root / "r"), count=4)
    found = [first, last, shorter, fewer]
    assert [entry.name for entry in found] == ["r-seed7", "r-seed7-2", "r-seed7-3", "r-seed7-4"]
    assert [read_entry(root, entry.name) for entry in found] == found
    assert [entry.weights for entry in found] == ["best", "last", "best", "best"]


def test_the_command_says_under_which_name_it_recorded(root, run, giver, place, monkeypatch, capsys):
    measure(root, run(place["relu"]), count=4)
    shutil.rmtree(root / "r")
    folder = run(replace(place["relu"], epochs=1))
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr("sys.argv", ["training.measure", folder, "--count", "4", "--device", "cpu"])
    module.main()
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Recorded as r-seed7-2: training/records/evaluations/r-seed7-2.json"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sample", "8"], "training.measure: --sample goes with --fast or --compile."),
        (["--attack", "pdg"], "training.measure: There is no attack 'pdg'; expected one of fgsm, pgd,"),
        (["--attack", "fgsm", "--attack", "fgsm"], "training.measure: fgsm is named twice; expected each attack once."),
        (["--device", "fpga"], "training.measure: --device fpga: this machine has none; expected cpu,"),
        (["--out", "README.md/x.json"], "README.md cannot be read or written: "),
    ],
)
def test_a_mistake_is_answered_in_one_line(root, giver, monkeypatch, words, message):
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.chdir(root)
    monkeypatch.setattr("sys.argv", ["training.measure", "giver", "--count", "4", *words])
    with pytest.raises(SystemExit) as end:
        module.main()
    assert message in str(end.value)
    assert "\n" not in str(end.value)
    assert read_entry(root, "giver").evaluations == ("giver.json",)


@pytest.mark.parametrize("words", [["--count", "0"], ["--sample", "-1"], ["--count", "1e3"]])
def test_numbers_of_images_are_looked_at_first(monkeypatch, capsys, words):
    monkeypatch.setattr("sys.argv", ["training.measure", "giver", *words])
    with pytest.raises(SystemExit):
        module.main()
    assert f"argument {words[0]}: expected a whole number, 1 or more, and not {words[1]}." in capsys.readouterr().err


def test_transfers_of_other_weights_than_the_set_has_now_are_not_shown(root, run, giver, place):
    for mode in ("frozen", "relu"):
        measure(root, run(place[mode]), count=4)
    assert [row.mode for row in rows(giver)] == ["frozen", "relu"]
    entry = read_entry(root, "f-seed7")
    write_entry(root, replace(entry, giver_sha256="0" * 64))
    rewrite(root)
    assert rows(giver) == ()
    assert "Nothing was transferred yet." in (root / "README.md").read_text()


def test_only_what_was_trained_alike_is_compared(root, run, giver, place):
    """A ReLU network of other weights, or of a share of the images, is none to compare with."""
    measure(root, run(place["frozen"]), count=4)
    measure(root, run(place["relu"]), count=4, which="last")
    assert [(row.mode, row.gains) for row in rows(giver)] == [("frozen", ())]
    measure(root, str(root / "r"), count=4)
    assert [row.mode for row in rows(giver)] == ["frozen", "relu"]
    assert rows(giver)[0].gains


@pytest.mark.parametrize("mode", ["frozen", "weights"])
def test_a_frozen_set_that_moved_is_refused(root, run, giver, place, mode):
    folder = run(place[mode])
    weights = load_file(f"{folder}/best.safetensors")
    key = next(key for key in weights if key.endswith("conv6.weight"))
    save_file(weights | {key: weights[key] + 1}, f"{folder}/best.safetensors")
    with pytest.raises(
        ConfigError, match=r"\w was trained with .*giver frozen, and stage1.block\d.conv6.weight is not"
    ):
        measure(root, folder, count=4)
    assert not (root / "training/records/entries" / f"{place[mode].name}-seed7.json").exists()
    assert not (root / "training/records" / f"{place[mode].name}-seed7.json").exists()


def test_a_readme_without_a_place_for_the_table_is_an_error(root, giver):
    (root / "README.md").write_text("nothing")
    with pytest.raises(ConfigError, match="README.md has no lines <!-- transfers"):
        rewrite(root)


def test_an_unknown_name_lists_what_was_recorded(root, giver):
    with pytest.raises(ConfigError, match="Nothing was recorded of 'givr'; .* Recorded: giver."):
        measure(root, "givr", count=4)


@pytest.mark.parametrize("frozen", [True, "weights"])
def test_a_set_in_a_deeper_host_is_compared_site_by_site(tiny, frozen):
    """The last blocks of ResNet-34 are others than those of ResNet-18, and so are the keys of what stands there."""
    config = replace(tiny, name="deeper", host="resnet34_cifar", activation="sparta-res18-cifar", frozen=frozen)
    model = sparta_hub.load(config.activation, model=config.host, frozen=frozen)
    assert check_giver(config, model) == sha256_of(sparta_hub.info(config.activation).folder / WEIGHTS)
    state = model.state_dict()
    state["layer1.2.act2.activation.bn2.running_mean"] += 1
    if frozen == "weights":
        check_giver(config, model)
        state["layer1.2.act2.activation.bn2.weight"] += 1
    with pytest.raises(ConfigError, match="deeper was trained .* frozen, and stage1.block3.bn2.* is not as it is in"):
        check_giver(config, model)
