"""Figures of a card measured again: the same bits here; other flags, weights or images are told apart."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import sparta_hub
from sparta_hub.artifacts import RESULTS
from sparta_hub.cli import main
from sparta_hub.cli.attacks import make_attacks
from sparta_hub.data import load_images
from sparta_hub.errors import ArtifactError, AttackError, DataError, SpartaError
from sparta_hub.evaluation import Accuracy, Report, evaluate, figures
from sparta_hub.saving import save_model
from tests.conftest import HOST
from tests.hub.conftest import REPO, put

IMAGES = 16
EPS = "3/255" if HOST == "test_resnet" else "6/255"  # breaks some of the images, and not all


def report_of(folder):
    return json.loads((folder / RESULTS).read_text())["reports"][0]


@pytest.fixture(scope="module")
def base(artifact, tmp_path_factory):
    """An artifact with its network, and the record of sixteen images, which it gets right without attack."""
    root = tmp_path_factory.mktemp("measured")
    x, model = np.random.default_rng(0).integers(0, 256, (IMAGES, 64, 64, 3), dtype=np.uint8), sparta_hub.load(artifact)
    with torch.no_grad():  # an untrained network predicts one class whatever it sees
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1)
        model.get_parameter("fc.weight").normal_(generator=torch.Generator().manual_seed(0))
        save_model(model, root / "set", with_host=True)
        model = sparta_hub.load(root / "set")
        y = model(torch.from_numpy(x).permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    np.savez(root / "noise.npz", x_test=x, y_test=y)
    attacks = [*make_attacks(["fgsm"], eps=EPS), *make_attacks(["sparta-pgd-10"])]
    report = evaluate(model, load_images("noise", "test", root), attacks, batch_size=4, seed=5)
    put(root / "set", {"reports": [report.to_json()]})
    return root


@pytest.fixture
def measured(base, tmp_path, monkeypatch):
    """A copy of it that a test may change, with its images."""
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("SPARTA_DATA", str(tmp_path))
    return tmp_path / "set"


def test_the_same_bits_here(measured):
    found = sparta_hub.verify(measured)
    assert [v.attack for v in found] == [
        "clean", f"fgsm, Linf {EPS}",
        "sparta-pgd-10 (steps 10, step size 1/255, random start False), Linf 16/255 targeted",
    ]  # fmt: skip
    assert all(v.within and v.differ == 0 and v.card == v.here for v in found)
    summary = report_of(measured)["summary"]
    assert [v.card.correct for v in found] == [IMAGES, *(row["correct"] for row in summary["attacks"])]
    assert 0 < found[1].card.correct < IMAGES, "else the comparison of flags compares nothing"


def test_of_a_preset_that_was_measured_again_the_last_record_is_verified(measured):
    report = report_of(measured)
    older = json.loads(json.dumps(report))
    older["protocol"]["attacks"][1]["arguments"] = {"steps": 1}
    older["summary"]["attacks"][1]["attack"] = "sparta-pgd-10(steps=1), Linf 16/255 targeted"
    put(measured, {"reports": [older, report]})
    words = [verdict.attack for verdict in sparta_hub.verify(measured, limit=4)]
    assert [word for word in words if word.startswith("sparta")] == [
        "sparta-pgd-10 (steps 10, step size 1/255, random start False), Linf 16/255 targeted"
    ]


def test_the_same_bits_by_name(measured, hub, cache):
    """The records come from the Hub too, and so does the trained network."""
    commit = sparta_hub.push_to_hub(measured, REPO).commit
    found = sparta_hub.verify(f"{REPO}@{commit}", limit=4, attacks=["fgsm"])
    assert [(v.attack, v.differ) for v in found] == [("clean", 0), (f"fgsm, Linf {EPS}", 0)]


def test_autoattack_is_measured_again_only_where_it_is_asked_for(measured):
    report = Report.from_json(report_of(measured))
    fgsm, preset = report.protocol.attacks
    unknown = replace(fgsm, name="thesis-aa", arguments={"version": "none of its versions"})  # it fails if it is run
    protocol = replace(report.protocol, attacks=(unknown, preset))
    put(measured, {"reports": [replace(report, protocol=protocol).to_json()]})
    found = sparta_hub.verify(measured, limit=8)
    assert [v.attack.split(" (")[0] for v in found] == ["clean", preset.name]
    with pytest.raises(AttackError, match="version is 'none of its versions'"):
        sparta_hub.verify(measured, limit=8, attacks=["thesis-aa"])


def test_some_images_and_some_attacks(measured):
    found = sparta_hub.verify(measured, limit=8, attacks=["fgsm"])
    assert [v.attack for v in found] == ["clean", f"fgsm, Linf {EPS}"]
    assert {(v.card.images, v.here.images, v.differ) for v in found} == {(8, 8, 0)}
    assert sparta_hub.verify(measured, limit=1000)[0].here.images == IMAGES


def test_flags_that_nobody_gets_here_lie_outside(measured):
    report = report_of(measured)
    tally = report["outcome"]["attacks"][0]
    broken = int(tally["broken"], 16)
    tally["broken"] = f"{0xFFFF ^ broken:04x}"
    for row in (report["summary"]["attacks"][0],):
        right = bin(broken).count("1")
        accuracy = sparta_hub.evaluation.Accuracy.of((True,) * right + (False,) * (IMAGES - right))
        row |= {"percent": accuracy.percent, "low": accuracy.low, "high": accuracy.high, "correct": right}
    other = int(report["outcome"]["attacks"][1]["broken"], 16)
    worst = IMAGES - bin(int(tally["broken"], 16) | other).count("1")
    accuracy = sparta_hub.evaluation.Accuracy.of((True,) * worst + (False,) * (IMAGES - worst))
    report["summary"]["worst_case"] |= {"percent": accuracy.percent, "low": accuracy.low, "high": accuracy.high,
                                        "correct": worst}  # fmt: skip
    put(measured, {"reports": [report]})
    clean, fgsm, _ = sparta_hub.verify(measured)
    assert (clean.differ, fgsm.differ) == (0, IMAGES)
    done = CliRunner().invoke(main, ["verify", str(measured), "--attack", "fgsm"])
    assert (done.exit_code, fgsm.within) == ((3, False) if not fgsm.within else (0, True))
    assert f"{IMAGES} images differ" in done.output


def test_a_summary_that_the_flags_deny_is_refused(measured):
    report = report_of(measured)
    report["summary"]["attacks"][0]["correct"] += 1
    put(measured, {"reports": [report]})
    with pytest.raises(ArtifactError, match="but the flags of the images amount to"):
        sparta_hub.verify(measured)


def test_other_weights_than_the_record_is_of(measured):
    model = sparta_hub.load(measured)
    with torch.no_grad():
        model.get_parameter("fc.bias").add_(1)
    results = json.loads((measured / RESULTS).read_text())
    save_model(model, measured, results=results, with_host=True)
    with pytest.raises(ArtifactError, match=r"holds weights \w{12}..., and its record is of .*measure it anew"):
        sparta_hub.verify(measured)


def test_other_images_than_the_record_is_of(measured, tmp_path):
    arrays = dict(np.load(tmp_path / "noise.npz"))
    np.savez(tmp_path / "noise.npz", x_test=arrays["x_test"][::-1], y_test=arrays["y_test"][::-1])
    with pytest.raises(DataError, match="first 16 test images of noise here have checksum .*official order"):
        sparta_hub.verify(measured)
    (tmp_path / "noise.npz").unlink()
    with pytest.raises(DataError, match="is not there"):
        sparta_hub.verify(measured)


def test_an_attack_of_a_later_version(measured):
    report = report_of(measured)
    report["protocol"]["attacks"][0]["name"] = "square-2"
    report["summary"]["attacks"][0]["attack"] = f"square-2, Linf {EPS}"
    put(measured, {"reports": [report]})
    with pytest.raises(AttackError, match="has the attack 'square-2', which this sparta-hub does not know"):
        sparta_hub.verify(measured)


def test_what_cannot_be_verified(measured):
    with pytest.raises(AttackError, match="was not measured with 'pgd'; expected some of fgsm, sparta-pgd-10"):
        sparta_hub.verify(measured, attacks=["pgd"])
    put(measured, {})
    with pytest.raises(ArtifactError, match="has no reports in its results.json"):
        sparta_hub.verify(measured)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit is 0; expected 1 or more images, or None for all"),
        ({"limit": 2.0}, "limit is 2.0; expected 1 or more images"),
        ({"attacks": "fgsm"}, r"attacks is 'fgsm'; expected a list of names: \['fgsm'\]"),
        ({"device": "gpu"}, "device is 'gpu', which this machine has not; expected cpu, cuda or cuda:1"),
    ],
)
def test_arguments_that_mean_nothing_are_refused_before_anything_is_measured(arguments, message):
    with pytest.raises(SpartaError, match=message):
        sparta_hub.verify("sparta-res18-cifar", **arguments)


def test_the_command(measured):
    done = CliRunner().invoke(main, ["verify", str(measured), "--limit", "8"])
    assert done.exit_code == 0
    assert "within  clean: 100.0 % of 8 images here, the card's record has 100.0 %" in done.output
    rows = json.loads(CliRunner().invoke(main, ["verify", str(measured), "--json"]).stdout)
    assert [row["differ"] for row in rows] == [0, 0, 0]
    assert rows[1]["card"] == rows[1]["here"]


def rows_of(folder):
    """What a card would show, as ``training.card`` writes it."""
    found = figures([Report.from_json(report_of(folder))])
    return [
        {"attack": f.attack, "accuracy": a.percent, "low": a.low, "high": a.high, "images": a.images}
        for f in found
        for a in [Accuracy.of(f.flags)]
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": 99.9, "low": 99.0, "high": 100.0}, "is shown as 99.9 % on 16 images, and its reports have"),
        ({"images": 10_000}, "% on 10000 images, and its reports have .* on 16"),
        ({"attack": "pgd, Linf 8/255"}, "and its reports have no such attack"),
        ({"accuracy": float("1e308") * 10}, "is not JSON|which cannot be"),
        ({"accuracy": -5.0}, "which cannot be"),
        ({"accuracy": True}, "accuracy is True"),
        ({"images": 0}, "which cannot be"),
        ({"attack": "fgsm\x1b[31m"}, "which no terminal shows as it is"),
        ({"attack": "fgsm\n  measured    clean: 99.9 %"}, "which no terminal shows as it is"),
    ],
)
def test_figures_that_the_reports_deny_are_not_shown(measured, change, message):
    rows, report = rows_of(measured), report_of(measured)
    put(measured, {"evaluation": rows, "reports": [report]})
    assert sparta_hub.info(measured).results["evaluation"] == rows
    change = {key: 10**400 if value == float("inf") else value for key, value in change.items()}
    put(measured, {"evaluation": [rows[0], {**rows[1], **change}], "reports": [report]})
    for call in (sparta_hub.info, sparta_hub.verify):
        with pytest.raises(ArtifactError, match=message):
            call(measured)


def test_a_cascade_is_measured_again_as_a_cascade(measured):
    report = report_of(measured)
    attacks = [*make_attacks(["fgsm"], eps=EPS), *make_attacks(["pgd"], eps="1/255", steps=1)]
    data = load_images("noise", "test", measured.parent)
    again = evaluate(sparta_hub.load(measured), data, attacks, batch_size=4, seed=5, cascade=True)
    assert (
        again.robust(1).correct
        < evaluate(sparta_hub.load(measured), data, attacks[1:], batch_size=4, seed=5).robust(0).correct
    ), "else a cascade is as each alone"
    put(measured, {"reports": [again.to_json()]})
    found = sparta_hub.verify(measured, attacks=["pgd"])
    assert [(v.attack.partition(" ")[0], v.differ) for v in found] == [("clean", 0), ("pgd", 0)]
    put(measured, {"reports": [report]})


def test_nothing_verified_is_no_success(measured):
    report = report_of(measured)
    for row in (report["protocol"]["attacks"], report["outcome"]["attacks"], report["summary"]["attacks"]):
        del row[1]
    report["protocol"]["attacks"][0]["name"] = "thesis-aa"
    report["summary"]["attacks"][0]["attack"] = f"thesis-aa, Linf {EPS}"
    put(measured, {"reports": [report]})
    with pytest.raises(AttackError, match=r"measured with thesis-aa alone, .*attacks=\['thesis-aa'\]"):
        sparta_hub.verify(measured)
