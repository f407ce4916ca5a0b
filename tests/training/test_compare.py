"""Recipes compared over seeds: trained, measured, gone on with, added to; and what cannot be compared."""

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from statistics import fmean, stdev

import numpy as np
import pytest

from sparta_hub.evaluation._seeds import T95
from tests.conftest import HOST
from tests.training.conftest import noise
from training import compare as module
from training.card import BEGIN, COMPARED, END, rewrite
from training.checkpoints import alone_in
from training.compare import Measuring, compare
from training.comparison import COMPARISONS, Comparison, read_comparison, table
from training.config import TrainConfig
from training.errors import ConfigError
from training.recipes import RECIPES
from training.records import RECORD
from training.stopping import Stop

MEASURING = Measuring(count=20)


def recipe(name, **changes):
    """A run of five steps."""
    config = TrainConfig(name, HOST, name, method="n_fgsm", epochs=1, batch_size=8, validation=0, ema_decay=0.5)
    return replace(config, **changes)


CONFIGS = [recipe(name, seed=seed) for seed in (0, 1, 2) for name in ("relu", "silu")]


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """A folder with a data set that is found by name."""
    folder, images = tmp_path_factory.mktemp("arrays"), noise()
    x = images.x.permute(0, 2, 3, 1).numpy()
    np.savez(folder / "cifar10.npz", x_train=x, y_train=images.y, x_test=x, y_test=images.y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARTA_DATA", str(folder))
        yield folder


@pytest.fixture(scope="module")
def runs(arrays):
    """Folder of two recipes over three seeds."""
    _, lacking = compare(CONFIGS, arrays / "runs", measuring=MEASURING)
    assert lacking == {}
    return arrays / "runs"


@pytest.fixture
def members(runs):
    """The networks in it."""
    return compare(CONFIGS, runs, measuring=MEASURING)[0]


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["training.compare", *map(str, words)])
    module.main()


def test_every_seed_is_compared_with_the_first_recipe_and_the_means_are_students(members):
    comparison = Comparison.of(members)
    assert comparison.baseline == "relu"
    assert {name: [*seeds] for name, seeds in comparison.members.items()} == {"relu": [0, 1, 2], "silu": [0, 1, 2]}
    assert comparison.attacks == ["clean", "thesis-pgd-20 (steps 20, step size 2/255), Linf 8/255"]
    for i, gain in enumerate(comparison.means("silu")):
        relu, own = (
            [m.report.robust(0).percent if i else m.report.clean.percent for m in comparison.members[name].values()]
            for name in ("relu", "silu")
        )
        each = [a - b for a, b in zip(own, relu, strict=True)]
        assert gain.attack == comparison.attacks[i]
        assert gain.each == pytest.approx(each)
        assert gain.points == pytest.approx(fmean(each), abs=0.005)
        assert gain.high - gain.points == pytest.approx(T95[1] * stdev(each) / 3**0.5, abs=0.02)
        assert comparison.accuracies("silu")[i] == pytest.approx(fmean(own))
        assert f"  silu  {fmean(own):5.1f} %, 3 seeds  {gain}" in table(comparison).splitlines()
        assert f"  relu  {fmean(relu):5.1f} %, 3 seeds" in table(comparison).splitlines()
    assert any(len({*gain.each}) > 1 for gain in comparison.means("silu"))  # else the above says nothing
    assert len(table(comparison).splitlines()) == 6  # trained alike, so that nothing is said below


def test_what_is_there_is_not_done_again(runs, members, monkeypatch):
    monkeypatch.setattr(module, "train", None)
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/*")}
    again, lacking = compare(CONFIGS, runs, measuring=MEASURING)
    assert [one.to_json() for one in again] == [one.to_json() for one in members]
    assert lacking == {}
    assert {path: path.stat().st_mtime_ns for path in runs.glob("*/*")} == before


def test_a_run_that_another_process_is_at_is_left_to_it(arrays, monkeypatch):
    monkeypatch.setattr("training.checkpoints.PATIENCE", 0.0)
    taken = arrays / "shared" / CONFIGS[1].run_name
    with alone_in(taken):
        found, lacking = compare(CONFIGS[:3], arrays / "shared", measuring=MEASURING)
    assert [(one.config.name, one.config.seed) for one in found] == [("relu", 0), ("relu", 1)]
    assert lacking == {"silu-seed0": f"Another run is in {taken}. Wait for its end, or give another --out."}


