"""From a finished run, also of an older engine, to an artifact folder with card, results and record."""

import json
import resource
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import sparta_hub
from sparta_hub.artifacts import WEIGHTS, sha256_of
from sparta_hub.errors import AttackError, NameNotFoundError
from sparta_hub.evaluation import AttackSettings, Report, figures
from sparta_hub.evaluation._outcome import Outcome, Protocol, Tally
from sparta_hub.spec import ActivationSpec, ArtifactConfig, SiteSpec
from sparta_hub.threat import ThreatModel
from tests.training.conftest import noise
from training import publish as module
from training.card import register
from training.data import in_memory
from training.engine import train
from training.entries import EVALUATIONS, read_entry, read_record
from training.errors import ConfigError
from training.figures import gains_over
from training.measure import measure
from training.parallel import World
from training.publish import publish
from training.records import keep
from training.results import copies_in_words
from training.stopping import Stop

PGD = "thesis-pgd-20 (steps 20, step size 2/255), Linf 8/255"


def publish_run(root, **more):
    options = {
        "count": 4,
        "with_host": True,
        "remark": "a remark",
        "comparison": "a comparison",
        "overhead": "overhead.json",
    }
    return publish(root, root / "run", "tiny", **{**options, **more})


def test_a_run_becomes_an_artifact_that_loads(root, trained, tiny):
    trained(root / "run", tiny)
    folder = publish_run(root, attacks=["thesis-pgd-20", "fgsm"])
    model = sparta_hub.load(folder)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    best = load_file(root / "run/best.safetensors")
    assert torch.allclose(model.state_dict()["fc.weight"], best["fc.weight"], atol=1e-3)  # float16
    assert tiny.host in (folder / "README.md").read_text()
    results = json.loads((folder / "results.json").read_text())
    assert [row["attack"] for row in results["evaluation"]] == [
        "clean", PGD, "fgsm, Linf 8/255", "worst case of each image, Linf 8/255",
    ]  # fmt: skip
    for row in results["evaluation"]:
        assert {"accuracy", "low", "high", "correct", "images", "seed", "seconds", "commit", "hardware"} <= row.keys()
        assert row["images"] == 4
        assert row["accuracy"] == 25 * row["correct"]
    assert (results["training"]["weights"], results["training"]["steps"]) == ("best", 8)
    assert json.loads((root / "sparta_hub/registry.json").read_text())["tiny"]["revision"] is None
    entry = read_entry(root, "tiny")
    assert (entry.training, entry.evaluations, entry.weights) == ("tiny-seed3.json", ("tiny.json",), "best")
    kept = json.loads((root / "training/records/tiny-seed3.json").read_text())
    assert kept == json.loads((root / "run/training.json").read_text())
    assert results["reports"] == [json.loads((root / "training/records/evaluations/tiny.json").read_text())]
    assert results["evaluation"][1]["correct"] == results["reports"][0]["summary"]["attacks"][0]["correct"]
    publish_run(root, which="last")
    assert json.loads((folder / "results.json").read_text())["training"]["weights"] == "last"
    assert read_entry(root, "tiny").evaluations == ("tiny-2.json",)
    assert json.loads((root / "training/records/tiny-seed3.json").read_text()) == kept


def test_the_worst_case_is_of_one_threat_model():
    """Two attacks untargeted at 8/255, one targeted at 16/255, image by image; a twin that lacks one has no gain."""

    def report(*broken: str) -> Report:
        small, large = ThreatModel(), ThreatModel("linf", 16 / 255, targeted=True)
        attacks = tuple(AttackSettings(*args, {}) for args in (("a", small), ("b", large), ("c", small)))
        tallies = tuple(Tally((True,) * 4, flags, (False,) * 4, 0, 0, 0.0)
                        for flags in (tuple(c == "x" for c in word) for word in broken))  # fmt: skip
        protocol = Protocol("m", "d", 4, 10, 4, 0, False, "exact", attacks[: len(broken)], "", "", "")
        return Report(protocol, Outcome((True,) * 4, tallies), ({},))

    mine = [report("x---", "-xx-", "x--x")]
    names = ["clean", "a, Linf 8/255", "b, Linf 16/255 targeted", "c, Linf 8/255"]
    worst = "worst case of each image, Linf 8/255"
    assert [(f.attack, sum(f.flags)) for f in figures(mine)] == [*zip(names, (4, 3, 2, 2), strict=True), (worst, 2)]
    assert [g.attack for g in gains_over(mine, [report("----", "----", "----")])] == [*names, worst]
    assert [g.attack for g in gains_over(mine, [report("----", "----")])] == names[:3]


