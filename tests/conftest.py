"""Shared fixtures. The loopback Hub has to be up before huggingface_hub is imported, also by timm: hence at the top."""

import os
import tempfile
from inspect import signature
from pathlib import Path

from tests.loopback_hub import LoopbackHub

_ROOT = Path(tempfile.mkdtemp(prefix="sparta-hub-tests-"))
HUB = LoopbackHub(_ROOT / "server", tokens={"hf_test": "acme"})
HUB.start()
os.environ |= HUB.client_env(_ROOT / "home") | {"HF_HUB_DISABLE_XET": "1"}
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and threads that wait for each other starve

import pytest  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
from timm.models.resnetv2 import ResNetV2  # noqa: E402

import sparta_hub  # noqa: E402
from sparta_hub.spec import Origin  # noqa: E402

HAS_PREACT = "basic" in signature(ResNetV2).parameters
needs_preact = pytest.mark.skipif(not HAS_PREACT, reason="timm before 1.0.10 has no pre-activation basic blocks")


# Where tests share what takes long to make: they run in one process, which makes it once.
TOGETHER = {"spaces/": "a server", "diagnostics/": "networks", "training/test_compare": "runs",
            "training/test_measure": "other runs", "training/test_publish": "other runs",
            "training/test_diagnosed": "other runs", "hub/test_verifying": "a measured set"}  # fmt: skip


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With several processes, tests go to whichever has nothing to do, but for those that run in one."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return next((group for where, group in TOGETHER.items() if nodeid.startswith(f"tests/{where}")), nodeid)

    return Together(config, log)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tiny networks gain nothing from threads, and on a busy machine they wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def hub():
    HUB.reset()
    return HUB


HOST = "test_resnet" if timm.is_model("test_resnet") else "resnet10t"  # as small as timm has one with four stages
HOST_TAG = timm.list_pretrained(f"{HOST}.*")[0]


def small_host(name: str = HOST, **kwargs):
    return timm.create_model(name, num_classes=10, **kwargs)


ORIGIN = Origin(HOST, 10, 64, "timm", "fashion_mnist", "Linf 8/255")


@pytest.fixture(scope="session")
def artifact(tmp_path_factory) -> Path:
    """An artifact folder with its host, untrained but with moved BatchNorm statistics. Do not write into it."""
    from sparta_hub.spec import ActivationSpec, SiteSpec

    torch.manual_seed(0)
    host = small_host()
    arguments = {"kernel_size": 1, "hidden": 16, "dynamic": True, "neighborhood": 1}
    where = tuple(SiteSpec(s.name, s.channels) for s in sparta_hub.sites(host, "last"))
    sparta_hub.inject(host, ActivationSpec("sparta", arguments, "last", where))
    host.train()(torch.rand(4, 3, 64, 64))
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    sparta_hub.save(host.eval(), folder, with_host=True, origin=ORIGIN)
    return folder


@pytest.fixture
def copied(artifact, tmp_path) -> Path:
    """A copy of the artifact that a test may damage."""
    import shutil

    return Path(shutil.copytree(artifact, tmp_path / "copy"))