def test_the_wait_for_others_comes_once_at_the_end(arrays, monkeypatch):
    monkeypatch.setattr("training.checkpoints.PATIENCE", 2.0)
    out, order = arrays / "shared2", []
    configs = [recipe("elu", seed=seed) for seed in range(3)] + [recipe("softplus")]
    with ExitStack() as other:
        for config in configs[:3]:
            other.enter_context(alone_in(out / config.run_name))

        def tell(line):
            order.append(line)
            other.close()  # when work begins, the others end

        began = time.monotonic()
        compare(configs, out, measuring=MEASURING, stop=Stop(deadline=0.0), tell=tell)
        assert time.monotonic() - began < 2
    assert order == ["softplus-seed0 (4 of 4)"]


def test_what_another_process_has_finished_by_the_end_is_there(arrays, monkeypatch):
    monkeypatch.setattr("training.checkpoints.PATIENCE", 0.0)
    configs, out = [recipe("gelu"), recipe("celu")], arrays / "two"
    with ExitStack() as other:
        other.enter_context(alone_in(out / configs[0].run_name))

        def tell(line):
            if line.startswith(configs[1].run_name):
                other.close()

        found, lacking = compare(configs, out, measuring=MEASURING, tell=tell)
    assert lacking == {}
    assert {one.config.name for one in found} == {"gelu", "celu"}


def test_out_of_time_it_says_what_is_lacking_and_goes_on_later(arrays):
    found, lacking = compare(CONFIGS[:2], arrays / "late", measuring=MEASURING, stop=Stop(deadline=0.0))
    assert found == []
    assert lacking == {config.run_name: "the time budget is used up" for config in CONFIGS[:2]}
    found, _ = compare(CONFIGS[:2], arrays / "late", measuring=MEASURING)
    assert len(found) == 2


def test_one_that_diverged_is_said_and_the_others_go_on(arrays, members):
    found, lacking = compare([recipe("silu", lr=1e30), CONFIGS[0]], arrays / "wild", measuring=MEASURING)
    assert [one.config.name for one in found] == ["relu"]
    assert "training has diverged" in lacking["silu-seed0"]
    comparison = Comparison.of(found, lacking)
    assert table(comparison).splitlines()[-1] == "Not there: silu-seed0."
    assert read_comparison(comparison.to_json(), "file").lacking == ("silu-seed0",)
    assert Comparison.of([*found, *members], comparison.lacking).lacking == ()  # it came after all


def test_a_comparison_is_read_back_and_added_to(members):
    written = json.loads(json.dumps(Comparison.of(members[:4]).to_json()))
    assert written["means"]["silu"][0]["seeds"] == [0, 1]
    assert not {"losses", "validations", "launches"} & written["members"][0]["training"].keys()
    assert {"config", "data", "seconds", "hardware", "commit"} <= written["members"][0]["training"].keys()
    there = [member for seeds in read_comparison(written, "file").members.values() for member in seeds.values()]
    assert Comparison.of([*there, *members[4:]]).means("silu") == Comparison.of(members).means("silu")
    with pytest.raises(ConfigError, match="file is no comparison: KeyError"):
        read_comparison({}, "file")
    with pytest.raises(ConfigError, match="file is no comparison: TypeError"):
        read_comparison([], "file")  # pyright: ignore[reportArgumentType]


def test_networks_that_cannot_stand_side_by_side_are_refused(arrays, runs, members):
    found, _ = compare([replace(CONFIGS[3], lr=0.05)], arrays / "other", measuring=MEASURING)
    with pytest.raises(ConfigError, match=r"Two networks of silu differ in more than their seed: lr is 0.1 there and"):
        Comparison.of([*members[:2], *found])
    found, _ = compare(CONFIGS[2:3], runs, measuring=Measuring(count=10))
    with pytest.raises(ConfigError, match="with images 10 and relu-seed0 with 20; expected the same evaluation"):
        Comparison.of([*members[:2], *found])


