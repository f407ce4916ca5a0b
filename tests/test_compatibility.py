"""Which set fits which network, and what to mind."""

import re
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch

from sparta_hub.compatibility import check_spec, compatible_hosts
from sparta_hub.errors import SiteError, SpecError
from sparta_hub.hosts import create_host
from sparta_hub.spec import ActivationSpec, Origin, SiteSpec
from sparta_hub.surgery import inject
from tests.conftest import needs_preact

ORIGIN = Origin("resnet18_cifar", 10, 32, "3x3", "cifar10", "linf 8/255")


def make_spec(family="sparta", channels=(64, 128, 256, 512), placement="last", block=2, origin=None):
    known = tuple(SiteSpec(f"G{g}.B{block}", c) for g, c in enumerate(channels, 1))
    return ActivationSpec(family, {}, placement, known, origin)


def test_where_it_was_trained_it_fits_without_warnings():
    answer = check_spec(make_spec(origin=ORIGIN), "resnet18_cifar")
    assert answer.compatible
    assert answer.reason == "All 4 sites fit: layer1.1.act2, layer2.1.act2, layer3.1.act2, layer4.1.act2."
    assert answer.warnings == answer.hosts == ()


def test_other_channels_do_not_fit_and_hosts_that_do_are_named():
    answer = check_spec(make_spec(), "resnet50")
    assert not answer.compatible
    assert "At G1.B3 the activation set has 64 channels and ResNet has 256" in answer.reason
    assert {"resnet18", "resnet34", "resnet18d", "resnet18_cifar", "resnet34_cifar"} <= set(answer.hosts)
    assert not {"resnet50", "resnet50_cifar", "preact_resnet18", "wide_resnet34_10"} & set(answer.hosts)
    assert answer.warnings == ()


@needs_preact
def test_hosts_without_a_site_are_explained():
    answer = check_spec(make_spec("relu", (None,) * 4), "preact_resnet18")
    assert not answer.compatible
    assert "preact_resnet18 has no site" in answer.reason
    assert len(answer.hosts) > 70  # an elementwise family goes into all of them


@pytest.mark.parametrize("pair", [((64, 128, 256, 512), 9 + 2), ((256, 512, 1024, 2048), 69 + 1)])
def test_compatible_hosts_of_timm_and_ours(pair):
    channels, least = pair
    names = compatible_hosts(make_spec(channels=channels))
    assert len(names) >= least
    assert len(set(names)) == len(names)
    assert all(timm.is_model(name) for name in names)


@pytest.mark.parametrize("name", ["skresnet18", "resnest14d", "resnet18"])
def test_whatever_fits_is_listed(name):
    spec = make_spec(channels=(256, 512, 1024, 2048) if name == "resnest14d" else (64, 128, 256, 512))
    assert check_spec(spec, name).compatible
    assert name in compatible_hosts(spec)


def test_a_network_that_holds_activations_is_not_compatible():
    with torch.device("meta"):
        host: Any = create_host("resnet18_cifar")
    inject(host, "sparta")
    answer = check_spec(make_spec(), host)
    assert not answer.compatible
    assert answer.reason == "G1.B2 holds sparta already; call sparta_hub.eject(model) first."


def test_arguments_are_checked_too():
    spec = replace(make_spec(), arguments={"neighborhood": 2.5})
    with pytest.raises(SpecError, match="sparta has neighborhood 2.5; expected an integer, such as 1"):
        check_spec(spec, "resnet18")


def test_explicit_blocks_need_the_depth():
    names = compatible_hosts(make_spec(channels=(64,), placement="G1.B3", block=3))
    assert "resnet34_cifar" in names
    assert "resnet18_cifar" not in names


@pytest.mark.parametrize(
    ("host", "size", "warned"),
    [
        ("resnet18", 32, True),
        ("resnet18", 33, False),
        ("resnet18", None, False),
        ("resnet18_cifar", None, False),
        ("resnet18_cifar", 8, True),
    ],
)
def test_a_last_map_of_one_pixel_is_warned_of(host, size, warned):
    answer = check_spec(make_spec(), host, input_size=size)
    assert answer.compatible
    assert any("leave a last feature map of 1×1" in text for text in answer.warnings) == warned


def test_elementwise_families_do_not_mind_one_pixel():
    assert check_spec(make_spec("relu", (None,) * 4), "resnet18", input_size=32).warnings == ()


def test_another_stem_and_size_are_warned_of():
    answer = check_spec(make_spec(origin=ORIGIN), "resnet34")
    assert answer.warnings == (
        "The host's stem is 'timm'; the set was trained in resnet18_cifar, whose stem is '3x3'.",
        "The host sees images of 224×224; the set was trained with 32×32.",
    )
    assert check_spec(make_spec(origin=ORIGIN), "resnet34_cifar", input_size=32).warnings == ()
    small = check_spec(make_spec(origin=ORIGIN), "resnet34_cifar", input_size=64)
    assert small.warnings == ("The host sees images of 64×64; the set was trained with 32×32.",)


def test_a_network_is_not_changed():
    with torch.device("meta"):
        host: Any = create_host("resnet18_cifar", features_only=True)
    before = list(host.named_modules())
    answer = check_spec(make_spec(origin=ORIGIN), host, input_size=8)
    assert answer.compatible
    assert len(answer.warnings) == 2
    assert list(host.named_modules()) == before


def test_a_network_without_timms_notes_gets_no_warnings():
    with torch.device("meta"):
        host: Any = create_host("resnet18_cifar")
    del host.feature_info, host.pretrained_cfg
    assert check_spec(make_spec(origin=ORIGIN), host).warnings == ()


def test_unknown_names_are_answered_with_close_ones():
    with pytest.raises(SiteError, match=r"timm has no model 'resnet18_cifra'. Did you mean resnet18_cifar"):
        check_spec(make_spec(), "resnet18_cifra")


def test_unknown_tags_are_named():
    with pytest.raises(SiteError, match="timm has no weights 'foo' of resnet18; leave the tag out: 'resnet18'"):
        check_spec(make_spec(), "resnet18.foo")
    assert check_spec(make_spec(), "resnet18.a1_in1k").compatible


@pytest.mark.parametrize("size", [0, -32, "224", (224, 224)])
def test_sizes_are_checked(size):
    with pytest.raises(SpecError, match=rf"input_size is {re.escape(repr(size))}; expected the height and width"):
        check_spec(make_spec(), "resnet18", input_size=size)


def test_unknown_families_are_refused():
    with pytest.raises(SpecError, match="There is no activation family 'spart'"):
        check_spec(make_spec("spart"), "resnet18")


def test_a_name_is_no_spec():
    name: Any = "sparta-res18-cifar"
    with pytest.raises(SpecError, match=r"spec is 'sparta-res18-cifar'; .* such as sparta_hub.info\(name\).spec"):
        compatible_hosts(name)
