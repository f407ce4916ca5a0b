"""What a record says, by value."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from sparta_hub.artifacts import sha256_of
from training import records
from training.checkpoints import Progress
from training.records import finish
from training.settings import from_json
from training.validation import Validation


def validation(step, loss, clean, pgd):
    return Validation(step, step / 4, loss, clean, pgd)


@pytest.fixture
def progress():
    """Forty steps on two machines; the best weights are of the second validation, and it collapses at the fourth."""
    history = [validation(10, 2.0, 50.0, 20.0), validation(20, 1.9, 55.0, 30.0), validation(25, 1.8, 56.0, 30.0),
               validation(30, 1.7, 80.0, 1.0), validation(40, 1.6, 81.0, 2.0)]  # fmt: skip
    log = [{"kind": "loss", "step": step, "epoch": step / 4, "loss": step + 1 / 3} for step in range(4, 41, 4)]
    log.insert(3, {"kind": "validation", "step": 10, "epoch": 2.5, "clean": 50.0, "pgd": 20.0})
    launches = [{"step": 0, "hardware": "slow", "commit": "a"}, {"step": 12, "hardware": "fast", "commit": "b"}]
    return Progress(40, 12.345, history=history, log=log, launches=launches)


def test_a_record_says_what_was_trained_where_and_which_weights_are_which(tiny, tmp_path, monkeypatch, progress):
    monkeypatch.setattr(records, "LOSSES", 4)
    monkeypatch.setattr(records, "draw_curve", lambda *_, **__: None)
    config = replace(tiny, family="relu", arguments={})
    weights = {name: {"weight": torch.tensor([value])} for name, value in (("last", 1.0), ("best", 2.0))}
    data = {"dataset": "cifar10", "sha256": "c"}
    finish(tmp_path, config, data, progress, weights["last"], weights["best"], num_classes=10, size=32)
    record = json.loads((tmp_path / "training.json").read_text())
    assert from_json(record["config"]) == config
    assert (record["data"], record["steps"], record["images"], record["seconds"]) == (data, 40, 320, 12.3)
    assert record["overfitted_at_step"] == 30
    assert [row["step"] for row in record["validations"]] == [10, 20, 25, 30, 40]
    assert record["losses"] == [[4, 4.3333], [16, 16.3333], [28, 28.3333], [40, 40.3333]]  # every third of ten
    assert record["launches"] == progress.launches
    assert (record["hardware"], record["commit"]) == ("fast", "b")  # where it came to its end
    for name, (step, clean, pgd) in {"best": (20, 55.0, 30.0), "last": (40, 81.0, 2.0)}.items():
        path = tmp_path / f"{name}.safetensors"
        assert record[name] == {"step": step, "clean": clean, "pgd": pgd, "files": {path.name: sha256_of(path)}}
        assert load_file(path)["weight"].equal(weights[name]["weight"])
    assert not (tmp_path / "artifact").exists()  # ReLU is no activation set