def test_a_folder_with_another_run_of_that_name_is_refused_before_anything_is_trained(arrays, runs):
    asked = [recipe("gelu"), replace(CONFIGS[0], epochs=3.0)]
    with pytest.raises(ConfigError, match=r"relu-seed0 holds another run: epochs is 1 there and 3.0 here. Give anothe"):
        compare(asked, runs, measuring=MEASURING)
    with pytest.raises(ConfigError, match=r"relu-seed0 holds another run: limit is 1.0 there and 0.5 here"):
        compare(CONFIGS[:1], runs, limit=0.5, measuring=MEASURING)
    assert not (runs / "gelu-seed0").exists()


def test_every_network_is_told_before_the_work_on_it(runs):
    told = []
    compare(CONFIGS[:3], runs, measuring=MEASURING, tell=told.append)
    assert told == ["relu-seed0 (1 of 3)", "silu-seed0 (2 of 3)", "relu-seed1 (3 of 3)"]


def test_what_it_will_take_is_said_without_training(root, monkeypatch, capsys):
    names = ["small_relu_res18w16_cifar", "small_silu_res18w16_cifar"]
    (root / "r" / f"{names[0]}-seed1").mkdir(parents=True)
    (root / "r" / f"{names[0]}-seed1" / RECORD).write_text("{}")
    monkeypatch.setattr(module, "slow_precision", lambda *_: "bf16 is emulated here.")
    run(monkeypatch, *names, "--seeds", 0, 1, "--out", root / "r", "--set", "batch_size=8", "--dry-run")
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert said.err.count("training.compare: bf16 is emulated here.\n") == 1
    assert [line.split()[0] for line in lines[:2]] == names
    assert lines[0].endswith(" a seed")
    assert lines[2].startswith("3 of 4 runs are not there yet: ")
    assert [path.name for path in (root / "r").iterdir()] == [f"{names[0]}-seed1"]


def test_what_differs_besides_the_activation_is_said(arrays, members):
    longer = recipe("gelu", epochs=2.0)
    found, _ = compare([longer], arrays / "longer", measuring=MEASURING)
    comparison = Comparison.of([*members, *found])
    assert comparison.unlike("silu") == []
    lines = table(comparison).splitlines()
    assert lines[-1] == "gelu (here) was not trained as relu (there): epochs is 1 there and 2.0 here."
    assert lines[3].endswith(f" %, 1 seed  {comparison.gains('gelu')[0][0]}, one seed")
    assert "no seed in common" in table(Comparison.of([members[0], members[3]]))


def test_the_readme_has_a_table_of_each_recorded_comparison(root, members):
    comparison, folder = Comparison.of(members[:5]), root / COMPARISONS
    folder.mkdir(parents=True)
    (folder / "some.json").write_text(json.dumps(comparison.to_json()))
    with pytest.raises(ConfigError, match=r"README.md has no lines <!-- comparisons"):
        rewrite(root, [])
    (root / "README.md").write_text(f"{BEGIN}\n{END}\nbetween\n{COMPARED[0]}\nold\n{COMPARED[1]}\nafter\n")
    rewrite(root, [])
    text = (root / "README.md").read_text()
    block = text.split(COMPARED[0])[1].split(COMPARED[1])[0].strip().splitlines()
    assert text.endswith(f"{COMPARED[1]}\nafter\n")
    assert block[0] == f"`{HOST}` on cifar10, 1 epoch of n_fgsm ([record]({COMPARISONS}/some.json)):"
    assert block[2] == f"| recipe | seeds | clean | gain | {comparison.attacks[1]} | gain |"
    clean, pgd = comparison.means("silu")
    accuracies = [f"{percent:.1f} %" for percent in comparison.accuracies("silu")]
    cells = (accuracies[0], _points(clean), accuracies[1], _points(pgd))
    assert block[4].startswith("| `relu` | 0, 1, 2 | ")
    assert block[4].count("| – |") == 2
    assert block[5] == f"| `silu` | 0, 1 | {' | '.join(cells)} |"


def _points(gain):
    return f"{gain.points:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]"


