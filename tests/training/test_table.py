"""The tables beside ours, from records made here."""

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from sparta_hub.cli.attacks import make_attacks
from sparta_hub.data import Images
from sparta_hub.evaluation import evaluate
from training.entries import Entry, write_entry
from training.errors import ConfigError
from training.recipes import RECIPES
from training.records import keep
from training.settings import to_json
from training.table import main, read_published, read_runs, render


@pytest.fixture
def root(tmp_path):
    (tmp_path / "training" / "records").mkdir(parents=True)
    return tmp_path


def write(root, name, config, accuracies, *, seconds=600.0, weights=None, limit=1.0):
    record = {
        "config": to_json(config), "data": {"limit": limit}, "seconds": seconds,
        "evaluation": [{"attack": attack, "accuracy": value} for attack, value in accuracies.items()],
    }  # fmt: skip
    if weights:
        record["weights"] = weights
    (root / "training" / "records" / f"{name}.json").write_text(json.dumps(record))


def cells(text, recipe):
    """The line of a recipe, split where there is more than one blank."""
    return next(line.split() for line in text.splitlines() if recipe in line.split())


SPARTA = "sparta_t8_cifar10_resnet34_sparta"
PGD10 = "sparta-pgd-10(steps=10, step_size=0.003922), Linf 16/255 targeted"


def test_a_figure_stands_beside_the_papers_with_its_difference(root):
    write(root, "a", RECIPES[SPARTA](), {"clean": 85.0, PGD10: 70.5})
    text = render("sparta", "8", read_runs(root))
    assert cells(text, SPARTA) == [
        "resnet34", "sparta", "29.17", "29.50", "+0.33", "64.13", "72.91", "14.47", "15.00", "+0.53", "1", SPARTA
    ]  # fmt: skip
    relu = "sparta_t8_cifar10_resnet34_relu"
    assert cells(text, relu) == ["resnet34", "relu", "31.00", "67.88", "75.15", "17.18", relu]
    head, names, *_ = text.splitlines()
    assert head.split() == ["err_pgd10", "err_pgd30", "err_pgd50", "err_clean"]
    assert names.split() == ["network", "activation", *("paper", "ours", "diff") * 4, "seeds", "recipe"]


def test_seeds_are_averaged_and_counted(root):
    for seed, robust in ((0, 70.0), (1, 71.0)):
        write(root, str(seed), replace(RECIPES[SPARTA](), seed=seed), {PGD10: robust})
    line = cells(render("sparta", "8", read_runs(root)), SPARTA)
    assert line[2:5] == ["29.17", "29.50", "+0.33"]
    assert line[-2:] == ["2", SPARTA]


def test_one_training_fills_every_row_that_it_is_a_run_of(root):
    write(root, "a", RECIPES["sparta_t2_cifar10_resnet18_sparta"](), {"clean": 80.0})
    for table in ("2", "8", "9"):
        name = f"sparta_t{table}_cifar10_resnet18_sparta"
        line = cells(render("sparta", table, read_runs(root)), name)
        assert line[-4:] == ["20.00", "+4.52", "1", name]
    standard = cells(render("sparta", "2", read_runs(root)), "sparta_t2_cifar10_resnet18_sparta_standard")
    assert "20.00" not in standard


def test_a_run_that_differs_from_its_recipe_has_its_own_line_and_a_note(root):
    write(root, "a", replace(RECIPES[SPARTA](), epochs=10), {PGD10: 70.5})
    write(root, "b", RECIPES[SPARTA](), {PGD10: 70.0}, limit=0.5)
    text = render("sparta", "8", read_runs(root))
    lines = [line.split() for line in text.splitlines() if SPARTA in line.split()]
    assert [line[2:5] for line in lines] == [["29.17", "64.13", "72.91"], ["29.17", "29.50", "+0.33"],
                                             ["29.17", "30.00", "+0.83"]]  # fmt: skip
    assert [line[-1] for line in lines[1:]] == ["*1", "*2"]
    assert "*1 not quite the recipe (there) but (here): epochs is 90 there and 10 here" in text
    assert "*2 not quite the recipe (there) but (here): limit is 1.0 there and 0.5 here" in text


