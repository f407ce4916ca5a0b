"""Putting activations in, taking them out, freezing them: what may move, and what must not."""

import copy
from typing import Any

import pytest
import timm
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import update_bn

import sparta_hub.hosts  # noqa: F401  registers the small-image hosts
from sparta_hub.activations import Sparta
from sparta_hub.errors import ArtifactError, SiteError, SpecError
from sparta_hub.injected import HeldBatchNorm, InjectedActivation
from sparta_hub.matching import build_modules, match_sites
from sparta_hub.site_search import sites
from sparta_hub.spec import ActivationSpec, SiteSpec
from sparta_hub.surgery import disabled, eject, freeze, inject, injected, spec_of, state_of, status, unfreeze

SITES = ["layer1.1.act2", "layer2.1.act2", "layer3.1.act2", "layer4.1.act2"]
X = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


CHANNELS = (8, 16, 24, 32)


def small_host(**settings) -> Any:
    """resnet18_cifar with few channels: the same sites, and quick."""
    return timm.create_model("resnet18_cifar", **{"channels": CHANNELS, **settings})


def make(family="sparta", *, seed=0, **settings) -> Any:
    """A small host with an activation set whose gate is not the same everywhere."""
    torch.manual_seed(seed)
    host = small_host()
    inject(host, family, **settings)
    return host


def checksums(model):
    return [site.checksum for site in status(model)]


