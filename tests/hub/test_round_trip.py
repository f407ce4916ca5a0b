"""Train, save, push; another process loads by name and commit into another host: the same logits, by LFS and by Xet."""

import hashlib

import huggingface_hub
import pytest
import timm
import torch

import sparta_hub
from tests.conftest import small_host
from tests.hub.processes import finish, start
from tests.loopback_hub import LoopbackHub

OTHER_HOST = """
import sys, hashlib, timm, torch, sparta_hub
torch.manual_seed(1)
host = timm.create_model("resnet18", num_classes=5)
model = sparta_hub.load(sys.argv[1], model=host, frozen=True).eval()
x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
print(hashlib.sha256(model(x).detach().numpy().tobytes()).hexdigest())
"""
PUSH_FIRST = """
import sys, sparta_hub
sys.argv[1] = "acme/trained@" + sparta_hub.push_to_hub(sys.argv[1], "acme/trained").commit
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An artifact after one step of training, and the logits of another host with it."""
    torch.manual_seed(0)
    host = small_host("resnet10t")
    sparta_hub.inject(host, "sparta", arguments={"hidden": 8})
    optimizer = torch.optim.SGD(host.parameters(), lr=0.1)
    loss = torch.nn.functional.cross_entropy(host.train()(torch.rand(4, 3, 64, 64)), torch.arange(4))
    loss.backward()
    optimizer.step()
    folder = sparta_hub.save(host.eval(), tmp_path_factory.mktemp("trained") / "set")
    torch.manual_seed(1)
    model = sparta_hub.load(folder, model=other_host(), frozen=True).eval()
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    return folder, hashlib.sha256(model(x).detach().numpy().tobytes()).hexdigest()


def other_host():
    return timm.create_model("resnet18", num_classes=5)


def test_by_lfs_and_from_a_model_in_memory(hub, trained, tmp_path):
    folder, logits = trained
    pushed = sparta_hub.push_to_hub(folder, "acme/trained")
    assert any("info/lfs/objects/batch" in str(request.url) for request in hub.log)
    assert finish(start(OTHER_HOST, f"acme/trained@{pushed.commit}", home=tmp_path)) == logits
    again = sparta_hub.push_to_hub(sparta_hub.load(folder, model=other_host()), "acme/from-a-model")
    assert dict(again.files)["activations.safetensors"] == (folder / "activations.safetensors").stat().st_size


@pytest.mark.skipif(
    huggingface_hub.__version__ < "2", reason="1.x negotiates Xet in a way the loopback Hub does not know"
)
def test_by_xet_which_is_the_clients_default(trained, tmp_path):
    pytest.importorskip("hf_xet")
    folder, logits = trained
    server = LoopbackHub(tmp_path / "server", xet=True)
    server.start()
    try:
        env = server.client_env(tmp_path / "home") | {"HF_HUB_DISABLE_XET": "0"}
        env = {key: env[key] for key in env if key != "HF_HOME"}
        assert finish(start(PUSH_FIRST + OTHER_HOST, folder, home=tmp_path / "b", **env)) == logits
    finally:
        server.stop()
    asked = " ".join(str(request.url) for request in server.log)
    assert "xet-write-token" in asked
    assert "xet-read-token" in asked
    assert "info/lfs" not in asked
