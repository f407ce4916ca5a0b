"""Where activations can go, in every network of timm that is promised, and why not elsewhere."""

import subprocess
import sys
from collections import OrderedDict
from typing import Any

import pytest
import timm
import torch
from torch import nn

import sparta_hub.hosts  # noqa: F401  registers the small-image hosts
from sparta_hub.errors import SiteError
from sparta_hub.site_search import sites
from sparta_hub.surgery import inject, injected
from tests.conftest import HAS_PREACT

BASIC, WIDE = (64, 128, 256, 512), (256, 512, 1024, 2048)


def on_meta(name, **settings) -> Any:
    if not timm.is_model(name) or (name in ("preact_resnet18", "wide_resnet34_10") and not HAS_PREACT):
        pytest.skip(f"timm {timm.__version__} has no {name}")
    try:
        with torch.device("meta"):
            return timm.create_model(name, **settings)
    except (NotImplementedError, RuntimeError):  # some networks of older timm look at values while they are made
        return timm.create_model(name, **settings)


def sparta_size(channels):
    """Values of one SPARTA with 1x1 kernels, counted from the paper's layers, with biases."""
    hidden = min(256, channels)
    conv1_and_3 = 2 * (channels * hidden + hidden) + 2 * 2 * hidden  # and their BatchNorms
    conv2 = hidden * hidden + hidden + 2 * hidden
    return conv1_and_3 + conv2 + (hidden + 1) + (hidden * channels + channels) + (hidden + 1)  # conv4, conv6, linear


def test_all_plain_resnets_of_timm_take_sparta():
    """Sites, channels and sizes in each; no fewer than in timm 1.0.31. Depths are cut, which changes no width."""
    layers = (1, 3, 2, 1)
    attribute = {"BasicBlock": "act2", "Bottleneck": "act3"}
    counts: dict[Any, int] = dict.fromkeys((BASIC, WIDE), 0)
    wrong = []
    for name in timm.list_models(module="resnet"):
        host = on_meta(name) if "pruned" in name else on_meta(name, layers=layers)
        stages = [host.layer1, host.layer2, host.layer3, host.layer4]
        paths = [f"layer{g}.{len(s) - 1}.{attribute[type(s[-1]).__name__]}" for g, s in enumerate(stages, 1)]
        before = sum(p.numel() for p in host.parameters())
        spec = inject(host, "sparta")
        channels = tuple(site.channels for site in spec.sites)
        right = (
            [site.name for site in spec.sites] == [f"G{g}.B{len(s)}" for g, s in enumerate(stages, 1)]
            and list(injected(host)) == paths
            and sum(p.numel() for p in host.parameters()) - before == sum(map(sparta_size, channels))
        )
        if not right:
            wrong.append(name)
        if channels in counts:
            counts[channels] += 1
    assert sum(map(sparta_size, BASIC)) == 811_528
    assert not wrong, f"timm {timm.__version__} builds these otherwise than expected: {', '.join(wrong)}"
    if tuple(map(int, timm.__version__.split(".")[:3])) >= (1, 0, 31):
        for channels, known in ((BASIC, 9), (WIDE, 69)):
            seen = counts[channels]
            assert seen >= known, (
                f"timm {timm.__version__} has {seen} ResNets with channels {channels}; 1.0.31 had {known}"
            )


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("resnet18", "layer1.1.act2 layer2.1.act2 layer3.1.act2 layer4.1.act2"),
        ("resnet34", "layer1.2.act2 layer2.3.act2 layer3.5.act2 layer4.2.act2"),
        ("resnet34_cifar", "layer1.2.act2 layer2.3.act2 layer3.5.act2 layer4.2.act2"),
        ("resnet50_cifar", "layer1.2.act3 layer2.3.act3 layer3.5.act3 layer4.2.act3"),
        ("resnet152", "layer1.2.act3 layer2.7.act3 layer3.35.act3 layer4.2.act3"),
    ],
)
def test_last_at_full_depth(name, last):
    assert " ".join(site.path for site in sites(on_meta(name), "last")) == last


class Doubled(nn.Module):
    """Shows where its output goes: twice what the activation gave; and keeps what came in."""

    def __init__(self, activation):
        super().__init__()
        self.activation = activation
        self.seen = torch.empty(0)

    def forward(self, x):
        self.seen = x.clone()
        return 2 * self.activation(x)


