"""What timm and torch do with a network, they do with one that holds our activations."""

import copy
import sys
from typing import Any

import pytest
import timm
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import sparta_hub.hosts  # noqa: F401  registers the small-image hosts
from sparta_hub.errors import SiteError
from sparta_hub.processes import leave_processes
from sparta_hub.surgery import disabled, eject, freeze, inject, injected, spec_of, status, unfreeze
from tests.processes import together

X = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))

SMALL: dict[str, Any] = {"channels": (8, 16, 24, 32), "layers": (1, 1, 1, 1)}  # the same kind of sites, and quick


def make(*, frozen=False, **settings) -> Any:
    """resnet18_cifar with few channels and SPARTA, whose statistics have seen something."""
    torch.manual_seed(0)
    host: Any = timm.create_model("resnet18_cifar", **SMALL, **settings)
    inject(host, "sparta")
    host.train()(X)
    if frozen:
        freeze(host, frozen=frozen)
    return host.eval()


# timm


@torch.no_grad()
def test_features_only_is_a_host_too():
    torch.manual_seed(0)
    host: Any = timm.create_model("resnet18_cifar", features_only=True).eval()
    own = host(X)
    spec = inject(host, "sparta", frozen=True)
    assert [site.channels for site in spec.sites] == [64, 128, 256, 512]
    maps = host(X)
    assert [m.shape for m in maps] == [m.shape for m in own]
    assert torch.equal(maps[0], own[0])  # before the first site
    assert not any(torch.equal(ours, theirs) for ours, theirs in zip(maps[1:], own[1:], strict=True))
    assert host.feature_info.channels() == [64, 64, 128, 256, 512]
    eject(host)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(host(X), own, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("name", ["legacy_xception", "mobilenetv3_small_050"])
def test_features_by_hooks_are_those_of_the_activations_put_in(name):
    host: Any = timm.create_model(name, features_only=True, feature_cls="hook").eval()
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    own = host(x)
    inject(host, "silu", placement="every")
    ours = host(x)
    assert [f.shape for f in ours] == [f.shape for f in own]
    assert not any(torch.equal(a, b) for a, b in zip(ours, own, strict=True))
    with disabled(host):
        assert all(torch.equal(a, b) for a, b in zip(host(x), own, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(eject(host)(x), own, strict=True))


@pytest.mark.parametrize(
    ("kind", "reason"), [("hook", "leave feature_cls out"), ("getter", "keeps the network inside: give its .model")]
)
def test_features_in_another_form_have_no_stages(kind, reason):
    host: Any = timm.create_model("resnet10t", features_only=True, feature_cls=kind)
    with pytest.raises(SiteError, match=f"no site for a block placement: features_only with .*{reason}"):
        inject(host, "sparta")


def test_features_only_with_some_stages_says_how_many_there_are():
    host: Any = timm.create_model("resnet18_cifar", features_only=True, out_indices=(1, 2))
    assert len(inject(host, "sparta").sites) == 2
    with pytest.raises(SiteError, match=r"has 4 stages .*FeatureListNet has 2"):
        inject(eject(host), spec_of(make()))


@torch.no_grad()
def test_forward_intermediates_and_features():
    host = make()
    last, maps = host.forward_intermediates(X)
    assert len(maps) == 5
    assert torch.equal(last, maps[-1])
    assert torch.equal(last, host.forward_features(X))
    assert torch.equal(host.forward_head(last), host(X))
    with disabled(host):
        assert not torch.equal(host.forward_features(X), last)


@torch.no_grad()
def test_reset_classifier_leaves_the_activations_alone():
    host = make(frozen=True)
    before, features = status(host), host.forward_features(X)
    host.reset_classifier(43)
    assert host(X).shape == (4, 43)
    assert status(host) == before
    assert torch.equal(host.forward_features(X), features)


def test_gradient_checkpointing_gives_the_same_gradients():
    host, twin = make(frozen=True), make(frozen=True)
    twin.set_grad_checkpointing(True)
    for model in (host, twin):
        model(X).square().mean().backward()
    assert all(torch.allclose(a.grad, b.grad) for a, b in zip(host.parameters(), twin.parameters(), strict=True))


# torch


# CPython 3.13.0 does not always tell torch that an attribute changed (cpython#125608, mended in 3.13.1)
sees_changes = pytest.mark.skipif(
    sys.version_info[:3] == (3, 13, 0), reason="compiled code may be stale on Python 3.13.0"
)


@sees_changes
def test_compile_in_one_graph():
    host = make()
    compiled: Any = torch.compile(host, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(X), host(X), atol=1e-5)
    assert status(compiled)[0].path == "_orig_mod.layer1.0.act2"
    with disabled(compiled):
        own = compiled(X)
    assert torch.allclose(own, eject(copy.deepcopy(host))(X), atol=1e-5)
    freeze(compiled)
    assert torch.allclose(compiled(X), host(X), atol=1e-5)
    unfreeze(compiled)
    host.train()
    compiled(X).square().mean().backward()
    assert all(p.grad is not None for p in host.parameters())
    torch.compiler.reset()


@sees_changes
def test_inject_into_a_compiled_host():
    torch.manual_seed(0)
    host: Any = timm.create_model("resnet18_cifar", **SMALL).eval()
    compiled: Any = torch.compile(host, fullgraph=True, backend="aot_eager")
    own = compiled(X)
    inject(compiled, "sparta")
    assert list(injected(host))
    assert torch.allclose(compiled(X), host(X), atol=1e-5)
    assert not torch.allclose(compiled(X), own, atol=1e-3)
    eject(compiled)
    assert torch.allclose(compiled(X), own, atol=1e-5)
    torch.compiler.reset()


@pytest.mark.slow
def test_compile_with_inductor():
    host = make(frozen=True)
    compiled: Any = torch.compile(host, fullgraph=True)
    assert torch.allclose(compiled(X), host(X), atol=1e-4)
    torch.compiler.reset()


@pytest.mark.parametrize("frozen", [False, True])
def test_export(frozen):
    host = make(frozen=frozen)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(host, (X,), dynamic_shapes=({0: batch},))
    more = torch.cat([X, X])
    assert torch.allclose(program.module()(more), host(more), atol=1e-5)


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 7),
    reason="this torch and today's onnxscript cannot export any BatchNorm together",
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_onnx_runs_elsewhere(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    host = make(frozen=True)
    file = tmp_path / "host.onnx"
    torch.onnx.export(host, (X,), file, dynamo=True, input_names=["images"], verbose=False)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": X.numpy()})
    assert torch.allclose(torch.from_numpy(logits), host(X), atol=1e-4)


def test_deepcopy_of_a_frozen_network():
    host = make(frozen=True)
    assert torch.equal(copy.deepcopy(host)(X), host(X))


def test_synchronised_batchnorm_is_converted_before():
    host = nn.SyncBatchNorm.convert_sync_batchnorm(timm.create_model("resnet18_cifar", **SMALL))
    inject(host, "sparta", frozen=True)
    assert host.eval()(X).shape == (4, 10)


# DDP


def ddp_step(model, x):
    """One step of SGD on the mean square of the logits."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01)
    model(x).square().mean().backward()
    optimizer.step()
    return {name.removeprefix("module."): t.detach().clone() for name, t in model.state_dict().items()}


def ddp_worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    mine = X.chunk(2)[rank]
    found: dict[str, Any] = {
        "eval": ddp_step(DistributedDataParallel(make()), mine)
    }  # eval: no statistics of half batches

    model = DistributedDataParallel(make(frozen=True).train())
    found["before"] = [entry.checksum for entry in status(model)]
    for _ in range(2):
        ddp_step(model, mine)
    found["after"] = [entry.checksum for entry in status(model)]
    found["frozen"] = {entry.frozen for entry in status(model)}
    with pytest.raises(SiteError, match=r"call sparta_hub.unfreeze\(model.module\), and wrap the result anew"):
        unfreeze(model)
    with pytest.raises(SiteError, match=r"wrapped in DistributedDataParallel.*put the activation into model.module"):
        inject(model, "relu")
    model.eval()
    with torch.no_grad(), disabled(model):
        found["disabled"] = model(X)
    with torch.no_grad():
        found["ejected"] = eject(model)(X)
    torch.save(found, f"{folder}/{rank}.pt")
    leave_processes()


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="no gloo")
def test_ddp_on_two_processes(tmp_path):
    """As one process with the whole batch; frozen activations stay as they are on both."""
    together(ddp_worker, str(tmp_path))
    expected = ddp_step(make(), X)
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    start = make().state_dict()
    for result in results:
        assert result["eval"].keys() == expected.keys()
        assert all(torch.allclose(result["eval"][key], t, atol=1e-6) for key, t in expected.items())
        assert result["before"] == result["after"]
        assert result["frozen"] == {True}
        assert torch.equal(result["disabled"], result["ejected"])
    assert any(not torch.equal(start[key], t) for key, t in expected.items() if "activation" in key)
    assert torch.equal(results[0]["ejected"], results[1]["ejected"])
