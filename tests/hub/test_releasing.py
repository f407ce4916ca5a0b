"""The maintainers' release: every short name pushed, pinned and collected; then short names load from their pins."""

import json
import shutil
import time
from dataclasses import replace

import pytest

import sparta_hub
from sparta_hub.artifacts import CONFIG, sha256_of
from sparta_hub.errors import ArtifactError, HubError
from sparta_hub.hub import release
from sparta_hub.zoo import NAMESPACE, Entry, read_registry, registry, write_registry
from tests.conftest import small_host
from tests.hub.processes import ROOT


@pytest.fixture
def zoo(artifact, tmp_path, hub, cache):
    """A source folder with two artifacts and their registry, not published yet."""
    entries = {}
    for name in ("tiny-one", "tiny-two"):
        folder = shutil.copytree(artifact, tmp_path / "cards" / name)
        files = {CONFIG: sha256_of(folder / CONFIG), **json.loads((folder / CONFIG).read_text())["files"]}
        entries[name] = Entry(name, f"{NAMESPACE}/{name}", None, files)
    write_registry(tmp_path / "registry.json", entries)
    return tmp_path


def run(zoo, **settings):
    return release(zoo / "cards", namespace="acme", registry_file=zoo / "registry.json", **settings)


def test_pins_tags_and_the_collection(zoo, hub):
    pushed = run(zoo, tags=["v0.1.0"])
    entries = read_registry(zoo / "registry.json")
    for one, name in zip(pushed, ("tiny-one", "tiny-two"), strict=True):
        assert entries[name].repo == one.repo == f"acme/{name}"
        assert entries[name].revision == one.commit
        assert hub.repos["model", one.repo].tags == {"v0.1.0": one.commit}
    (collection,) = hub.collections.values()
    assert [item["id"] for item in collection["items"]] == ["acme/tiny-one", "acme/tiny-two"]
    before = (zoo / "registry.json").read_bytes()
    assert [one.commit for one in run(zoo, tags=["v0.1.0"])] == [one.commit for one in pushed]
    assert (zoo / "registry.json").read_bytes() == before
    assert len(collection["items"]) == 2


def test_a_folder_without_the_artifacts_is_answered(zoo, tmp_path):
    with pytest.raises(ArtifactError, match="tiny-one has no config.json; expected an artifact folder"):
        release(tmp_path, registry_file=zoo / "registry.json", dry_run=True)


def test_a_short_name_that_is_not_in_the_wheel_is_fetched_at_its_pin(zoo, hub, monkeypatch):
    run(zoo)
    monkeypatch.setattr("sparta_hub.zoo.REGISTRY", zoo / "registry.json")
    assert sparta_hub.list_models() == ["tiny-one", "tiny-two"]
    hub.log.clear()
    assert sparta_hub.load("tiny-one", model=small_host()) is not None
    assert not any("model.safetensors" in str(request.url) for request in hub.log)
    assert sparta_hub.load("tiny-one").num_classes == 10  # now the network it was trained in too
    assert all(state.state == "ok" for state in sparta_hub.verify_files("tiny-one"))
    hub.log.clear()
    sparta_hub.load("tiny-one")
    assert not hub.log


def test_a_repository_that_is_not_what_the_registry_says_is_refused(zoo, hub, monkeypatch):
    """Somebody who may write to the repository cannot change what a short name means, not even with the same commit."""
    run(zoo)
    entries = read_registry(zoo / "registry.json")
    files = dict(entries["tiny-one"].files)
    for name in files:
        changed = Entry("tiny-one", "acme/tiny-one", entries["tiny-one"].revision, {**files, name: "0" * 64})
        write_registry(zoo / "other.json", {"tiny-one": changed})
        monkeypatch.setattr("sparta_hub.zoo.REGISTRY", zoo / "other.json")
        with pytest.raises(ArtifactError, match=f"{name} of acme/tiny-one arrived twice with another checksum"):
            sparta_hub.load("tiny-one")


def test_what_is_cached_already_has_to_be_what_the_registry_says_too(zoo, hub, monkeypatch):
    run(zoo)
    entry = read_registry(zoo / "registry.json")["tiny-one"]
    sparta_hub.load(f"{entry.repo}@{entry.revision}", model=small_host())  # by its own name anything may be loaded
    write_registry(zoo / "other.json", {"tiny-one": replace(entry, files={**entry.files, CONFIG: "0" * 64})})
    monkeypatch.setattr("sparta_hub.zoo.REGISTRY", zoo / "other.json")
    with pytest.raises(ArtifactError, match="config.json of acme/tiny-one arrived twice with another checksum"):
        sparta_hub.load("tiny-one", model=small_host())


def test_nothing_is_sent_when_one_folder_is_not_right(zoo, hub):
    (zoo / "cards" / "tiny-two" / "notes.txt").write_text("x")
    with pytest.raises(HubError, match="notes.txt is not expected"):
        run(zoo)
    (zoo / "cards" / "tiny-two" / "notes.txt").unlink()
    config = zoo / "cards" / "tiny-two" / CONFIG
    config.write_text(config.read_text().replace('"0.1.0"', '"0.1.1"'))
    with pytest.raises(ArtifactError, match=r"tiny-two is not what registry.json says of tiny-two \(config.json\)"):
        run(zoo)
    assert not hub.log


def test_an_interrupted_release_keeps_the_pins_it_has(zoo, hub, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the tries of the client: half a minute in all
    first = Entry("tiny-one", "acme/tiny-one", None, {})
    hub.intercept = lambda request: hub_is_ill() if "tiny-two" in request.url.path else None
    with pytest.raises(
        HubError, match=r"acme/tiny-two cannot be pushed: the Hub has a failure \(500\). Try again later"
    ):
        run(zoo)
    entries = read_registry(zoo / "registry.json")
    assert entries["tiny-one"].revision == hub.repos["model", first.repo].branches["main"]
    assert entries["tiny-two"].revision is None


def hub_is_ill():
    from starlette.responses import Response

    return Response(status_code=500)


def test_what_we_have_could_be_released_today(hub):
    planned = release(ROOT / "model_cards", dry_run=True)
    assert [one.repo for one in planned] == [f"{NAMESPACE}/{name}" for name in registry()]
    assert not hub.log