def test_the_command_trains_measures_prints_and_writes(root, monkeypatch, capsys):
    names = ["small_relu_res18w16_cifar", "small_silu_res18w16_cifar"]
    rest = ["--set", "batch_size=8", "--limit", 0.5, "--count", 5]
    run(monkeypatch, *names, "--seeds", 0, 1, "--out", root / "r", *rest, "--json", root / "c.json")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "clean"
    assert [line.split()[0] for line in lines[1:3]] == names
    assert {path.name for path in (root / "r").iterdir()} == {f"{name}-seed{s}" for name in names for s in (0, 1)}
    for folder in (root / "r").iterdir():
        assert {RECORD, "evaluation-5-exact.json"} <= {path.name for path in folder.iterdir()}
    first = json.loads((root / "c.json").read_text())
    assert [gain["seeds"] for gain in first["means"][names[1]]] == [[0, 1], [0, 1]]
    run(monkeypatch, *names, "--seeds", 2, "--out", root / "r", *rest, "--with", root / "c.json",
        "--json", root / "d.json")  # fmt: skip
    assert "3 seeds" in capsys.readouterr().out
    second = json.loads((root / "d.json").read_text())
    assert [gain["seeds"] for gain in second["means"][names[1]]] == [[0, 1, 2], [0, 1, 2]]
    assert [member for member in second["members"] if member in first["members"]] == first["members"]


def test_what_an_earlier_comparison_holds_is_not_trained_again(root, members, monkeypatch, capsys):
    for config in CONFIGS:
        monkeypatch.setitem(RECIPES, config.name, partial(replace, config, seed=0))
    (root / "c.json").write_text(json.dumps(Comparison.of(members[:5]).to_json()))
    words = ("relu", "silu", "--seeds", 0, 2, "--out", root / "r", "--count", 20, "--with", root / "c.json")
    run(monkeypatch, *words, "--dry-run")
    assert "\n1 of 4 runs are not there yet: " in capsys.readouterr().out
    run(monkeypatch, *words, "--json", root / "d.json")
    assert [path.name for path in (root / "r").iterdir()] == ["silu-seed2"]
    assert "relu (" not in capsys.readouterr().err
    found = read_comparison(json.loads((root / "d.json").read_text()), "d.json")
    assert {name: [*seeds] for name, seeds in found.members.items()} == {"relu": [0, 1, 2], "silu": [0, 1, 2]}
    with pytest.raises(SystemExit, match=r"The file of --with holds another relu-seed0: lr is .* Give the same --set"):
        run(monkeypatch, *words, "--set", "lr=0.5")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "There is no recipe nothing; python -m training.run --list shows all"),
        (["small_relu_res18w16_cifar"] * 2, "The recipe small_relu_res18w16_cifar is there twice; expected every"),
        (["small_relu_res18w16_cifar", "--seeds", "1", "1"], "The seed 1 is there twice; expected every seed once."),
        (["small_relu_res18w16_cifar", "--limit", "2"], "--limit is 2.0; expected a share above 0 and up to 1"),
        (["small_relu_res18w16_cifar", "--attack", "no"], "There is no attack 'no'"),
        (["small_relu_res18w16_cifar", "--set", "epoch=1"], "There is no field epoch; the fields are name,"),
        (["small_relu_res18w16_cifar", "--with", "no.json"], "no.json cannot be read as a record: FileNotFoundError"),
        (["small_relu_res18w16_cifar", "--time-budget", "0"], "There is no network of small_relu_res18w16_cifar yet"),
    ],
)
def test_mistakes_are_answered_in_a_line_before_anything_is_trained(root, words, message, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *words, "--out", root / "r")
    assert message in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert not (root / "r").exists()


def test_a_file_that_cannot_be_written_is_said_at_once(root, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "small_relu_res18w16_cifar", "--out", root / "r", "--json", root / "no/where.json")
    assert "argument --json: " in (said := capsys.readouterr().err)
    assert "where.json cannot be written; expected a file in a folder that is there." in said
    assert not (root / "r").exists()


def test_help_says_how_to_share_the_work(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "--help")
    assert stopped.value.code == 0
    assert "once a CPU core or a GPU, with the same DIR" in capsys.readouterr().out
