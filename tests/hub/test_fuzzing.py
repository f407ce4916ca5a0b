import json
import struct
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from safetensors.torch import load, save

from sparta_hub.artifacts import WEIGHTS, read_artifact, read_tensors, sha256_of
from sparta_hub.errors import ArtifactError
from tests.hub.fuzzing import HEALTH, VALID, artifacts, read
from tests.hub.processes import ROOT


@settings(max_examples=150, deadline=None, suppress_health_check=(*HEALTH, HealthCheck.function_scoped_fixture))
@given(artifacts())
def test_whatever_arrives_is_read_or_refused(tmp_path_factory, pair):
    read(pair[0], pair[1], tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("family", sorted(VALID))
def test_the_unchanged_ones_are_read(family, tmp_path):
    """Else the fuzzer would only see files that are refused at the first look."""
    config, weights = VALID[family]
    (tmp_path / WEIGHTS).write_bytes(weights)
    config = {**config, "files": {WEIGHTS: sha256_of(tmp_path / WEIGHTS)}}
    assert read(json.dumps(config).encode(), weights, tmp_path) == "read"


def test_ten_thousand_sites_and_the_weights_of_two(tmp_path):
    """A config of 1 MB made modules for 400 MB and half a minute before its file was looked at."""
    config, weights = json.loads(json.dumps(VALID["sparta"][0])), VALID["sparta"][1]
    config["activation"]["sites"] = [
        {"name": f"G{i // 100 + 1}.B{i % 100 + 1}", "channels": 512} for i in range(10_000)
    ]
    (tmp_path / WEIGHTS).write_bytes(weights)
    config["files"] = {WEIGHTS: sha256_of(tmp_path / WEIGHTS)}
    assert read(json.dumps(config).encode(), weights, tmp_path) == "ArtifactError"
    with pytest.raises(ArtifactError, match="10000 sites of sparta have 20 tensors each and .* holds 40"):
        read_artifact(tmp_path)


def test_a_header_of_megabytes_is_not_parsed(tmp_path):
    """Found by fuzzing: safetensors takes 20 times the memory of a header full of numbers, and aborts without it."""
    (tmp_path / WEIGHTS).write_bytes(struct.pack("<Q", 12_000_000) + b'{"a":[' + b"1," * 6_000_000)
    with pytest.raises(ArtifactError, match="not a readable safetensors file: .*a header of 12,000,000 bytes"):
        read_tensors(tmp_path / WEIGHTS)


@pytest.mark.parametrize("what", ["shape", "name"])
def test_a_thousand_dimensions_or_letters_are_not_repeated(what, tmp_path):
    """Found by fuzzing: a tensor of 1,000 dimensions of one was answered with all of them."""
    config, weights = VALID["prelu"]
    tensors = load(weights)
    first = next(iter(tensors))
    odd = {first: tensors[first].reshape(tensors[first].shape + (1,) * 1000)} if what == "shape" else {
        "x" * 3000: torch.zeros(1)
    }  # fmt: skip
    changed = save(tensors | odd)
    (tmp_path / WEIGHTS).write_bytes(changed)
    config = {**config, "files": {WEIGHTS: sha256_of(tmp_path / WEIGHTS)}}
    assert read(json.dumps(config).encode(), changed, tmp_path) == "ArtifactError"
    with pytest.raises(ArtifactError, match=r"this spec needs|are unknown \('xxx"):
        read_artifact(tmp_path)


@pytest.mark.slow
def test_half_an_hour_with_a_limit_on_memory():
    command = [sys.executable, "-m", "tests.hub.fuzzing", "--minutes", "30", "--memory", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
