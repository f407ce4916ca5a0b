"""What the documents say: the README's Python runs, its tree is the tree, cards are what the records say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sparta_hub.artifacts import read_artifact
from sparta_hub.cards import render_card
from sparta_hub.errors import ArtifactError
from sparta_hub.zoo import registry
from tests.processes import together
from training.card import BEGIN, COMPARED, END, matrix
from training.comparison import COMPARISONS, read_comparison, tables
from training.entries import read_entry
from training.results import results_of
from training.transfers import transfers_of

AUTOATTACK = "thesis-aa (version standard), Linf 8/255"
PGD20 = "thesis-pgd-20 (steps 20, step size 2/255), Linf 8/255"
ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CARDS = sorted((ROOT / "model_cards").glob("*/config.json"))


def python_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run_each(_rank, blocks, folder):
    os.chdir(folder)
    for block in blocks:
        exec(block, {"__name__": "__main__"})


@pytest.mark.parametrize("source", [str(path.parent.relative_to(ROOT) / "README.md") for path in CARDS])
def test_every_python_block_of_a_card_runs(source, tmp_path):
    blocks = python_blocks((ROOT / source).read_text(encoding="utf-8"))
    assert blocks
    together(run_each, blocks, tmp_path, count=1)


def test_every_python_block_runs(tmp_path):
    blocks = python_blocks(README)
    assert blocks
    each = "import json, sys\nfor block in json.load(sys.stdin): exec(block, {'__name__': '__main__'})"
    subprocess.run(
        [sys.executable, "-c", each], input=json.dumps(blocks), text=True, cwd=tmp_path, check=True, timeout=600
    )


def test_the_tree_names_every_module_and_nothing_else():
    tree = README.split("## The tree")[1].split("```")[1]
    named = set(re.findall(r"^\s*([\w./]+\.py|[\w]+/)\s", tree, re.MULTILINE))
    modules = {path.name for path in (ROOT / "sparta_hub").glob("*.py")}
    assert modules <= named, f"not in the README's tree: {modules - named}"
    everything = {path.name for path in ROOT.rglob("*.py")} | {f"{p.name}/" for p in ROOT.rglob("*") if p.is_dir()}
    assert named <= everything, f"in the README's tree but not there: {named - everything}"


def test_every_local_link_leads_somewhere():
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"


def test_the_demo_over_seeds_is_what_its_record_says():
    record = json.loads((ROOT / "benchmarks/records/demo_seeds-cpu.json").read_text())
    gains = {row["attack"].removeprefix("SPARTA "): row for row in record["gains"]}
    frozen, clean, tuned = (gains[name] for name in ("(frozen), PGD-20", "(frozen), clean", "(tuned), PGD-20"))
    text, lead = " ".join(README.split()), {key: -frozen[key] for key in ("points", "low", "high")}
    assert len(frozen["seeds"]) == 10
    assert "Over ten seeds ([record](benchmarks/records/demo_seeds-cpu.json)" in text
    assert f"behind ReLU by {lead['points']:.1f} points under PGD-20 [{lead['high']:.1f}, {lead['low']:.1f}]" in text
    assert f"and by {-clean['points']:.1f} on clean images" in text
    assert f"({tuned['points']:+.1f} [{tuned['low']:+.1f}, {tuned['high']:+.1f}])" in text


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_cards_are_what_spec_and_records_say(path):
    artifact = read_artifact(path.parent)
    results = json.loads((path.parent / "results.json").read_text(encoding="utf-8"))
    values = sum(tensor.numel() for tensor in artifact.tensors.values())
    card = render_card(path.parent.name, artifact.config, results, values=values)
    assert card == (path.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("lost", ["commit", "seconds", "hardware"])
def test_a_card_without_provenance_is_an_error(path, lost):
    artifact = read_artifact(path.parent)
    results = json.loads((path.parent / "results.json").read_text(encoding="utf-8"))
    del results["training"][lost]
    with pytest.raises(ArtifactError, match=f"needs '{lost}' in results.json; measure it first"):
        render_card("x", artifact.config, results, values=len(artifact.tensors))


def test_the_cards_results_are_what_the_records_say():
    """Nothing on a card, or in the README's table, was written by hand."""
    for path in CARDS:
        name = path.parent.name
        results = results_of(ROOT, read_entry(ROOT, name))
        results["transfers"] = [row.to_json() for row in transfers_of(ROOT, name)]
        assert json.loads((path.parent / "results.json").read_text(encoding="utf-8")) == json.loads(json.dumps(results))
    assert README.split(BEGIN)[1].split(END)[0].strip() == matrix(ROOT)