def train_steps(model, count=2, **settings):
    """Train all that ``parameters()`` gives, with weight decay, on random images."""
    optimizer = torch.optim.SGD(model.parameters(), **{"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, **settings})
    model.train()
    for step in range(count):
        x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


# Putting in


def test_inject_adds_what_it_says_and_nothing_else():
    host = small_host()
    before = {key: t.clone() for key, t in host.state_dict().items()}
    spec = inject(host, "sparta")
    assert spec == spec_of(host)
    assert spec.sites == tuple(SiteSpec(f"G{g}.B2", c) for g, c in enumerate(CHANNELS, 1))
    assert spec.arguments == {"kernel_size": 1, "hidden": None, "dynamic": True, "neighborhood": 1}
    after = host.state_dict()
    assert all(torch.equal(after[key], t) for key, t in before.items())
    assert all(".act2.activation." in key for key in after.keys() - before.keys())


def test_the_published_size():
    with torch.device("meta"):
        host: Any = timm.create_model("resnet18_cifar")
    inject(host, "sparta")
    assert sum(p.numel() for p in host.parameters()) == 11_173_962 + 811_528
    freeze(host)
    assert sum(entry.parameters for entry in status(host)) == 811_528
    assert sum(p.numel() for p in host.parameters()) == 11_173_962


def test_status_says_what_stands_where():
    host = make(frozen="weights").eval()
    entries = status(host)
    assert [(e.site, e.path, e.family) for e in entries] == [
        (f"G{g}.B2", path, "sparta") for g, path in enumerate(SITES, 1)
    ]
    assert [(e.frozen, e.enabled, e.training) for e in entries] == [("weights", True, False)] * 4
    assert len(set(checksums(host))) == 4
    assert all(len(c) == 16 and int(c, 16) >= 0 for c in checksums(host))
    unfreeze(host)
    assert [e.parameters for e in status(host)] == [e.parameters for e in entries]
    with disabled(host):
        assert not any(e.enabled for e in status(host))
    assert status(nn.Linear(2, 2)) == ()


@pytest.mark.parametrize("training", [True, False])
def test_inject_keeps_the_mode(training):
    host = small_host().train(training)
    inject(host, "sparta")
    assert {m.training for m in host.modules()} == {training}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@torch.no_grad()
def test_inject_keeps_the_dtype(dtype):
    host = small_host().to(dtype).eval()
    inject(host, "sparta", frozen=True)
    activations = [m.activation for m in injected(host).values()]
    tensors = [t for a in activations for t in a.state_dict().values()]
    assert {t.dtype for t in tensors} == {dtype, torch.int64}  # BatchNorm counts in int64
    out = host(X.to(dtype))
    assert out.dtype == dtype
    assert out.isfinite().all()


def test_every_activation_has_the_dtype_of_its_block():
    host = small_host()
    host.layer4.double()
    inject(host, "sparta")
    found = [module.activation.get_parameter("conv2.weight").dtype for module in injected(host).values()]
    assert found == [torch.float32] * 3 + [torch.float64]


def test_inject_on_meta_needs_no_memory():
    with torch.device("meta"):
        host = small_host()
    inject(host, "sparta", frozen=True)
    assert {t.device.type for t in host.state_dict().values()} == {"meta"}
    assert {entry.checksum for entry in status(host)} == {"meta"}
    assert host(X.to("meta")).shape == (2, 10)


def test_the_default_device_does_not_matter():
    host = small_host()
    with torch.device("meta"):
        inject(host, "sparta")
    assert {t.device.type for t in host.state_dict().values()} == {"cpu"}


@pytest.mark.parametrize("arguments", [{}, {"kernel_size": 3}])
def test_inject_keeps_the_memory_format(arguments):
    host = small_host().to(memory_format=torch.channels_last).eval()
    inject(host, "sparta", arguments=arguments, frozen=True)
    convs = [m for m in host.modules() if isinstance(m, nn.Conv2d)]
    assert all(conv.weight.is_contiguous(memory_format=torch.channels_last) for conv in convs)
    maps = host.forward_features(X.contiguous(memory_format=torch.channels_last))
    assert maps.is_contiguous(memory_format=torch.channels_last)
    plain = copy.deepcopy(host).to(memory_format=torch.contiguous_format)
    assert checksums(plain) == checksums(host)
    assert torch.allclose(plain(X), host(X), atol=1e-4)


def test_a_block_that_begins_with_a_1x1_convolution_tells_no_memory_format():
    with torch.device("meta"):
        host: Any = timm.create_model("resnet50_cifar")
    inject(host, "sparta", arguments={"kernel_size": 3})
    assert all(parameter.is_contiguous() for parameter in host.parameters())


def test_a_seed_gives_the_same_activations():
    assert checksums(make(seed=5)) == checksums(make(seed=5)) != checksums(make(seed=6))


def test_elementwise_families_everywhere():
    host = small_host().eval()
    expected = host(X)
    spec = inject(host, "relu", placement="every")
    assert len(spec.sites) == 17
    assert {site.channels for site in spec.sites} == {None}
    assert torch.equal(host(X), expected)
    assert not any(type(module) is nn.ReLU and "activation" not in path and "original" not in path
                   for path, module in host.named_modules())  # fmt: skip
    assert [s.path for s in sites(host, "every", need_channels=False)] == [s.name for s in spec.sites]
    assert torch.equal(eject(host)(X), expected)


def test_every_replaces_a_shared_object_everywhere():
    shared = nn.ReLU()
    host = small_host().eval()
    host.layer1[0].act1 = host.layer3[1].act1 = shared
    spec = inject(host, "silu", placement="every")
    assert len(spec.sites) == 16
    assert host.layer1[0].act1 is host.layer3[1].act1
    assert isinstance(host.layer1[0].act1, InjectedActivation)
    eject(host)
    assert host.layer1[0].act1 is host.layer3[1].act1 is shared


def test_a_block_site_leaves_other_uses_of_its_object_alone():
    shared = nn.ReLU()
    host = small_host().eval()
    for module in list(host.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(module, name, shared)
    inject(host, "sparta")
    assert list(injected(host)) == SITES
    assert host.layer4[0].act2 is host.layer4[1].act1 is shared
    assert host(X).shape == (2, 10)
    eject(host)
    assert host.layer4[1].act2 is shared


def test_per_channel_everywhere_on_efficientnet():
    with torch.device("meta"):
        host: Any = timm.create_model("efficientnet_b0").eval()
    spec = inject(host, "sparta", placement="every")
    assert len(spec.sites) > 40
    assert host(torch.zeros(1, 3, 64, 64, device="meta")).shape == (1, 1000)


# Refusals leave the host as it was


def snapshot(host):
    return [(path, id(module), module.training) for path, module in host.named_modules()]


def refused(host, error, match, *args, **settings):
    before, tensors = snapshot(host), {key: t.clone() for key, t in host.state_dict().items()}
    with pytest.raises(error, match=match):
        inject(host, *args, **settings)
    assert snapshot(host) == before
    assert all(torch.equal(t, tensors[key]) for key, t in host.state_dict().items())


def test_injecting_twice_is_an_error():
    host = make()
    refused(host, SiteError, r"G1.B2 holds sparta already; call sparta_hub.eject\(model\) first", "relu")
    refused(host, SiteError, r"The host holds activations already \(layer1.1.act2, .*eject", "relu", placement="G1.B1")
    refused(host, SiteError, "eject", "relu", placement="every")
    eject(host)
    inject(host, "relu")


def make_spec(channels, placement="last", block=2):
    known = tuple(SiteSpec(f"G{g}.B{block}", c) for g, c in enumerate(channels, 1))
    return ActivationSpec("sparta", {}, placement, known)


def test_wrong_channels_are_named():
    match = (
        r"At G1.B2 the activation set has 64 channels and ResNet has 8 \(64/128/256/512 against 8/16/24/32\).*"
        r"compatible_hosts\(...\) lists the timm hosts that fit"
    )
    refused(small_host(), SiteError, match, make_spec((64, 128, 256, 512)))


def test_wrong_stages_and_sites_are_named():
    host = small_host()
    refused(host, SiteError, r"has 3 stages \(sites G1.B2, .*ResNet has 4 \(sites", make_spec(CHANNELS[:3]))
    refused(host, SiteError, r"\(all\) has sites G1.B2.*ResNet has sites G1.B1", make_spec(CHANNELS, "all"))
    backwards = make_spec(CHANNELS)
    backwards = ActivationSpec("relu", {}, "last", backwards.sites[::-1])
    refused(host, SiteError, r"sites G4.B2, G3.B2, .*", backwards)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"frozen": "weight"}, "frozen is 'weight'; expected True, False or \"weights\""),
        ({"placement": "first"}, "placement is 'first'; expected 'last'"),
        ({"arguments": {"kernel": 3}}, "sparta has no argument kernel; its arguments are: kernel_size, hidden"),
        ({"arguments": {"kernel_size": 2}}, "kernel_size is 2"),
        ({"arguments": [3]}, r"arguments is \[3\]; expected names and values: {'kernel_size': 1, 'hidden': None"),
    ],
)
def test_wrong_settings_are_named(settings, match):
    refused(small_host(), SpecError, match, "sparta", **settings)


