"""From a finished run, also of an older engine, to an artifact folder with card, results and record."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import sparta_hub
from sparta_hub.errors import ReportError
from tests.training.conftest import noise
from training import publish
from training.data import in_memory
from training.engine import train
from training.errors import ConfigError
from training.parallel import World
from training.records import keep
from training.twins import latest_evaluation


def publish_run(root, **more):
    options = {"count": 4, "with_host": True, "remark": "a remark", "comparison": "a comparison", **more}
    return publish.publish(root / "run", "tiny", **options)


def test_a_run_becomes_an_artifact_that_loads(root, tiny):
    train(tiny, in_memory(tiny, noise(), World()), root / "run")
    folder = publish_run(root, attacks=["fgsm"])
    model = sparta_hub.load(folder)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    best = load_file(root / "run/best.safetensors")
    assert torch.allclose(model.state_dict()["fc.weight"], best["fc.weight"], atol=1e-3)  # float16
    assert tiny.host in (folder / "README.md").read_text()
    results = json.loads((folder / "results.json").read_text())
    assert [row["attack"] for row in results["evaluation"]] == [
        "clean", "PGD-20, Linf 8/255, step ε/4", "fgsm, Linf 8/255",
    ]  # fmt: skip
    for row in results["evaluation"]:
        assert {"accuracy", "low", "high", "correct", "images", "seed", "seconds", "commit", "hardware"} <= row.keys()
        assert row["images"] == 4
        assert row["accuracy"] == 25 * row["correct"]
    assert (results["training"]["weights"], results["training"]["steps"]) == ("best", 8)
    assert json.loads((root / "sparta_hub/registry.json").read_text())["tiny"]["revision"] is None
    record = json.loads((root / "training/records/tiny-seed3.json").read_text())
    assert (record["artifact"], record["evaluation"]) == ("tiny", results["evaluation"])
    publish_run(root, which="last")
    assert json.loads((folder / "results.json").read_text())["training"]["weights"] == "last"
    assert (root / "training/records/tiny-seed3-2.json").is_file()
    assert json.loads((root / "training/records/tiny-seed3.json").read_text()) == record


def test_a_card_gives_the_gain_over_its_twin_image_by_image(root, tiny):
    train(replace(tiny, family="relu", arguments={}), in_memory(tiny, noise(), World()), root / "relu")
    train(tiny, in_memory(tiny, noise(), World()), root / "run")
    with pytest.raises(ConfigError, match="--twin NAME, or --comparison"):
        publish_run(root, comparison="")
    with pytest.raises(ConfigError, match="has no evaluation of tiny-relu; publish it first, with the same --count"):
        publish_run(root, comparison="", twin="tiny-relu")
    publish.publish(root / "relu", "tiny-relu", count=4, with_host=False, remark="a remark", comparison="the baseline")
    with pytest.raises(ReportError, match="tiny was evaluated with images 3 and tiny-relu with 4"):
        publish_run(root, comparison="", twin="tiny-relu", count=3)
    folder = publish_run(root, comparison="", twin="tiny-relu")
    found = json.loads((folder / "results.json").read_text())["gains"]
    kept = [latest_evaluation(name, root / "training/records/evaluations") for name in ("tiny", "tiny-relu")]
    assert [row["attack"] for row in found] == ["clean", "PGD-20, Linf 8/255, step ε/4", "worst case of each image"]
    assert found[1]["points"] == kept[0].robust(0).percent - kept[1].robust(0).percent
    assert "Beside its ReLU twin" in (folder / "README.md").read_text()


def test_a_frozen_transfer_is_published_as_what_it_is(root, tiny):
    train(tiny, in_memory(tiny, noise(), World()), root / "giver")
    config = replace(tiny, activation=str(root / "giver/artifact"), frozen=True, seed=4, name="taker")
    train(config, in_memory(config, noise(), World()), root / "run")
    folder = publish_run(root)
    given, taken = (load_file(f / "activations.safetensors") for f in (root / "giver/artifact", folder))
    assert all(torch.equal(given[key], taken[key]) for key in given)
    assert sparta_hub.load(folder)(torch.rand(1, 3, 32, 32)).shape == (1, 10)


def test_a_run_of_the_first_engine_is_published(root, tiny):
    """Its record has few fields, and its one file of weights another name."""
    train(tiny, in_memory(tiny, noise(), World()), root / "new")
    record = json.loads((root / "new/training.json").read_text())
    old = ("name", "host", "family", "dataset", "arguments", "placement", "method", "threat", "epochs", "batch_size",
           "lr", "momentum", "weight_decay", "label_smoothing", "ema_decay", "seed")  # fmt: skip
    row = {key: record[key] for key in ("steps", "images", "seconds", "commit", "torch", "python", "hardware")}
    row |= {"config": {key: record["config"][key] for key in old}, "losses": [2.3, 2.2]}
    (root / "run").mkdir()
    (root / "run/training.json").write_text(json.dumps(row))
    save_file(load_file(root / "new/last.safetensors"), root / "run/averaged.safetensors")
    assert sparta_hub.load(publish_run(root))(torch.rand(1, 3, 32, 32)).shape == (1, 10)
    kept = json.loads((root / "training/records/tiny-seed3.json").read_text())
    assert kept["config"] == row["config"]


def test_a_run_that_is_not_finished_is_refused(root, tiny):
    train(tiny, in_memory(tiny, noise(), World()), root / "run")
    for path in (root / "run").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(ConfigError, match=r"run has no weights, so it is not finished; go on with it: --resume .*run"):
        publish_run(root)


def test_records_never_replace_each_other(tmp_path):
    record = {"config": {"name": "a", "seed": 1}}
    names = [keep(record | {"number": i}, tmp_path).name for i in range(3)]
    assert names == ["a-seed1.json", "a-seed1-2.json", "a-seed1-3.json"]
    assert [json.loads((tmp_path / name).read_text())["number"] for name in names] == [0, 1, 2]