def test_the_comparisons_are_what_their_records_say():
    begin, end = COMPARED
    assert README.split(begin)[1].split(end)[0].strip() == tables(ROOT)
    record = json.loads((ROOT / COMPARISONS / "small_families-cpu.json").read_text())
    comparison = read_comparison(record, "record")
    assert record["means"] == comparison.to_json()["means"]
    clean, pgd = comparison.means("small_sparta_res18w16_cifar")
    text = " ".join(README.split())
    level = f"({pgd.points:+.1f} points [{pgd.low:+.1f}, {pgd.high:+.1f}])"
    assert f"SPARTA as published (1×1) is level under attack {level}" in text
    assert pgd.low < 0 < pgd.high
    assert f"and {-clean.points:.1f} [{-clean.high:.1f}, {-clean.low:.1f}] behind on clean images" in text
    means = {recipe: comparison.means(recipe)[1] for recipe in [*comparison.members][1:]}
    wide = "small_sparta_k3_res18w16_cifar"
    assert [recipe for recipe, mean in means.items() if mean.low > 0] == [wide]  # one is ahead of ReLU
    gain = f"{means[wide].points:+.1f} points [{means[wide].low:+.1f}, {means[wide].high:+.1f}]"
    assert f"SPARTA with 3×3 kernels**: {gain} over six seeds" in text
    assert len(comparison.members[wide]) == 6
    record = json.loads((ROOT / COMPARISONS / "small_fgsm_sdi-cpu.json").read_text())
    clean, pgd = read_comparison(record, "record").means("small_sparta_res18w16_cifar_fgsm_sdi")
    assert f"With FGSM-SDI it is the same: {pgd.points:+.1f} points [{pgd.low:+.1f}, {pgd.high:+.1f}]" in text
    assert f"and {-clean.points:.1f} [{-clean.high:.1f}, {-clean.low:.1f}] behind on clean images." in text


def test_the_headline_is_what_the_records_say():
    """The first bold percentage, the accuracies beside it, the twin's, and the gain with its interval."""
    results = {path.parent.name: json.loads((path.parent / "results.json").read_text()) for path in CARDS}
    rows = {(name, row["attack"]): row for name, found in results.items() for row in found["evaluation"]}
    sparta, relu = (rows[name, AUTOATTACK] for name in ("sparta-res18-cifar", "relu-res18-cifar"))
    pgd, clean = (rows["sparta-res18-cifar", attack]["accuracy"] for attack in (PGD20, "clean"))
    gain = next(gain for gain in results["sparta-res18-cifar"]["gains"] if gain["attack"] == AUTOATTACK)
    text = " ".join(README.split("## Eight lines")[0].split())
    assert f"keeps **{sparta['accuracy']:.1f} %** of CIFAR-10 right under AutoAttack" in text
    assert f"(PGD-20 {pgd:.1f} %, clean {clean:.1f} %; {sparta['images']:,} images)" in text
    assert f"its ReLU twin keeps {relu['accuracy']:.1f} %" in text
    assert f"{gain['points']:+.1f} points [{gain['low']:+.1f}, {gain['high']:+.1f}]" in text
    seeds = next(gain for gain in results["sparta-res18-cifar"]["gains_over_seeds"] if gain["attack"] == PGD20)
    each = " and ".join(f"{points:+.1f}" for points in seeds["each"])
    assert len(seeds["each"]) == 2
    assert f"under PGD-20 the pairs of two seeds differ by {each} points" in text


def test_the_registry_and_the_cards_name_the_same_sets():
    assert set(registry()) == {path.parent.name for path in CARDS}