def test_a_spec_goes_alone():
    spec = make_spec(CHANNELS)
    host = small_host()
    refused(host, SpecError, "a spec has its own: leave them out", spec, arguments={"kernel_size": 3})
    refused(host, SpecError, "a spec has its own: leave them out", spec, placement="all")
    refused(host, SpecError, "There is no activation family 'spart'", "spart")


def test_state_is_strict():
    source = make()
    state = state_of(source)
    assert all(key.startswith("stage") for key in state)
    host = small_host()
    key = "stage4.block2.conv2.weight"
    missing = {k: t for k, t in state.items() if k != key}
    refused(host, ArtifactError, rf"1 tensors are missing \({key}, ...\) and 0 are unknown", "sparta", state=missing)
    refused(host, ArtifactError, r"0 tensors are missing and 1 are unknown \('more', ...\)", "sparta",
            state={**state, "more": torch.zeros(1)})  # fmt: skip
    refused(host, ArtifactError, rf"{key} is torch.float32 \(3,\); this spec needs torch.float32 \(32, 32, 1, 1\)",
            "sparta", state={**state, key: torch.zeros(3)})  # fmt: skip
    refused(host, ArtifactError, rf"{key} is torch.int64", "sparta", state={**state, key: state[key].long()})
    count = "stage4.block2.bn2.num_batches_tracked"
    refused(
        host, ArtifactError, rf"{count} is torch.int8", "sparta", state={**state, count: state[count].to(torch.int8)}
    )
    refused(host, ArtifactError, r"state is \[1\]; expected tensors by file key", "sparta", state=[1])
    refused(host, ArtifactError, f"{key} holds NaN or infinite", "sparta", state={**state, key: state[key] / 0})
    inject(host, "sparta", state=state)
    assert checksums(host) == checksums(source)


def test_state_is_copied_and_may_have_another_dtype():
    state = {key: t.half() if t.is_floating_point() else t for key, t in state_of(make()).items()}
    kept = {key: t.clone() for key, t in state.items()}
    host = small_host()
    inject(host, "sparta", state=state)
    train_steps(host, 1)
    assert all(torch.equal(state[key], t) for key, t in kept.items())
    assert {p.dtype for p in host.parameters()} == {torch.float32}