def test_of_a_preset_that_was_measured_again_the_last_report_counts():
    def report(name: str, broken: bool, **arguments: bool) -> Report:
        attacks = (AttackSettings(name, ThreatModel(), arguments),)
        protocol = Protocol("m", "d", 1, 10, 1, 0, False, "exact", attacks, "", "", "")
        return Report(protocol, Outcome((True,), (Tally((True,), (broken,), (False,), 0, 0, 0.0),)), ({},))

    old, new = report("thesis-pgd-10", False), report("thesis-pgd-10", True, random_start=False)
    assert [f.attack for f in figures([old, new])] == ["clean", "thesis-pgd-10 (random start False), Linf 8/255"]
    assert figures([old, new])[1].flags == (False,)
    own = [report("pgd", False), report("pgd", True, random_start=False)]  # two attacks of one's own
    assert len(figures(own)) == 1 + 2 + 1


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        (["", ""], ""),
        (["copy with 2 BatchNorms folded, bfloat16: 0 of 64 flags differ, 1 may"] * 2,
         "All attacks searched on a copy of the network (2 BatchNorms folded, bfloat16), after a sample of images had "
         "shown that it is as good; whether an image is broken was decided by the network itself."),
        (["copy with 2 BatchNorms folded, bfloat16: 9 of 64 flags differ, 1 may; the model itself",
          "copy with 2 BatchNorms folded, bfloat16: 9 of 64 predictions differ; copy with 2 BatchNorms folded, float32:"
          " 0 of 64 flags differ, 1 may"],
         "The attacks b (steps 2), Linf 8/255 searched on a copy of the network (2 BatchNorms folded, float32), aft"),
        (["copy with 2 BatchNorms folded, float32: 0 of 64 flags differ, 1 may", "copy with 2 BatchNorms folded, "
          "bfloat16, compiled: 0 of 64 flags differ, 1 may"],
         "The attacks a (steps 2), Linf 8/255 searched on a copy of the network (2 BatchNorms folded, float32), and "
         "all other attacks searched on a copy of the network (2 BatchNorms folded, bfloat16, compiled), after a s"),
        (["the model itself: no image of the sample is right", "TypeError in a copy; the model itself"], ""),
    ],
)  # fmt: skip
def test_a_card_says_which_attacks_ran_on_a_copy(reasons, words):
    attacks = tuple(AttackSettings(name, ThreatModel(), {"steps": 2}) for name in "ab")
    protocol = Protocol("m", "d", 1, 10, 1, 0, False, "fast", attacks, "", "", "")
    machine = {f"{settings} ran on": reason for settings, reason in zip(attacks, reasons, strict=True) if reason}
    told = copies_in_words([Report(protocol, Outcome((True,), ()), ({}, machine))])
    assert told.startswith(words)
    assert bool(told) == bool(words)


@pytest.mark.parametrize("overhead", ["", "missing.json"])
def test_a_card_says_what_the_set_costs(root, trained, tiny, overhead):
    trained(root / "run", tiny)
    with pytest.raises(ConfigError, match="what sparta costs: --overhead FILE of benchmarks/records"):
        publish_run(root, overhead=overhead)
    assert not (root / "model_cards").exists()
    text = " ".join((publish_run(root) / "README.md").read_text().split())
    assert f"In a {tiny.host} of" in text
    assert "does 1.10 times the floating-point work of ReLU" in text
    assert "inference took 1.30 times as long, a training step 1.20 times" in text


def test_a_published_set_that_was_given_stands_among_the_givers_transfers(root, trained, tiny):
    trained(root / "run", tiny)
    giver = publish_run(root)
    config = replace(tiny, name="given", activation=str(giver), frozen=True, arguments={}, seed=8)
    trained(root / "given", config)
    publish(root, root / "given", "given", count=4, with_host=False, remark="r", comparison="c",
            overhead="overhead.json")  # fmt: skip
    assert read_entry(root, "given").giver_sha256 == sha256_of(giver / WEIGHTS)
    assert [(row.recipe, row.mode, row.seed) for row in sparta_hub.transfers(giver)] == [("given", "frozen", 8)]


