import json

from click.testing import CliRunner

import sparta_hub
from sparta_hub.cli import main
from tests.conftest import HOST
from tests.hub.conftest import REPO


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_push_list_load_and_verify(hub, cache, artifact):
    planned = run("push", artifact, REPO, "--dry-run")
    assert planned.exit_code == 0
    assert planned.output.startswith(f"would push {REPO}: sparta at 4 sites, sparta-hub {sparta_hub.__version__}\n")
    assert f"{(artifact / 'config.json').stat().st_size:,}  config.json" in planned.output
    assert not hub.log
    (pushed,) = json.loads(run("push", artifact, REPO, "--tag", "v1", "--private", "--json").output)
    assert hub.repos["model", REPO].tags == {"v1": pushed["commit"]}
    assert hub.repos["model", REPO].private
    assert run("list", "--hub").output == f"{REPO}\n"
    assert json.loads(run("list", "--hub", "--author", "bob", "--json").output) == []
    loaded = run("load", f"{REPO}@v1", "--model", HOST, "--num-classes", 3)
    assert loaded.exit_code == 0
    assert loaded.output.split()[:2] == ["G1.B1", "layer1.0.act2"]
    assert json.loads(run("load", f"{REPO}@v1", "--json").output)[0]["frozen"] is True
    states = run("verify-files", f"{REPO}@{pushed['commit']}")
    assert (states.exit_code, states.output.splitlines()[0]) == (0, "ok       activations.safetensors")


def test_exit_codes_and_messages(hub, cache, copied):
    refused = run("push", copied, "nobody")
    assert refused.exit_code == 1
    assert "sparta-hub: 'nobody' is no name of a repository; expected 'org/name'." in refused.output
    (copied / "model.safetensors").write_bytes(b"x")
    damaged = run("verify-files", copied)
    assert damaged.exit_code == 1
    assert "damaged  model.safetensors" in damaged.output
    (copied / "model.safetensors").unlink()
    missing = run("verify-files", copied, "--json")
    assert missing.exit_code == 0
    assert json.loads(missing.output)[2] == {"name": "model.safetensors", "state": "missing", "needed": False}


def test_release_and_push_space_show_what_they_would_do(hub, tmp_path):
    planned = run("release", "--namespace", "acme", "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert "would push acme/sparta-res18-cifar" in planned.output
    (tmp_path / "README.md").write_text("---\ntitle: t\nsdk: gradio\nsdk_version: 6.31.0\n---\n")
    (tmp_path / "app.py").write_text("")
    (tmp_path / "requirements.txt").write_text("sparta-hub\n")
    assert "would push acme/demo: App for sparta-hub" in run("push-space", tmp_path, "acme/demo", "--dry-run").output
    assert not hub.log