def test_best_and_last_weights_go_to_their_own_rows(root):
    name = "thesis_tiii_cifar10_resnet18_relu_fgsm_rs"
    attack = "thesis-pgd-20(steps=20, step_size=0.007843), Linf 8/255"
    write(root, "a", RECIPES[name](), {attack: 40.0}, weights="best")
    write(root, "b", RECIPES[name](), {attack: 1.0}, weights="last")
    rows = [line.split() for line in render("thesis", "III", read_runs(root)).splitlines() if name in line]
    best, last = rows
    assert best[1].endswith("best")
    assert best[4:7] == ["41.55", "40.00", "-1.55"]
    assert last[1].endswith("last")
    assert last[4:7] == ["0.04", "1.00", "+0.96"]
    assert best[-5:-2] == ["51.00", "10.00", "-41.00"]  # minutes of training


def test_what_was_measured_after_the_training_counts(root):
    """Its record of training says nothing of it; an entry holds the two together."""
    write(root, "a", RECIPES[SPARTA](), {})
    path = root / "training/records/a.json"
    more = dict.fromkeys(("steps", "images", "commit", "torch", "python", "hardware"), 1)
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    assert cells(render("sparta", "8", read_runs(root)), SPARTA)[:4] == ["resnet34", "sparta", "29.17", "64.13"]
    x = torch.randint(0, 256, (20, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 10))
    data = Images(x, model(x / 255).argmax(1), "cifar10")
    report = evaluate(model, data, make_attacks(["sparta-pgd-10"]), batch_size=10, seed=0)
    keep(report.to_json(), root / "training/records/evaluations", name="a")
    write_entry(root, Entry("a", "a.json", ("a.json",), "best"))
    error = 100 - report.robust(0).percent
    line = cells(render("sparta", "8", read_runs(root)), SPARTA)
    assert line[2:5] == ["29.17", f"{error:.2f}", f"{error - 29.17:+.2f}"]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data": {"limit": 0.01}}))
    text = render("sparta", "8", read_runs(root))
    assert cells(text, SPARTA)[:4] == ["resnet34", "sparta", "29.17", "64.13"]  # the recipe wants all images
    assert [f"{error:.2f}" in line for line in text.splitlines() if line.endswith("*1")] == [True]
    assert "limit is 1.0 there and 0.01 here" in text


def test_parameters_are_counted():
    text = render("sparta", "6", [])
    line = next(line for line in text.splitlines() if line.startswith("resnet18  sparta") and "11.99" in line)
    assert line.split() == ["resnet18", "sparta", "11.99", "11.99", "-0.00", "sparta_t6_cifar10_resnet18_sparta"]


def test_the_networks_of_table_6_have_the_published_sizes():
    counted = [line.split() for line in render("sparta", "6", []).splitlines()[2:] if len(line.split()) == 6]
    assert len(counted) == 14
    for network, activation, published, ours, _, _ in counted:
        assert float(ours) == pytest.approx(float(published), abs=0.021), (network, activation)  # SPARTA's 22.11: 22.09


def test_a_row_without_a_recipe_says_why():
    text = render("sat", "4", [])
    assert "none: timm has no network of this name; train a near one, such as sat_imagenet_efficientnet_b0_silu" in text


def test_all_tables_can_be_shown():
    for source, tables in {
        "sparta": "2345789",
        "sat": ("1", "2", "fig3", "sec4.2", "sec6"),
        "fastat": ("logs",),
    }.items():
        for table in tables:
            assert len(render(source, table, []).splitlines()) == 2 + len(read_published(source, table))


def test_an_unknown_table_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match=r"sparta has no table '12'; its tables are 2, 3, 4, 5, 6, 7, 8, 9\."):
        read_published("sparta", "12")
    done = CliRunner().invoke(main, ["X", "--source", "thesis"])
    assert done.exit_code == 1
    assert "thesis has no table 'X'; its tables are II, III, IV, V, VI, VII, VIII, IX." in done.output
    assert "sparta_t3_cifar10_resnet18_sparta_g4_b2_n4" in CliRunner().invoke(main, ["3"]).output