def test_a_card_gives_the_gain_over_its_twin_image_by_image(root, trained, tiny):
    trained(root / "relu", replace(tiny, family="relu", arguments={}))
    trained(root / "run", tiny)
    with pytest.raises(ConfigError, match="--twin NAME, or --comparison"):
        publish_run(root, comparison="")
    with pytest.raises(ConfigError, match="Nothing was recorded of 'tiny-relu'; publish or measure it first"):
        publish_run(root, comparison="", twin="tiny-relu")
    publish(root, root / "relu", "tiny-relu", count=4, with_host=False, remark="a remark", comparison="the baseline")
    with pytest.raises(ConfigError, match="tiny-relu was measured on 4 images, and this would be on 3; .*: --count 4."):
        publish_run(root, comparison="", twin="tiny-relu", count=3)
    folder = publish_run(root, comparison="", twin="tiny-relu")
    found = json.loads((folder / "results.json").read_text())["gains"]
    names = [read_entry(root, name).evaluations[0] for name in ("tiny", "tiny-relu")]
    kept = [Report.from_json(read_record(root / EVALUATIONS / name)) for name in names]
    assert [row["attack"] for row in found] == ["clean", PGD]
    assert found[1]["points"] == kept[0].robust(0).percent - kept[1].robust(0).percent
    assert "Gain is the difference to its ReLU twin" in (folder / "README.md").read_text()


def test_a_twin_trained_otherwise_is_refused_and_one_replaced_leaves_the_other_card(
    root, trained, tiny, monkeypatch, capsys
):
    plain = replace(tiny, family="relu", arguments={})
    trained(root / "run", tiny)
    for name, config in (("relu", plain), ("longer", replace(plain, epochs=3))):
        trained(root / name, config)
    words = {"count": 4, "with_host": False, "remark": "a remark", "comparison": "the baseline"}
    publish(root, root / "longer", "tiny-relu", **words)
    with pytest.raises(ConfigError, match="tiny and its twin tiny-relu were not trained alike: epochs is 3 there and"):
        publish_run(root, comparison="", twin="tiny-relu")
    with pytest.raises(ConfigError, match="--twin is tiny, the set itself"):
        publish_run(root, comparison="", twin="tiny")
    assert not (root / "model_cards/tiny").exists()
    publish(root, root / "relu", "tiny-relu", **words)
    folder = publish_run(root, comparison="", twin="tiny-relu")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(module, "ROOT", root)
    options = ["--count", "4", "--remark", "a remark", "--comparison", "the baseline", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["training.publish", str(root / "longer"), "tiny-relu", *options])
    module.main()
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == str(root / "model_cards/tiny-relu/results.json")
    assert said.err.splitlines()[-1].startswith(
        "The card of tiny stays as it was: tiny and its twin tiny-relu were not trained alike: epochs is 3"
    )
    assert measure(root, str(root / "relu"), count=4).name == "tiny-seed3"  # another network's figures are kept
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    publish(root, root / "relu", "tiny-relu", count=4, with_host=False, remark="r", comparison="b", attacks=["fgsm"])
    assert [row["attack"] for row in json.loads((folder / "results.json").read_text())["gains"]] == ["clean"]


@pytest.mark.parametrize(
    ("name", "more", "kind", "message"),
    [
        ("tiny", {"attacks": ["pdg"]}, AttackError, "There is no attack 'pdg'"),
        ("tiny", {"device": "fpga"}, ConfigError, "--device fpga: this machine has none"),
        ("../tiny", {}, NameNotFoundError, "is no name of a repository; expected 'org/name'"),
    ],
)
def test_what_cannot_be_published_leaves_what_is_there_as_it_was(root, trained, tiny, name, more, kind, message):
    trained(root / "run", tiny)
    folder = publish_run(root)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(kind, match=message):
        publish(root, root / "run", name, count=4, with_host=True, remark="r", comparison="c", overhead="overhead.json",
                **more)  # fmt: skip
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in (root / "model_cards").iterdir()] == ["tiny"]


def test_a_publication_that_was_interrupted_stops_no_other(root, trained, tiny):
    trained(root / "run", tiny)
    (publish_run(root).rename(root / "model_cards/half") / "results.json").unlink()
    assert (publish_run(root) / "results.json").is_file()


def test_a_frozen_transfer_is_published_as_what_it_is(root, trained, tiny):
    trained(root / "giver", tiny)
    config = replace(tiny, activation=str(root / "giver/artifact"), frozen=True, seed=4, name="taker")
    trained(root / "run", config)
    folder = publish_run(root)
    given, taken = (load_file(f / "activations.safetensors") for f in (root / "giver/artifact", folder))
    assert all(torch.equal(given[key], taken[key]) for key in given)
    assert sparta_hub.load(folder)(torch.rand(1, 3, 32, 32)).shape == (1, 10)


