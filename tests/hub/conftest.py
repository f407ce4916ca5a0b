"""A Hub with one published artifact, a cache of the test's own, and another user than its owner."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

import sparta_hub
from sparta_hub.artifacts import CONFIG, RESULTS, read_config, sha256_of
from sparta_hub.saving import to_json_bytes
from tests.conftest import HUB

REPO = "acme/tiny"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache; in this process the client reads its place at every call, in others from ``HF_HOME``."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    return tmp_path / "home" / "hub"


@pytest.fixture
def published(hub, cache, artifact) -> str:
    """The commit of ``REPO``, which holds the artifact; requests before are forgotten."""
    commit = sparta_hub.push_to_hub(artifact, REPO).commit
    hub.log.clear()
    assert commit
    return commit


@pytest.fixture
def weights_blob(hub, published) -> Iterator[Path]:
    """Where the server keeps the weights; damage is mended afterwards, for blobs outlive a test."""
    repo = hub.repos["model", REPO]
    path = hub.blobs / repo.commits[published].tree["activations.safetensors"].etag
    data = path.read_bytes()
    yield path
    path.write_bytes(data)


@pytest.fixture
def as_bob(monkeypatch):
    """Speak as somebody who owns nothing."""
    monkeypatch.setitem(HUB.tokens, "hf_bobs_own_token", "bob")
    monkeypatch.setenv("HF_TOKEN", "hf_bobs_own_token")
    assert os.environ["HF_TOKEN"] not in ("", "hf_test")


def put(folder: Path, results: Any) -> None:
    """Write ``results.json``, with its checksum in the config."""
    (folder / RESULTS).write_bytes(to_json_bytes(results))
    config = read_config(folder).to_json()
    config["files"][RESULTS] = sha256_of(folder / RESULTS)
    (folder / CONFIG).write_bytes(to_json_bytes(config))


def unfinished(cache: Path) -> list[Path]:
    """What a failed download left in the cache."""
    return [path for path in cache.rglob("*") if path.name.endswith((".incomplete", ".part"))]
