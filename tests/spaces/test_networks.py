"""Which artifacts are shown, and which is whose twin."""

import json
import shutil
from dataclasses import replace

import networks
import pytest
from networks import find_entries, twin_of

from sparta_hub.artifacts import sha256_of


def test_sparta_comes_first_and_relu_last(entries):
    assert list(entries) == ["sparta-tiny", "relu-tiny"]
    assert [entry.label for entry in entries.values()] == ["SPARTA", "ReLU"]


def test_the_zoo_of_the_checkout_is_found():
    found = find_entries()
    assert "sparta-res18-cifar" in found
    assert found["sparta-res18-cifar"].classes[:2] == ("airplane", "automobile")


def test_artifacts_pushed_along_come_before_the_zoo(zoo, tmp_path):
    shutil.copytree(zoo / "relu-tiny", tmp_path / "sparta-tiny")
    assert find_entries([tmp_path, zoo])["sparta-tiny"].family == "relu"
    assert find_entries([zoo, tmp_path])["sparta-tiny"].family == "sparta"


def test_without_host_weights_there_is_nothing_to_show(artifact, zoo, tmp_path):
    shutil.copytree(zoo / "sparta-tiny", tmp_path / "bare")
    for path in (tmp_path / "bare").glob("model*.safetensors"):
        path.unlink()
    assert find_entries([tmp_path]) == {}


@pytest.mark.parametrize("file", ["activations.safetensors", "results.json"])
def test_a_damaged_artifact_does_not_take_the_others_down(zoo, tmp_path, file):
    shutil.copytree(zoo, tmp_path, dirs_exist_ok=True)
    (tmp_path / "sparta-tiny" / file).write_bytes(b"x")
    assert list(find_entries([tmp_path])) == ["relu-tiny"]


def test_the_twin_is_made_alike_in_all_but_the_family(entries):
    sparta, relu = entries.values()
    assert twin_of(sparta, entries) is relu
    assert twin_of(relu, entries) is None
    assert twin_of(sparta, {"sparta-tiny": sparta}) is None


def changed(entry, key, value):
    training = {**entry.info.results["training"], key: value}
    return replace(entry, info=replace(entry.info, results={**entry.info.results, "training": training}))


def test_another_training_is_no_twin(entries):
    sparta, relu = entries.values()
    for key in networks.SAME_TRAINING:
        assert twin_of(sparta, {"relu-tiny": changed(relu, key, "other")}) is None, key


def test_another_origin_or_other_sites_are_no_twin(entries):
    sparta, relu = entries.values()
    spec = relu.info.spec
    for other in (replace(spec, origin=replace(spec.origin, threat="Linf 4/255")), replace(spec, sites=spec.sites[:3])):
        assert twin_of(sparta, {"relu-tiny": replace(relu, info=replace(relu.info, spec=other))}) is None


def test_without_a_record_of_training_there_is_no_twin(entries):
    sparta, relu = (replace(e, info=replace(e.info, results={})) for e in entries.values())
    assert twin_of(sparta, {"relu-tiny": relu}) is None


def test_the_checksum_is_of_weights_and_of_nothing_else(entries, zoo, tmp_path):
    folder = shutil.copytree(zoo / "sparta-tiny", tmp_path / "sparta-tiny")
    (folder / "results.json").write_text("{}")
    config = json.loads((folder / "config.json").read_text())
    config["files"]["results.json"] = sha256_of(folder / "results.json")
    (folder / "config.json").write_text(json.dumps(config))
    before = entries["sparta-tiny"].weights_sha256
    assert find_entries([tmp_path])["sparta-tiny"].weights_sha256 == before
    assert entries["relu-tiny"].weights_sha256 != before
