import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparta_hub.errors import SpartaError, SpecError
from sparta_hub.spec import ActivationSpec, ArtifactConfig, HostSpec, Origin, SiteSpec

SPEC = ActivationSpec(
    "sparta",
    {"kernel_size": 1, "hidden": None, "dynamic": True, "neighborhood": 1},
    "last",
    (SiteSpec("G1.B2", 64), SiteSpec("G4.B2", 512)),
    Origin("resnet18_cifar", 10, 32, "3x3", "cifar10", "Linf 8/255"),
)
CONFIG = ArtifactConfig(SPEC, {"activations.safetensors": "0" * 64}, "0.1.0", host=HostSpec("resnet34_cifar", 43))


def test_json_round_trip():
    assert ArtifactConfig.from_json(json.loads(json.dumps(CONFIG.to_json()))) == CONFIG


def test_a_config_without_a_host_has_that_of_the_origin():
    value = CONFIG.to_json()
    del value["host"]
    read = ArtifactConfig.from_json(value)
    assert (read.host, read.trained_host) == (None, HostSpec("resnet18_cifar", 10))
    assert CONFIG.trained_host == HostSpec("resnet34_cifar", 43)
    assert read.to_json() == value


def test_keys_are_free_of_host_names():
    assert SiteSpec("G4.B2", 512).key == "stage4.block2"
    assert SiteSpec("layer1.0.act1", None).key == "layer1.0.act1"


def changed(*path, to):
    value = json.loads(json.dumps(CONFIG.to_json()))
    at = value
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            changed("format_version", to=2),
            r"format_version is 2; this sparta-hub reads 1. Upgrade with: pip install -U",
        ),
        (changed("format_version", to=0), "format_version is 0; this sparta-hub reads 1.$"),
        (changed("format_version", to="1"), "format_version is '1'"),
        (changed("surprise", to=1), r"config.json has unknown keys \['surprise'\]; known are activation, files"),
        (changed("activation", "lr", to=1), r"activation has unknown keys \['lr'\]"),
        (changed("library_name", to="timm"), "library_name is 'timm'; expected 'sparta-hub'"),
        (changed("activation", "family", to=3), "family is 3; expected the name of an activation family"),
        (changed("activation", "arguments", to=[]), r"arguments is \[\]; expected an object"),
        (changed("activation", "arguments", to={"a": [1]}), r"Argument 'a' is \[1\]"),
        (changed("activation", "placement", to="first"), "placement is 'first'; expected 'last'"),
        (changed("activation", "sites", to=[]), "names 0 sites"),
        (changed("activation", "sites", to="G4.B2"), "activation.sites is 'G4.B2'; expected a list"),
        (changed("activation", "sites", 0, "channels", to=10**9), "channels 1000000000; expected an integer from 1 to"),
        (changed("activation", "sites", 0, "channels", to=True), "channels True"),
        (changed("activation", "sites", 0, "name", to="../../etc"), r"A site is called '../../etc'"),
        (changed("activation", "sites", 1, "name", to="G1.B2"), "names a site twice"),
        (changed("activation", "origin", "input_size", to=-1), "origin.input_size is -1"),
        (changed("activation", "origin", "host", to=None), "origin.host is None; expected a short text"),
        (changed("files", to={"../evil": "0" * 64}), r"files names '../evil'; expected a plain file name"),
        (changed("files", to={"a/b": "0" * 64}), "files names 'a/b'"),
        (changed("files", to={"a": "zz"}), "files gives a the sha256 'zz'; expected 64 hexadecimal digits"),
        (changed("host", "name", to=3), "host.name is 3; expected a short text"),
        (changed("host", "num_classes", to=-1), "host.num_classes is -1; expected an integer from 0 to 1,000,000"),
        (changed("host", to={"name": "resnet18"}), "host lacks num_classes"),
        ([], r"config.json holds \[\]; expected an object"),
    ],
)
def test_hostile_configs_are_refused_in_words(value, message):
    with pytest.raises(SpecError, match=message):
        ArtifactConfig.from_json(value)


def test_a_missing_key_is_named():
    value = CONFIG.to_json()
    del value["activation"]["placement"]
    with pytest.raises(SpecError, match="activation lacks placement"):
        ArtifactConfig.from_json(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
PATHS = [
    ("format_version",), ("files",), ("activation",), ("library_version",), ("activation", "family"),
    ("activation", "arguments"), ("activation", "placement"), ("activation", "sites"), ("activation", "origin"),
    ("activation", "sites", 0), ("activation", "sites", 0, "name"), ("activation", "sites", 0, "channels"),
    ("activation", "origin", "host"), ("activation", "origin", "num_classes"), ("files", "activations.safetensors"),
    ("host",), ("host", "name"),
]  # fmt: skip


@given(st.sampled_from(PATHS), JSON)
def test_any_value_anywhere_is_read_or_refused(path, value):
    try:
        config = ArtifactConfig.from_json(changed(*path, to=value))
    except SpartaError as error:
        message = str(error)
    else:
        message = ""
        assert ArtifactConfig.from_json(config.to_json()) == config
    assert len(message) < 1000