@pytest.mark.parametrize("name", ["resnet18", "resnet26t", "resnest26d", "skresnet18", "skresnet50", "seresnet50"])
@torch.no_grad()
def test_the_site_is_the_activation_after_the_addition(name):
    """The stage puts out twice what was doubled there, and what came in is the shortcut plus the residual branch."""
    torch.manual_seed(0)
    try:
        host: Any = timm.create_model(name, num_classes=10, layers=(2, 1, 1, 2)).eval()
    except TypeError:
        pytest.skip(f"timm {timm.__version__} makes {name} at its full depth only")
    for module in host.modules():
        if isinstance(module, nn.BatchNorm2d) and module.weight.abs().sum() == 0:
            module.weight.fill_(1)  # timm zeroes the last BatchNorm of a block: there would be no branch
    doubled: dict[str, Any] = {}
    shortcuts: dict[str, torch.Tensor] = {}
    for site in sites(host, "last"):
        path, _, attribute = site.path.rpartition(".")
        block = host.get_submodule(path)
        doubled[site.path.split(".")[0]] = Doubled(host.get_submodule(site.path))
        setattr(block, attribute, doubled[site.path.split(".")[0]])
        if block.downsample is None:
            block.register_forward_pre_hook(lambda _m, args, name=path: shortcuts.update({name: args[0].clone()}))
    maps = host.forward_intermediates(torch.rand(1, 3, 32, 32), intermediates_only=True)
    for stage, out, info in zip(doubled, maps[1:], host.feature_info[1:], strict=True):
        assert torch.equal(out, 2 * doubled[stage].activation(doubled[stage].seen.clone()))
        assert doubled[stage].seen.shape[1] == info["num_chs"]
    assert set(shortcuts) == {"layer1.1", "layer4.1"}
    for path, shortcut in shortcuts.items():
        branch = doubled[path[:6]].seen - shortcut
        assert branch.abs().mean() > 1e-3
        block = host.get_submodule(path)
        norm = last_norm(block)
        norm.weight.zero_()  # without its branch, the block passes the shortcut on, through the activation
        norm.bias.zero_()
        block(shortcut.clone())
        assert torch.allclose(doubled[path[:6]].seen, shortcut, atol=1e-6)


def last_norm(block):
    """The BatchNorm at the end of the residual branch, whatever the block's family calls it."""
    for name in ("bn3", "conv3.bn", "bn2", "conv2.bn"):
        try:
            norm = block.get_submodule(name)
        except AttributeError:
            continue
        if isinstance(norm, nn.BatchNorm2d):
            return norm
    raise AssertionError("no BatchNorm found")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("res2net50_26w_4s", "res2net50_26w_4s has no site.*calls one activation object several times in a block"),
        ("regnety_002", r"regnety_002 has no site.*RegNet's stages \(s1 to s4\) have widths"),
        ("convnext_atto", "convnext_atto has no site.*no activation after the residual addition"),
        ("resnetv2_18", "resnetv2_18 has no site.*pre-activation ResNets"),
        ("preact_resnet18", "preact_resnet18 has no site.*pre-activation ResNets"),
        ("wide_resnet34_10", "wide_resnet34_10 has no site.*pre-activation ResNets"),
        ("resnet51q", "resnet51q has no site.*ByobNet"),
        ("hrnet_w18_small", "hrnet_w18_small has no site.*HRNet has residual blocks in its first stage only"),
        ("efficientnet_b0", "efficientnet_b0 has no site.*it has timm.models.efficientnet.EfficientNet"),
        ("legacy_seresnet18", r"legacy_seresnet18 has no site.*it has timm\.models\.senet\.SEResNetBlock"),
    ],
)
def test_hosts_where_it_cannot_be_right_are_refused_by_name(name, reason):
    host = on_meta(name)
    before = list(host.named_modules())
    with pytest.raises(SiteError, match=rf"{reason}.*Use a ResNet or ResNeXt of timm.*or placement 'every'"):
        inject(host, "sparta")
    assert list(host.named_modules()) == before


def test_torchvisions_resnet_is_refused():
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        host = torchvision.models.resnet18()
    with pytest.raises(
        SiteError, match=r"ResNet has no site.*torchvision's blocks call one activation object several times"
    ):
        sites(host)


def test_explicit_blocks_and_all():
    host = on_meta("resnet18_cifar")
    assert [s.name for s in sites(host)] == [f"G{g}.B{b}" for g in range(1, 5) for b in (1, 2)]
    assert [s.path for s in sites(host, "G{1,2}.B{1}")] == ["layer1.0.act2", "layer2.0.act2"]
    assert [(s.path, s.channels, s.key) for s in sites(host, "G4.B2")] == [("layer4.1.act2", 512, "stage4.block2")]
    with pytest.raises(SiteError, match=r"The host has no G4.B3; it has G1.B1 to G1.B2"):
        sites(host, "G4.B3")


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18_cifar", 17),
        ("preact_resnet18", 17),
        ("wide_resnet34_10", 31),
        ("resnet34_cifar", 33),
        ("resnet50d", 51),
    ],
)
def test_every_finds_all_relus(name, count):
    host = on_meta(name)
    found = sites(host, "every", need_channels=False)
    relus = [path for path, module in host.named_modules() if isinstance(module, nn.ReLU)]
    assert [s.path for s in found] == [s.name for s in found] == relus
    assert len(found) == count
    assert {s.channels for s in found} == {None}


