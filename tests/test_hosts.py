"""The small-image hosts: sizes, shapes, and what timm offers for every network."""

from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import sparta_hub.hosts  # noqa: F401  registers them
from sparta_hub.errors import SiteError
from sparta_hub.hosts import _NothingDrawn, create_host, host_on_meta
from tests.conftest import HAS_PREACT, needs_preact

# name, parameters with 10 classes, channels and reductions of the feature maps
HOSTS = [
    ("resnet18_cifar", 11_173_962, (64, 64, 128, 256, 512), (1, 1, 2, 4, 8)),
    ("resnet18_w16_cifar", 701_466, (16, 16, 32, 64, 128), (1, 1, 2, 4, 8)),
    ("resnet18_w24_cifar", 1_575_202, (24, 24, 48, 96, 192), (1, 1, 2, 4, 8)),
    ("resnet34_cifar", 21_282_122, (64, 64, 128, 256, 512), (1, 1, 2, 4, 8)),
    ("resnet50_cifar", 23_520_842, (64, 256, 512, 1024, 2048), (1, 1, 2, 4, 8)),
]
if HAS_PREACT:
    HOSTS += [
        ("preact_resnet18", 11_172_170, (64, 64, 128, 256, 512), (1, 1, 2, 4, 8)),
        ("wide_resnet34_10", 46_160_474, (16, 160, 320, 640), (1, 1, 2, 4)),
    ]
NAMES = [row[0] for row in HOSTS]


def on_meta(name, **settings) -> Any:
    with torch.device("meta"):
        return timm.create_model(name, **settings)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("name", "count"), [row[:2] for row in HOSTS])
def test_parameter_counts_are_the_published_ones(name, count):
    host = on_meta(name)
    assert parameters(host) == count
    assert host.num_classes == 10
    assert host.pretrained_cfg["input_size"] == (3, 32, 32)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_head(name):
    host = on_meta(name, num_classes=43, in_chans=1)
    image = torch.zeros(2, 1, 32, 32, device="meta")
    assert host(image).shape == (2, 43)
    side = 8 if name == "wide_resnet34_10" else 4
    assert host.forward_features(image).shape[2:] == (side, side)
    with torch.device("meta"):  # timm before 1.0.12 makes new heads on the default device
        host.reset_classifier(7)
    assert host(image).shape == (2, 7)
    host.reset_classifier(0)
    assert host(image).shape == (2, host.num_features)


@pytest.mark.parametrize(("name", "channels", "reductions"), [(row[0], *row[2:]) for row in HOSTS])
def test_features_only_says_the_truth_about_its_maps(name, channels, reductions):
    host = on_meta(name, features_only=True)
    assert tuple(host.feature_info.channels()) == channels
    assert tuple(host.feature_info.reduction()) == reductions
    maps = host(torch.zeros(1, 3, 32, 32, device="meta"))
    assert [(m.shape[1], 32 // m.shape[2]) for m in maps] == list(zip(channels, reductions, strict=True))


@needs_preact
def test_stems_keep_the_size_and_are_initialised_like_the_rest():
    torch.manual_seed(0)
    hosts: list[Any] = [create_host("resnet18_cifar"), create_host("preact_resnet18")]
    for host in hosts:
        stem = next(m for m in host.modules() if isinstance(m, nn.Conv2d))
        assert (stem.kernel_size, stem.stride, stem.padding, stem.bias) == ((3, 3), (1, 1), (1, 1), None)
        assert stem.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)  # fan out, He et al. 2015
        assert not any(isinstance(m, nn.MaxPool2d) for m in host.modules())


@torch.no_grad()
@needs_preact
def test_preactivation_hosts_add_before_they_activate():
    """The block of He et al. 2016, written out."""
    torch.manual_seed(0)
    host: Any = create_host("preact_resnet18").eval()
    block = host.stages[1].blocks[0]
    x = torch.randn(2, 64, 8, 8)
    pre = block.norm1(x).clone()
    expected = block.conv2(block.norm2(block.conv1(pre))) + block.downsample.conv(pre)
    assert torch.equal(block(x), expected)
    assert (block(x) < 0).any()


@torch.no_grad()
def test_images_of_other_sizes_pass():
    host = create_host("resnet18_cifar").eval()
    assert host(torch.zeros(1, 3, 17, 23)).shape == (1, 10)


def test_a_seed_gives_the_same_host():
    def make() -> Any:
        torch.manual_seed(3)
        return create_host("resnet18_cifar").state_dict()

    first, second = make(), make()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_create_host_names_the_nearest():
    assert on_meta("resnet18").num_classes == 1000
    with pytest.raises(SiteError, match=r"timm has no model 'resnet18_cifr'. Did you mean resnet18_cifar"):
        create_host("resnet18_cifr")


@pytest.mark.parametrize("count", [-1, True, "10", 2.0])
def test_classes_are_a_whole_number(count):
    with pytest.raises(SiteError, match=rf"num_classes is {count!r}; expected a whole number, or None for resnet18"):
        create_host("resnet18", count)


def test_pretrained_weights_are_not_promised():
    with pytest.raises(RuntimeError, match="resnet18_cifar"):
        timm.create_model("resnet18_cifar", pretrained=True)


def test_another_stem_type_is_refused_by_name():
    with pytest.raises(AssertionError, match="leave stem_type at its default"):
        on_meta("resnet18_cifar", stem_type="deep", stem_width=32)


@pytest.mark.skipif(HAS_PREACT, reason="this timm has pre-activation basic blocks")
def test_an_old_timm_is_named_where_it_lacks_something():
    with pytest.raises(SiteError, match=r"need timm 1.0.10 or newer: pip install -U timm"):
        create_host("preact_resnet18")


def test_on_meta_nothing_is_drawn_and_elsewhere_everything_is():
    calls = []

    class Counting(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            calls.append(func)
            return func(*args, **(kwargs or {}))

    with Counting():  # outermost, so it sees what the other lets through
        meta = host_on_meta("resnet18_cifar")
    assert not {torch.Tensor.normal_, torch.Tensor.uniform_, nn.init.kaiming_normal_} & {*calls}
    assert parameters(meta) == 11_173_962
    real = torch.zeros(3)
    with _NothingDrawn():
        assert nn.init.normal_(real).all()
        assert torch.zeros(3).uniform_().all()