def test_a_spec_that_claims_more_than_its_file_holds_allocates_nothing():
    huge = ActivationSpec("sparta", {"hidden": 65536}, "last", tuple(SiteSpec(f"G{g}.B1", 65536) for g in range(1, 5)))
    with pytest.raises(ArtifactError, match="tensors are missing"):
        build_modules(huge, {})  # 34 GiB a layer


def test_last_pairs_stages_of_hosts_of_other_depths():
    source = make()
    with torch.device("meta"):
        host: Any = timm.create_model("resnet34_cifar", channels=CHANNELS)
    found = match_sites(spec_of(source), host)
    assert [s.name for s in found] == ["G1.B3", "G2.B4", "G3.B6", "G4.B3"]
    spec = inject(host, spec_of(source), state=state_of(source))
    assert [s.name for s in spec.sites] == [s.name for s in found]


# The host's own logits


@pytest.mark.parametrize("frozen", [False, True, "weights"])
@torch.no_grad()
def test_eject_and_disabled_give_the_hosts_logits_bit_for_bit(frozen):
    torch.manual_seed(0)
    host = small_host().eval()
    own = host(X)
    inject(host, "sparta", frozen=frozen)
    ours = host(X)
    assert not torch.equal(ours, own)
    with disabled(host) as same:
        assert same is host
        assert torch.equal(host(X), own)
        with disabled(host):
            assert torch.equal(host(X), own)
        assert torch.equal(host(X), own)
    assert torch.equal(host(X), ours)
    with pytest.raises(ZeroDivisionError), disabled(host):
        raise ZeroDivisionError
    assert torch.equal(host(X), ours)
    assert eject(host) is host
    assert torch.equal(host(X), own)
    assert not injected(host)
    assert "injected" not in repr(host).lower()


@torch.no_grad()
def test_disabled_ends_when_the_last_one_has_left():
    host = make().eval()
    ours = host(X)
    first, second = disabled(host), disabled(host)
    first.__enter__()  # as two threads do
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(entry.enabled for entry in status(host))
    second.__exit__(None, None, None)
    assert all(entry.enabled for entry in status(host))
    assert torch.equal(host(X), ours)


@torch.no_grad()
def test_eject_inside_disabled():
    torch.manual_seed(0)
    host = small_host().eval()
    own = host(X)
    inject(host, "sparta")
    with disabled(host):
        eject(host)
    assert torch.equal(host(X), own)
    inject(host, "sparta")
    assert not torch.equal(host(X), own)


@pytest.mark.parametrize("frozen", [False, True])
def test_eject_keeps_the_mode_and_dtype_that_the_host_got_since(frozen):
    host = small_host(act_layer="prelu").train()
    inject(host, "sparta", frozen=frozen)
    host.eval().double()
    eject(host)
    assert not any(m.training for m in host.modules())
    assert {p.dtype for p in host.parameters()} == {torch.float64}
    assert host(X.double()).dtype == torch.float64


def test_weights_of_the_hosts_own_activation_are_no_parameters_meanwhile():
    """For nothing uses them: DDP would wait for their gradients, and counts would be wrong."""
    host = small_host(act_layer="prelu").eval()
    names, out = [name for name, _ in host.named_parameters()], host(X)
    inject(host, "silu")
    assert not any(".original." in name for name, _ in host.named_parameters())
    assert sum(".original." in name for name in host.state_dict()) == 4
    host(X).sum().backward()
    assert all(parameter.grad is not None for parameter in host.parameters())
    with disabled(copy.deepcopy(host)) as twin:
        assert torch.equal(twin(X), out)
    eject(host)
    assert sorted(name for name, _ in host.named_parameters()) == sorted(names)
    assert torch.equal(host(X), out)
    host.requires_grad_(False)
    inject(host, "silu")
    eject(host)
    assert not any(parameter.requires_grad for parameter in host.parameters())


def test_a_shared_activation_of_the_host_keeps_its_parameters():
    host = small_host(act_layer="prelu").eval()
    host.layer1[0].act2 = host.layer1[1].act2
    inject(host, "silu", placement="G1.B2")
    assert isinstance(host.layer1[0].act2.weight, nn.Parameter)