def test_every_observes_channels_in_one_pass_and_leaves_the_host_as_found():
    torch.manual_seed(0)
    host: Any = timm.create_model("resnet18_cifar").train()
    host.layer2.eval()
    before = {key: t.clone() for key, t in host.state_dict().items()}
    modes = [m.training for m in host.modules()]
    found = {s.path: s.channels for s in sites(host, "every")}
    assert found == {"act1": 64} | {
        f"layer{g}.{b}.act{a}": BASIC[g - 1] for g in range(1, 5) for b in (0, 1) for a in (1, 2)
    }
    assert all(torch.equal(before[key], t) for key, t in host.state_dict().items())
    assert [m.training for m in host.modules()] == modes
    assert not any(m._forward_hooks for m in host.modules())


def test_every_on_efficientnet():
    host = on_meta("efficientnet_b0", in_chans=1)
    found = {s.path: s.channels for s in sites(host, "every")}
    silu = [path for path, module in host.named_modules() if isinstance(module, nn.SiLU)]
    assert sorted(found) == sorted(silu)
    assert len(found) > 40
    assert found["bn1.act"] == 32
    assert found["bn2.act"] == 1280
    assert not any("gate" in path for path in found)


@pytest.mark.parametrize("name", ["convnext_tiny", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_maps_with_channels_at_the_end_get_elementwise_families_only(name):
    host = on_meta(name)
    assert sites(host, "every", need_channels=False)
    with pytest.raises(
        SiteError, match=r"needs one map \(batch, channels, height, width\) there. Use an elementwise family"
    ):
        sites(host, "every")


def test_every_refuses_a_shared_object_for_families_with_channels_only():
    host = on_meta("res2net50_26w_4s")
    assert sites(host, "every", need_channels=False)
    with pytest.raises(SiteError, match=r"layer1\.0\.relu of ResNet is called \d+ times on one image"):
        sites(host, "every")


def own_network(size):
    parts = {
        "conv": nn.Conv2d(3, 8, 3),
        "act": nn.ReLU(),
        "flat": nn.Flatten(),
        "fc": nn.Linear(8 * (size - 2) ** 2, 2),
    }
    return nn.Sequential(OrderedDict(parts)).train()


def test_a_network_of_ones_own_can_say_which_images_it_takes():
    host: Any = own_network(8)
    with pytest.raises(
        SiteError,
        match=r"Sequential fails on one black image \(1, 3, 224, 224\), .* mat1 and mat2 shapes .*elementwise",
    ):
        sites(host, "every")
    assert host.training
    assert not any(module._forward_hooks for module in host.modules())
    host.pretrained_cfg = {"input_size": (3, 8, 8)}  # as the message says
    assert [(site.path, site.channels) for site in sites(host, "every")] == [("act", 8)]


def test_a_network_without_weights_is_observed_too():
    assert [site.channels for site in sites(nn.Sequential(OrderedDict(act=nn.ReLU())), "every")] == [3]


def test_numbers_are_no_names_of_sites():
    with pytest.raises(SiteError, match=r"an activation at '1', which can be no name of a site. .*OrderedDict\(conv="):
        sites(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), "every", need_channels=False)


def test_every_needs_an_activation():
    with pytest.raises(SiteError, match="Linear has no activation module that could be replaced"):
        sites(nn.Linear(2, 2), "every")


def test_timms_own_activation_classes_are_found():
    found = [s.path for s in sites(on_meta("dm_nfnet_f0"), "every", need_channels=False)]
    assert len(found) > 50
    assert len(sites(on_meta("poolformer_s12"), "every", need_channels=False)) >= 12


@pytest.mark.parametrize("placement", ["last", "every"])
def test_wrappers_are_answered_with_what_to_pass(placement):
    host: Any = timm.create_model("resnet10t")
    wrapped = nn.Sequential(nn.Identity(), host)
    with pytest.raises(
        SiteError,
        match=r"Sequential is not a timm network but holds one, ResNet at '1': pass model.get_submodule\('1'\)",
    ):
        inject(wrapped, "relu", placement=placement)
    with pytest.raises(
        SiteError, match=r"wrapped in DataParallel.*put the activation into model.module first, and wrap"
    ):
        inject(nn.DataParallel(host), "relu", placement=placement)
    assert inject(wrapped.get_submodule("1"), "relu", placement=placement)


def test_a_block_used_twice_is_refused():
    host = on_meta("resnet18_cifar")
    host.layer1[1] = host.layer1[0]
    with pytest.raises(SiteError, match=r"G1.B1 and G1.B2 are one block used twice"):
        inject(host, "sparta")


def test_a_block_of_ones_own_is_not_taken_for_timms():
    class Mine(timm.models.resnet.BasicBlock):
        pass

    host = on_meta("resnet18_cifar", block=Mine)
    with pytest.raises(SiteError, match="Mine, and not one of the blocks whose activation after the addition is known"):
        sites(host)


def test_surgery_does_not_import_timm():
    code = "import sys, sparta_hub.surgery; assert 'timm' not in sys.modules, 'timm was imported'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