def test_a_run_of_the_first_engine_is_published(root, trained, tiny):
    """Its record has few fields, and its one file of weights another name."""
    trained(root / "new", tiny)
    record = json.loads((root / "new/training.json").read_text())
    old = ("name", "host", "family", "dataset", "arguments", "placement", "method", "threat", "epochs", "batch_size",
           "lr", "momentum", "weight_decay", "label_smoothing", "ema_decay", "seed")  # fmt: skip
    row = {key: record[key] for key in ("steps", "images", "seconds", "commit", "torch", "python", "hardware")}
    row |= {"config": {key: record["config"][key] for key in old}, "losses": [2.3, 2.2]}
    (root / "run").mkdir()
    (root / "run/training.json").write_text(json.dumps(row))
    save_file(load_file(root / "new/last.safetensors"), root / "run/averaged.safetensors")
    assert sparta_hub.load(publish_run(root))(torch.rand(1, 3, 32, 32)).shape == (1, 10)
    assert json.loads((root / "training/records/tiny-seed3.json").read_text()) == row


def test_a_published_commit_stays_with_its_repository(root):
    path, folder = root / "sparta_hub/registry.json", root / "model_cards/tiny"
    spec = ActivationSpec("relu", {}, "last", (SiteSpec("G1.B2", None),))

    def lists(digest):
        config = ArtifactConfig(spec, {"activations.safetensors": digest})
        (folder / "config.json").write_text(json.dumps(config.to_json()))

    folder.mkdir(parents=True)
    lists("a" * 64)
    register(root, "tiny")
    new = json.loads(path.read_text())
    assert new["tiny"]["repo"] == "sparta-hub/tiny"
    released = {"tiny": {**new["tiny"], "repo": "acme/tiny", "revision": "0" * 40}}
    path.write_text(json.dumps(released))
    register(root, "tiny")
    assert json.loads(path.read_text()) == released
    lists("b" * 64)
    register(root, "tiny")
    changed = json.loads(path.read_text())["tiny"]
    assert (changed["repo"], changed["revision"]) == ("acme/tiny", None)


def test_a_run_that_is_not_finished_is_refused(root, trained, tiny):
    trained(root / "run", tiny)
    for path in (root / "run").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(ConfigError, match=r"run has no weights, so it is not finished; go on with it: --resume .*run"):
        publish_run(root)
    train(tiny, in_memory(tiny, noise(), World()), root / "stopped", stop=Stop(deadline=0))
    message = r"stopped has no training.json, so it is no finished run; go on with it: --resume .*/stopped"
    with pytest.raises(ConfigError, match=message):
        publish(root, root / "stopped", "tiny", count=4, with_host=True, remark="r", comparison="c")
    with pytest.raises(ConfigError, match=message):
        measure(root, str(root / "stopped"), count=4)


def test_records_never_replace_each_other(tmp_path):
    names = [keep({"number": i}, tmp_path, name="a-seed1").name for i in range(3)]
    assert names == ["a-seed1.json", "a-seed1-2.json", "a-seed1-3.json"]
    assert [json.loads((tmp_path / name).read_text())["number"] for name in names] == [0, 1, 2]


def test_a_record_that_a_full_disk_cut_off_does_not_stay(tmp_path):
    """Half a record would keep its name, and every command that reads all of them from working."""
    keep({"number": 0}, tmp_path, name="a")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            keep({"text": "x" * 20_000}, tmp_path, name="a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(("content", "message"), [(None, "FileNotFoundError"), ("{", "JSONDecodeError")])
def test_a_record_that_is_not_there_or_no_json_is_named(tmp_path, content, message):
    if content:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(ConfigError, match=f"a.json cannot be read as a record: {message}: "):
        read_record(tmp_path / "a.json")


def test_an_earlier_publication_stays_until_the_new_one_is_measured(root, trained, tiny, monkeypatch):
    trained(root / "run", tiny)
    folder = publish_run(root, attacks=["fgsm"])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    registered = (root / "sparta_hub/registry.json").read_bytes()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.publish.evaluation_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish_run(root, attacks=["fgsm"], which="last")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert (root / "sparta_hub/registry.json").read_bytes() == registered