@torch.no_grad()
def test_hooks_look_at_what_stands_where_they_were_put():
    host, seen = small_host().eval(), []
    site = host.layer4[1].act2
    handles = [
        site.register_forward_hook(lambda _module, inputs, out: seen.append(("out", out))),
        site.register_forward_pre_hook(lambda _module, inputs: seen.append(("in", inputs[0]))),
        site.register_forward_hook(lambda _m, _i, kwargs, out: seen.append(("kwargs", kwargs)), with_kwargs=True),
    ]

    def look():
        seen.clear()
        logits = host(X)
        assert [what for what, _ in seen] == ["in", "out", "kwargs"]
        return logits, seen[0][1], seen[1][1]

    own, before, after = look()
    assert torch.equal(after, before.relu())
    inject(host, "sparta")
    _, before, after = look()
    assert torch.equal(after, host.layer4[1].act2.activation(before))
    with disabled(host):
        logits, before, after = look()
        assert torch.equal(logits, own)
        assert torch.equal(after, before.relu())
    eject(host)
    assert torch.equal(look()[0], own)
    inject(host, "sparta")
    for handle in handles:
        handle.remove()
    seen.clear()
    host(X)
    with disabled(host):
        host(X)
    eject(host)(X)
    assert not seen


def test_hooks_on_gradients_too():
    host, seen = small_host().eval(), []
    host.layer4[1].act2.register_full_backward_hook(lambda _module, into, out: seen.append(into[0]))
    inject(host, "softplus")
    host(X).sum().backward()
    assert [gradient.shape for gradient in seen] == [(2, 32, 2, 2)]


def test_an_activation_that_the_host_calls_elsewhere_too_keeps_its_hooks():
    host, seen = small_host().eval(), []
    host.layer1[0].act2 = host.layer1[1].act2
    host.layer1[0].act2.register_forward_hook(lambda *_: seen.append(1))
    inject(host, "silu", placement="G1.B2")
    host(X)
    assert len(seen) == 2
    eject(host)
    host(X)
    assert len(seen) == 4


@pytest.mark.parametrize("frozen", [True, "weights"])
def test_the_order_of_the_state_does_not_follow_what_is_frozen(frozen):
    """timm's averages of weights walk through two state dicts side by side, one of them older."""
    host = make()
    keys = list(host.state_dict())
    average = ModelEmaV3(host, decay=0.5)
    for change in (lambda: freeze(host, frozen=frozen), lambda: freeze(host), lambda: unfreeze(host)):
        change()
        assert list(host.state_dict()) == keys
        average.update(host)


@pytest.mark.parametrize("verb", [eject, freeze, unfreeze, spec_of, state_of])
def test_verbs_without_an_activation_say_so(verb):
    with pytest.raises(SiteError, match=r"ResNet holds no activation of ours; put one in with sparta_hub.load"):
        verb(timm.create_model("resnet10t"))


def test_a_part_of_a_set_or_two_sets_are_not_one_set():
    host = make()
    with pytest.raises(
        SiteError, match=r"Sequential does not hold one whole activation set \(sites G1.B2.*but sites G4.B2"
    ):
        spec_of(host.layer4)
    with pytest.raises(SiteError, match="ModuleList does not hold one whole activation set"):
        state_of(nn.ModuleList([host, make()]))
    own = host.layer4
    host.layer4 = make(arguments={"hidden": 4}).layer4
    with pytest.raises(SiteError, match="ResNet does not hold one whole activation set"):
        spec_of(host)
    host.layer4 = own
    eject(host.layer4)
    with pytest.raises(SiteError, match="ResNet does not hold one whole activation set"):
        state_of(host)


# Frozen


def test_frozen_stays_whatever_one_does_to_the_host():
    host = make(frozen=True)
    before, stem = checksums(host), host.conv1.weight.clone()
    host.requires_grad_(True)
    assert not any(".activation." in name for name, _ in host.named_parameters())
    train_steps(host)
    assert not torch.equal(host.conv1.weight, stem)
    host.train().eval().train()
    assert [entry.training for entry in status(host)] == [False] * 4
    with disabled(host):
        host.train()
        train_steps(host, 1)
    assert checksums(host) == before
    assert [entry.frozen for entry in status(host)] == [True] * 4


def test_an_optimiser_made_before_freezing_moves_nothing():
    host = make()
    optimizer = torch.optim.AdamW(host.parameters(), lr=0.1, weight_decay=0.1)
    host(X).square().mean().backward()
    freeze(host)
    before = checksums(host)
    optimizer.step()
    assert checksums(host) == before


