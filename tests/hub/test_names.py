"""Names: folders, bundled names, and the real Hub client against the loopback server."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import HfApi

import sparta_hub
from sparta_hub.artifacts import sha256_of
from sparta_hub.errors import ArtifactError, NameNotFoundError, SiteError
from sparta_hub.hub import resolve
from sparta_hub.surgery import state_of
from sparta_hub.zoo import bundled_folder, registry
from tests.conftest import ORIGIN, small_host

BUNDLED = "sparta-res18-cifar"


def publish(folder: Path, repo: str = "acme/tiny") -> str:
    api = HfApi()
    api.create_repo(repo, exist_ok=True)
    return api.upload_folder(repo_id=repo, folder_path=folder).oid


def test_every_bundled_name_is_listed_and_matches_its_checksums():
    assert BUNDLED in sparta_hub.list_models()
    for name, entry in registry().items():
        folder = bundled_folder(name)
        assert folder is not None
        for file, digest in entry.files.items():
            if (folder / file).exists() or not file.startswith("model"):
                assert sha256_of(folder / file) == digest, f"{name}/{file} is not what registry.json says"
        assert entry.revision is None or len(entry.revision) == 40


def test_the_bundled_set_fits_the_host_it_was_trained_in_and_another():
    for host in ("resnet18_cifar", "resnet34_cifar"):
        model = sparta_hub.load(BUNDLED, model=host, num_classes=43, frozen=True)
        assert sum(site.parameters for site in sparta_hub.status(model)) == 811_528
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 43)


def test_info_tells_spec_and_results():
    found = sparta_hub.info(BUNDLED)
    assert found.spec.origin
    assert found.spec.origin.host == "resnet18_cifar"
    assert [site.channels for site in found.spec.sites] == [64, 128, 256, 512]
    assert found.results["training"]["recipe"]
    assert {row["images"] >= 1000 for row in found.results["evaluation"]} == {True}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sparta-res18-cifr", "Nothing is called 'sparta-res18-cifr'. Did you mean 'sparta-res18-cifar'?"),
        ("SPARTA-Res18-CIFAR", "Did you mean 'sparta-res18-cifar'?"),
        ("zzz", r"Nothing is called 'zzz'. Expected a folder, one of .*sparta-res18-cifar"),
        ("./nowhere", "./nowhere is no folder; expected one with config.json and activations.safetensors"),
        (Path("nowhere/at/all"), "is no folder"),
        ("../../../nowhere", "is no folder"),
        ("~/nowhere", "~/nowhere is no folder; expected one with config.json"),
        ("runs\\mine", r"runs\\mine is no folder; expected one with config.json"),
        ("", "Nothing is called ''"),
        ("a" * 300, r"Nothing is called 'a+\.\.\.\. Expected a folder"),
        ("a\0b", r"Nothing is called 'a\\x00b'"),
    ],
)
def test_unknown_names_are_answered(name, message):
    with pytest.raises(NameNotFoundError, match=message):
        sparta_hub.load(name)


def test_a_tilde_is_the_home_folder(artifact, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    model = sparta_hub.load(artifact)
    assert sparta_hub.save(model, "~/sets/mine", origin=ORIGIN) == tmp_path / "home/sets/mine"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]  # and no folder called ~
    for name in ("~/sets/mine", Path("~/sets/mine")):
        assert sparta_hub.info(name).folder == tmp_path / "home/sets/mine"
        assert {file.state for file in sparta_hub.verify_files(name)} == {"ok"}
        assert sparta_hub.push_to_hub(name, "me/mine", dry_run=True).files
    with pytest.raises(NameNotFoundError, match="~nobody-at-all/x is no folder"):
        sparta_hub.load("~nobody-at-all/x")


def test_a_name_that_may_be_a_folder_or_a_repository_is_said_to_be_neither(hub):
    message = r"There is no folder runs/mine here. The Hub \(http.*\) has no runs/mine, or it is private"
    with pytest.raises(NameNotFoundError, match=message):
        sparta_hub.load("runs/mine")


def test_a_model_is_a_network_or_a_name():
    others: list[Any] = [timm.create_model, 18, ["resnet18"]]
    for model in others:
        with pytest.raises(
            SiteError, match=r"model is .*; expected a network, such as timm.create_model\('resnet18'\)"
        ):
            sparta_hub.load(BUNDLED, model=model)


def test_an_empty_folder_says_what_is_missing(tmp_path):
    with pytest.raises(ArtifactError, match="has no config.json; expected an artifact folder"):
        sparta_hub.load(tmp_path)


def test_check_takes_a_name_and_a_spec():
    assert sparta_hub.check(BUNDLED, "resnet34_cifar").compatible
    refused = sparta_hub.check(sparta_hub.info(BUNDLED).spec, "resnet50")
    assert not refused.compatible
    assert "resnet34" in refused.hosts


def test_load_from_the_hub_by_name_branch_and_commit(hub, artifact):
    commit = publish(artifact)
    want = state_of(sparta_hub.load(artifact, model=small_host()))
    for name in ("acme/tiny", "acme/tiny@main", f"acme/tiny@{commit}"):
        have = state_of(sparta_hub.load(name, model=small_host(), frozen=True))
        assert all(torch.equal(have[key], want[key]) for key in want)
    hub.log.clear()
    sparta_hub.load(f"acme/tiny@{commit}", model=small_host())
    assert not hub.log  # a commit that is cached needs no request


def test_host_weights_are_fetched_only_when_they_are_asked_for(hub, artifact):
    publish(artifact, "acme/whole")
    sparta_hub.load("acme/whole", model=small_host())
    assert not any("model.safetensors" in str(request.url) for request in hub.log)
    sparta_hub.load("acme/whole")
    assert any("model.safetensors" in str(request.url) for request in hub.log)


def test_config_and_weights_come_from_one_commit(hub, artifact, copied):
    first = publish(artifact, "acme/moving")
    shutil.copy(artifact / "README.md", copied) if (artifact / "README.md").exists() else None
    config = json.loads((copied / "config.json").read_text())
    config["library_version"] = "9.9.9"
    (copied / "config.json").write_text(json.dumps(config))
    publish(copied, "acme/moving")
    assert json.loads((resolve(f"acme/moving@{first}") / "config.json").read_text())["library_version"] != "9.9.9"
    assert json.loads((resolve("acme/moving") / "config.json").read_text())["library_version"] == "9.9.9"


@pytest.mark.parametrize(
    "name",
    ["a/..", "../a", "org/name@../../../x", "org/name@a/../b", "org/name@/etc", "org/name@a//b", "a--b/c", "a..b/c",
     "a/.b", "org/name@.hidden", "org/na\nme", "ørg/name", "a/b/c", "org/name@"],
)  # fmt: skip
def test_names_that_could_leave_the_cache_are_no_names(hub, name):
    with pytest.raises(NameNotFoundError, match="Nothing is called|is no folder|is no name of a repository"):
        sparta_hub.load(name)
    assert not hub.log


def test_a_repository_of_something_else_is_no_artifact(hub, tmp_path):
    (tmp_path / "hello.txt").write_text("hi")
    publish(tmp_path, "acme/other")
    with pytest.raises(
        ArtifactError, match="acme/other is no sparta-hub artifact, or not a whole one: it has no config.json"
    ):
        sparta_hub.load("acme/other", model=small_host())


def test_import_is_light():
    code = (
        "import sys, torch; before = set(sys.modules); import sparta_hub; sparta_hub.ThreatModel; "
        "heavy = {'timm', 'torchvision', 'gradio', 'matplotlib', 'huggingface_hub'}; "
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_all_there():
    for name in sparta_hub.__all__:
        assert getattr(sparta_hub, name) is not None
        assert not str(type(getattr(sparta_hub, name))).startswith("<class 'module'"), f"{name} is hidden by a module"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sparta_hub.nonsense  # noqa: B018
    assert sparta_hub.__all__ == sorted(sparta_hub.__all__)
    assert set(sparta_hub.__all__) == set(sparta_hub._HOME)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (BUNDLED, 'holds the activations; .*Say which network they go into: .*, model="resnet18_cifar"'),
        ("relu-res18-cifar", "is a baseline, a trained resnet18_cifar with relu and no activations for other networks, "
         "and its trained weights are not in .*Load a folder that holds them; in a checkout of sparta-hub: "
         r'sparta_hub.load\("model_cards/relu-res18-cifar"\)$'),
    ],
)  # fmt: skip
def test_without_its_host_a_set_asks_for_another_and_a_baseline_for_its_own(name, message, tmp_path, monkeypatch):
    source = bundled_folder(name)
    assert source
    for file in ("config.json", "activations.safetensors"):  # as in the wheel
        shutil.copy(source / file, tmp_path)
    monkeypatch.setattr("sparta_hub.hub.names.bundled_folder", lambda _name: tmp_path)
    with pytest.raises(ArtifactError, match=message) as caught:
        sparta_hub.load(name)
    assert ("model=" in str(caught.value)) == (name == BUNDLED)
    if name != BUNDLED:
        with pytest.raises(ArtifactError, match="Load a folder that holds them$"):
            sparta_hub.load(tmp_path)


def test_a_bundled_set_that_is_not_the_registrys_is_refused(monkeypatch, artifact):
    monkeypatch.setattr("sparta_hub.hub.names.bundled_folder", lambda _name: artifact)
    with pytest.raises(ArtifactError, match="is not the one that registry.json knows; reinstall sparta-hub"):
        sparta_hub.load(BUNDLED, model=small_host())
