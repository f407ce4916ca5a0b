"""The command lines of the benchmarks: what is mistyped is answered before anything is measured."""

import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
MISTAKES = {
    "--json": ("nowhere/x.json", "nowhere/x.json cannot be written; expected a file in a folder that is there."),
    "--repeats": ("0", "argument --repeats: expected a whole number, 1 or more, and not 0."),
    "--batch": ("-1", "argument --batch: expected a whole number, 1 or more, and not -1."),
    "--device": ("fpga", "argument --device: fpga is not on this machine; expected cpu, or cuda where it is."),
}
OPTIONS = {
    "activation_overhead": ["--json", "--repeats", "--batch"],
    "attack_parity": ["--json", "--batch"],
    "attack_throughput": ["--json", "--repeats", "--batch", "--device"],
    "start_time": ["--json", "--repeats"],
    "training_throughput": ["--json", "--batch", "--device"],
}


def demo(seed, clean, robust, **more):
    """As ``sparta-hub demo --json`` prints it, with a lead of SPARTA's."""
    twins = [{"name": "SPARTA", "clean": 50.0 + clean, "robust": 40.0 + robust}]
    twins += [{"name": "ReLU", "clean": 50.0, "robust": 40.0}]
    return {
        "name": "set",
        "seed": seed,
        "steps": 1,
        "images": 200,
        "twins": twins,
        "machine": {"torch": "2", "hardware": "h"},
        **more,
    }


def seeds(monkeypatch, tmp_path, *demos, words=()):
    paths = [tmp_path / f"{i}.json" for i in range(len(demos))]
    for path, found in zip(paths, demos, strict=True):
        path.write_text(json.dumps(found))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr("sys.argv", ["demo_seeds.py", *map(str, paths), "--json", str(tmp_path / "out.json"), *words])
    importlib.import_module("demo_seeds").main()


def test_the_demo_over_seeds(monkeypatch, capsys, tmp_path):
    seeds(monkeypatch, tmp_path, demo(4, 1.0, -2.0), demo(1, 2.0, -4.0), demo(2, 6.0, -6.0))
    assert capsys.readouterr().out.splitlines() == [
        "SPARTA, clean: +3.0 points [-3.6, +9.6] in the mean of +2.0, +6.0, +1.0",
        "SPARTA, PGD-20: -4.0 points [-9.0, +1.0] in the mean of -4.0, -6.0, -2.0",
    ]
    assert json.loads((tmp_path / "out.json").read_text())["gains"][0]["seeds"] == [1, 2, 4]


def test_the_record_holds_what_its_means_are_of(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("demo_seeds")
    record = json.loads((BENCHMARKS / "records/demo_seeds-cpu.json").read_text())
    found = module.by_seed(record["demos"])
    assert [gain.to_json() for gain in module.gains_of(found, "ReLU")] == record["gains"]
    (tuned,) = (g for g in module.gains_of(found, "SPARTA (frozen)") if g.attack == "SPARTA (tuned), PGD-20")
    readme = " ".join((BENCHMARKS.parent / "README.md").read_text(encoding="utf-8").split())
    assert f"{tuned.points:.1f} points [{tuned.low:.1f}, {tuned.high:.1f}] ahead of itself frozen" in readme


def test_demos_of_one_seed_are_put_together(monkeypatch, capsys, tmp_path):
    frozen, tuned = ([demo(seed, lead + seed, lead) for seed in (1, 2)] for lead in (1.0, 4.0))
    for found in tuned:
        found["twins"][0]["name"] = "tuned"
    seeds(monkeypatch, tmp_path, *frozen, *tuned, words=["--against", "SPARTA"])
    assert capsys.readouterr().out.splitlines() == [
        "ReLU, clean: -2.5 points [-8.8, +3.9] in the mean of -2.0, -3.0",
        "ReLU, PGD-20: -1.0 points [-1.0, -1.0] in the mean of -1.0, -1.0",
        "tuned, clean: +3.0 points [+3.0, +3.0] in the mean of +3.0, +3.0",
        "tuned, PGD-20: +3.0 points [+3.0, +3.0] in the mean of +3.0, +3.0",
    ]


ALONE = demo(2, 0, 0)
ALONE["twins"] = ALONE["twins"][1:]


@pytest.mark.parametrize(
    ("demos", "message"),
    [([demo(1, 0, 0)], "demo_seeds.py: There are 1: SPARTA, ReLU; expected two seeds or more, each with the same"),
     ([demo(1, 0, 0), ALONE], "There are 1: SPARTA, ReLU; 2: ReLU; expected two seeds or more, each with the same"),
     ([demo(1, 0, 0), demo(1, 1, 0)], "Two demos of seed 1 have other accuracies of SPARTA"),
     ([demo(1, 0, 0), demo(2, 0, 0, steps=2)], "The demos differ in more than their seed")],
)  # fmt: skip
def test_demos_that_cannot_be_put_together(monkeypatch, tmp_path, demos, message):
    with pytest.raises(SystemExit, match=message):
        seeds(monkeypatch, tmp_path, *demos)


@pytest.mark.parametrize(("name", "option"), [(name, option) for name in OPTIONS for option in OPTIONS[name]])
def test_a_mistake_is_answered_first(monkeypatch, capsys, tmp_path, name, option):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)
    value, message = MISTAKES[option]
    monkeypatch.setattr("sys.argv", [name, option, value])
    with pytest.raises(SystemExit):
        importlib.import_module(name).main()
    assert message in capsys.readouterr().err