def test_update_bn_does_not_reset_frozen_statistics():
    host = make().train()
    host(X)
    freeze(host)
    before = checksums(host)
    update_bn([X, X], host)
    host.eval()
    assert checksums(host) == before
    for module in host.modules():  # nor does switching every layer on by itself
        module.training = True
    host(X)
    assert checksums(host) == before


@pytest.mark.parametrize("family", ["sparta", "feature_denoising"])
def test_batchnorm_layers_of_a_frozen_activation_cannot_be_switched_to_training(family):
    host = make(family, frozen=True).eval()
    before, out = checksums(host), host(X)
    for module in host.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            module.reset_running_stats()
    assert not any(entry.training for entry in status(host))
    for module in host.modules():
        if "activation" in vars(module).get("_modules", {}):
            module.activation.train()
    assert checksums(host) == before
    host.eval()
    site = host.layer1[1].act2
    y = torch.randn(2, 8, 4, 4)
    expected = site(y)
    for module in site.activation.modules():
        module.train()
        module.training = True
    assert torch.allclose(site(y), expected, atol=1e-6)
    assert checksums(host) == before
    assert host(X).shape == out.shape


@pytest.mark.parametrize("frozen", [False, "weights"])
def test_status_sees_a_batchnorm_layer_in_training_mode(frozen):
    host = make(frozen=frozen).eval()
    host.layer1[1].act2.activation.bn2.train()
    assert [entry.training for entry in status(host)] == [True, False, False, False]


@pytest.mark.parametrize("frozen", [True, "weights"])
def test_status_says_that_frozen_weights_were_overwritten(frozen):
    host = make(frozen=frozen)
    train_steps(host)
    host.to(torch.bfloat16).float().to(memory_format=torch.channels_last)  # rounded on purpose: still those weights
    assert not any(entry.overwritten for entry in status(copy.deepcopy(host)))
    host.init_weights()
    assert [entry.overwritten for entry in status(host.half())] == [True] * 4
    freeze(host)
    assert not any(entry.overwritten for entry in status(host))
    unfreeze(host)
    host.init_weights()
    assert not any(entry.overwritten for entry in status(host))


def test_convert_sync_batchnorm_leaves_frozen_activations_alone():
    host = make(frozen=True).eval()
    before, keys, out = checksums(host), list(host.state_dict()), host(X)
    host = nn.SyncBatchNorm.convert_sync_batchnorm(host)
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in host.modules()) == 21
    assert (checksums(host), list(host.state_dict())) == (before, keys)
    assert torch.equal(host.eval()(X), out)
    unfreeze(host)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in host.modules()) == 2 * 4


def test_gradients_reach_the_host_through_a_frozen_activation():
    host = make(frozen=True)
    host(X).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in host.parameters())


def test_frozen_weights_lets_only_statistics_follow():
    host = make(frozen="weights")
    before = {key: t.clone() for key, t in state_of(host).items()}
    train_steps(host)
    after = state_of(host)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    statistics = {key for key in before if "running" in key or "num_batches" in key}
    assert moved == statistics
    host.eval()
    held = checksums(host)
    host(X)
    assert checksums(host) == held


def test_unfrozen_trains():
    host = make()
    before = state_of(host)
    before = {key: t.clone() for key, t in before.items()}
    train_steps(host)
    after = state_of(host)
    assert all(not torch.equal(before[key], after[key]) for key in before if key.endswith("weight"))


def test_unfreeze_gives_the_same_values_back_as_parameters():
    host = make()
    names, before = [n for n, _ in host.named_parameters()], checksums(host)
    out = host.eval()(X)
    freeze(host)
    freeze(host)
    assert torch.equal(host(X), out)
    assert not any(".activation." in name for name, _ in host.named_parameters())
    unfreeze(host)
    unfreeze(host)
    assert sorted(n for n, _ in host.named_parameters()) == sorted(names)
    assert all(p.requires_grad and p.is_leaf for p in host.parameters())
    assert checksums(host) == before
    assert torch.equal(host(X), out)
    train_steps(host, 1)
    assert not any(a == b for a, b in zip(checksums(host), before, strict=True))
    assert not any(isinstance(module, HeldBatchNorm) for module in host.modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in host.modules()) == 21 + 2 * 4


def moves(host):
    """What one step of training moves: weights, statistics."""
    before = {key: t.clone() for key, t in state_of(host).items()}
    train_steps(host, 1)
    moved = {key for key, t in state_of(host).items() if not torch.equal(t, before[key])}
    return any(key.endswith("conv2.weight") for key in moved), any("running" in key for key in moved)


def test_all_transitions_between_the_three_states():
    host = make()
    assert moves(host) == (True, True)
    for frozen, expected in [("weights", (False, True)), (True, (False, False)), ("weights", (False, True)),
                             (True, (False, False)), (True, (False, False))]:  # fmt: skip
        freeze(host, frozen=frozen)
        assert {entry.frozen for entry in status(host)} == {frozen}
        assert moves(host) == expected
    unfreeze(host)
    assert moves(host) == (True, True)
    freeze(host)
    assert moves(host) == (False, False)


@pytest.mark.parametrize(
    ("frozen", "match"),
    [
        (False, r"freeze got frozen=False.*call unfreeze"),
        ("all", "frozen is 'all'"),
        (None, "frozen is None"),
        (1, "frozen is 1"),
    ],
)
def test_freeze_refuses_other_values(frozen, match):
    host = make()
    with pytest.raises(SpecError, match=match):
        freeze(host, frozen=frozen)
    assert {entry.frozen for entry in status(host)} == {False}
    assert moves(host) == (True, True)


def test_a_bare_injected_module_follows_and_shows_its_state():
    spec = ActivationSpec("sparta", {}, "G1.B1", (SiteSpec("G1.B1", 4),))
    module = InjectedActivation(Sparta(4), nn.ReLU().eval(), spec.sites[0], spec)
    assert not module.training
    assert "site=G1.B1, frozen=False, enabled=True" in repr(module)
    module.freeze("weights")
    assert module.train().activation.training
    module.freeze()
    assert not module.activation.training
    assert module.training
    module.unfreeze()
    assert module.activation.training


def test_dtype_after_freezing():
    host = make(frozen=True).to(torch.bfloat16).eval()
    assert host(X.to(torch.bfloat16)).dtype == torch.bfloat16
    unfreeze(host)
    assert {p.dtype for p in host.parameters()} == {torch.bfloat16}


# Copies, files, wrappers


def test_deepcopy_is_independent():
    host = make(frozen=True)
    before, out = checksums(host), host.eval()(X)
    twin = copy.deepcopy(host)
    assert checksums(twin) == before
    assert torch.equal(twin(X), out)
    unfreeze(twin)
    train_steps(twin, 1)
    assert checksums(twin) != before
    assert checksums(host) == before
    assert {entry.frozen for entry in status(host)} == {True}
    eject(twin)
    assert torch.equal(host.eval()(X), out)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, "weights")])
def test_state_dict_round_trip_of_the_whole_host(first, second):
    source = make(frozen=first)
    target = make(seed=1, frozen=second)
    assert source.state_dict().keys() == target.state_dict().keys()
    target.load_state_dict(source.state_dict())
    assert checksums(target) == checksums(source)
    assert torch.equal(target.eval()(X), source.eval()(X))
    assert {entry.frozen for entry in status(target)} == {second}


def test_verbs_see_through_wrappers():
    torch.manual_seed(0)
    host = small_host().eval()
    wrapped = nn.Sequential(nn.Identity(), host)
    own = wrapped(X)
    inject(host, "sparta")
    ours = wrapped(X)
    assert [entry.path for entry in status(wrapped)] == [f"1.{path}" for path in SITES]
    assert spec_of(wrapped) == spec_of(host)
    assert state_of(wrapped).keys() == state_of(host).keys()
    assert freeze(wrapped) is wrapped
    assert {entry.frozen for entry in status(host)} == {True}
    with disabled(wrapped):
        assert torch.equal(wrapped(X), own)
    assert torch.equal(wrapped(X), ours)
    unfreeze(wrapped)
    assert torch.equal(eject(wrapped)(X), own)


@pytest.mark.parametrize("verb", [status, eject, freeze, unfreeze, sites, lambda model: inject(model, "silu")])
@pytest.mark.parametrize("model", ["resnet18", None])
def test_what_is_no_network_is_refused(verb, model):
    with pytest.raises(SiteError, match=f"Got {model!r}; expected a network, such as"):
        verb(model)
