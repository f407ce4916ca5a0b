import json
import resource
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import prune

import sparta_hub
from sparta_hub import hosts, saving
from sparta_hub.artifacts import MAX_HEADER_BYTES, WEIGHTS, read_artifact, read_config, read_tensors, sha256_of
from sparta_hub.errors import ArtifactError, SiteError, SpartaError, SpecError
from sparta_hub.records import write_whole
from sparta_hub.saving import host_state, in_shards, save_model
from sparta_hub.surgery import state_of
from tests.conftest import HOST, HOST_TAG, ORIGIN, small_host

WIDTH: Any = small_host().num_features


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def flip(path):
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def edit_config(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def replace_weights(folder, tensors):
    """Other weights with the right checksum: what a malicious publisher would do."""
    save_file(tensors, folder / "activations.safetensors", metadata={"format": "pt"})
    digest = sha256_of(folder / "activations.safetensors")
    edit_config(folder, lambda config: config["files"].update({"activations.safetensors": digest}))


def test_save_load_save_is_byte_equal(artifact, tmp_path):
    sparta_hub.save(sparta_hub.load(artifact), tmp_path / "again", with_host=True)
    assert files(tmp_path / "again") == files(artifact)
    frozen = sparta_hub.load(artifact, frozen=True)
    sparta_hub.save(frozen, tmp_path / "frozen", with_host=True)
    assert files(tmp_path / "frozen") == files(artifact)


def test_keys_carry_no_host_names_and_batchnorm_statistics_travel(artifact):
    tensors = load_file(artifact / "activations.safetensors")
    assert {key.split(".")[0] + "." + key.split(".")[1] for key in tensors} == {
        f"stage{i}.block1" for i in (1, 2, 3, 4)
    }
    moved = tensors["stage1.block1.bn2.running_mean"]
    assert moved.abs().max() > 0
    assert tensors["stage1.block1.bn2.num_batches_tracked"] == 1


def test_weights_go_into_a_deeper_host_without_renaming(artifact):
    host = sparta_hub.load(artifact, model=small_host(layers=(2, 2, 2, 2)), frozen=True)
    assert [s.site for s in sparta_hub.status(host)] == ["G1.B2", "G2.B2", "G3.B2", "G4.B2"]
    want = load_file(artifact / "activations.safetensors")
    have = {key.replace("block2", "block1"): tensor for key, tensor in state_of(host).items()}
    assert have.keys() == want.keys()
    assert all(torch.equal(have[key], want[key]) for key in want)


def test_the_whole_network_comes_back(artifact):
    model = sparta_hub.load(artifact)
    assert not model.training
    again = sparta_hub.load(artifact)
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(model(x), again(x))
    saved = load_file(artifact / "model.safetensors")
    assert host_state(model).keys() == saved.keys() == small_host().state_dict().keys()
    assert all(torch.equal(t.half() if t.is_floating_point() else t, saved[k]) for k, t in host_state(model).items())


@pytest.mark.parametrize("number", [-1, "43", True, 10.0])
def test_a_number_of_classes_that_is_none_is_refused(artifact, number):
    with pytest.raises(SiteError, match=f"num_classes is {number!r}; expected a whole number, or None for {HOST}'s"):
        sparta_hub.load(artifact, num_classes=number)


def test_another_number_of_classes_gets_a_new_head(artifact):
    assert sparta_hub.load(artifact, num_classes=43)(torch.rand(2, 3, 64, 64)).shape == (2, 43)
    assert sparta_hub.load(artifact, model=HOST, num_classes=43).num_classes == 43


def test_loading_without_host_weights_says_what_to_pass(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=rf'Say which network they go into: .*model="{HOST}"\)'):
        sparta_hub.load(copied)


def test_num_classes_with_a_network_of_ones_own_is_an_error(artifact):
    with pytest.raises(SpartaError, match="call reset_classifier on your own one"):
        sparta_hub.load(artifact, model=small_host(), num_classes=3)


def test_a_tag_of_pretrained_weights_does_not_make_an_untrained_network(artifact):
    expected = rf"model=timm.create_model\('{HOST_TAG}', pretrained=True\), or '{HOST}', untrained"
    with pytest.raises(SiteError, match=expected):
        sparta_hub.load(artifact, model=HOST_TAG)


def test_saving_a_plain_host_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(SpartaError, match="holds no activation of ours"):
        sparta_hub.save(small_host(), tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_saving_nan_is_refused_and_nothing_is_written(artifact, tmp_path):
    model = sparta_hub.load(artifact)
    state_of(model)["stage4.block1.conv2.weight"].data.fill_(float("nan"))
    with pytest.raises(
        ArtifactError, match="stage4.block1.conv2.weight holds NaN or infinite values; nothing was written"
    ):
        sparta_hub.save(model, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def injected_host(num_classes=10) -> Any:
    host: Any = small_host()
    host.reset_classifier(num_classes)
    sparta_hub.inject(host, "sparta", arguments={"hidden": 8})
    return host.eval()


# Which network the host weights are of


@pytest.mark.parametrize(("wrap", "num_classes"), [(lambda host: host, 7), (torch.compile, 10), (lambda host: host, 0)])
def test_a_network_that_was_never_loaded_comes_back_whole(tmp_path, wrap, num_classes):
    host = injected_host(num_classes)
    sparta_hub.save(wrap(host), tmp_path, with_host=True)
    config = read_config(tmp_path)
    assert config.to_json()["host"] == {"name": HOST, "num_classes": num_classes}
    assert config.activation.origin is None
    again = sparta_hub.load(tmp_path)
    assert again.state_dict().keys() == host.state_dict().keys()
    x = torch.rand(2, 3, 64, 64)
    assert torch.allclose(again(x), host(x), rtol=1e-2, atol=1e-2)  # the host is kept in float16
    assert sparta_hub.load(tmp_path, num_classes=3)(x).shape == (2, 3)


def test_a_loaded_set_in_another_network_comes_back_in_that_one(artifact, tmp_path):
    sparta_hub.inject(giver := small_host("resnet10t"), "sparta")
    sparta_hub.save(giver, tmp_path / "giver", origin=replace(ORIGIN, host="resnet10t"))
    model = sparta_hub.load(tmp_path / "giver", model="resnet18", num_classes=3).eval()
    sparta_hub.save(model, tmp_path / "whole", with_host=True)
    config = read_config(tmp_path / "whole")
    assert config.activation.origin == replace(ORIGIN, host="resnet10t")
    assert (config.host, config.trained_host) == (hosts_of("resnet18", 3),) * 2
    assert len(list(sparta_hub.load(tmp_path / "whole").modules())) == len(list(model.modules()))
    sparta_hub.save(model, tmp_path / "alone")
    assert read_config(tmp_path / "alone").host is None
    assert read_config(artifact).host is None  # where the origin says it, once is enough
    assert read_config(artifact).trained_host == hosts_of(HOST, 10)


def hosts_of(name, num_classes):
    return sparta_hub.spec.HostSpec(name, num_classes)


def other_head(host):
    host.fc = nn.Linear(WIDTH, 3)
    return host


def unknown(host):
    host.pretrained_cfg["architecture"] = "my_resnet"
    return host


def normalised(host):
    host.register_forward_pre_hook(lambda _host, images: ((images[0] - 0.5) / 0.25,))
    return host


def pooled(host):
    host.maxpool = nn.MaxPool2d(2)
    return host


def pruned_head(host):
    prune.l1_unstructured(host.fc, "weight", 0.5)
    return host


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda host: nn.Sequential(nn.Identity(), host), "Sequential is no timm network.*pass that one.*with_host="),
        (other_head, rf"not those of {HOST} with 10 classes: 'fc.weight' is \(3, {WIDTH}\), "
         rf"and \(10, {WIDTH}\) in that"),
        (unknown, "load could not make this network again. timm has no model 'my_resnet'.*Save the activations alone"),
        (pruned_head, rf"'fc.weight' is missing, and \(10, {WIDTH}\) in that network; 3 tensors differ"),
        (normalised, f"timm's {HOST} gives other logits with the same weights. Something that is no layer differs"),
        (pooled, r"gives other logits.* maxpool is MaxPool2d\(kernel_size=2.* here and MaxPool2d\(kernel_size=3"),
    ],
)  # fmt: skip
def test_a_network_that_load_could_not_make_again_is_refused_before_anything_is_written(tmp_path, change, message):
    model = change(injected_host())
    with pytest.raises(ArtifactError, match=message):
        sparta_hub.save(model, tmp_path / "x", with_host=True)
    assert not (tmp_path / "x").exists()
    sparta_hub.save(model, tmp_path / "x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"act_layer": nn.SiLU}, r"conv1.2 is SiLU\(inplace=True\) here and ReLU\(inplace=True\) there"),
        ({"global_pool": "max"}, r"global_pool.pool is AdaptiveMaxPool2d\(.* here and AdaptiveAvgPool2d\(.* there"),
    ],
)
def test_options_that_the_weights_do_not_tell_are_not_lost_in_silence(tmp_path, options, message):
    host = small_host(**options)
    sparta_hub.inject(host, "sparta")
    with pytest.raises(ArtifactError, match=f"timm's {HOST} gives other logits with the same weights. {message}"):
        sparta_hub.save(host, tmp_path / "x", with_host=True)
    assert not (tmp_path / "x").exists()


def test_trained_weights_use_up_no_random_numbers(artifact, tmp_path):
    host = small_host()
    before = torch.random.get_rng_state()
    sparta_hub.info(artifact)
    sparta_hub.load(artifact, model=host)
    sparta_hub.save(host, tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_saving_with_the_host_leaves_model_and_random_numbers_as_they_were(tmp_path):
    host = small_host(drop_path_rate=0.1)  # which is nothing in eval mode
    sparta_hub.inject(host, "sparta")
    state = {key: tensor.clone() for key, tensor in host.train().state_dict().items()}
    before = torch.random.get_rng_state()
    sparta_hub.save(host, tmp_path, with_host=True)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(module.training for module in host.modules())
    assert len(sparta_hub.status(host)) == 4
    assert all(torch.equal(tensor, state[key]) for key, tensor in host.state_dict().items())


def test_a_config_cannot_make_load_allocate_a_host_that_is_not_there(copied, monkeypatch):
    edit_config(copied, lambda config: config["activation"]["origin"].update(num_classes=300_000))
    made = []
    create = hosts.create_host
    monkeypatch.setattr(hosts, "create_host", lambda *args, **kwargs: made.append(create(*args, **kwargs)) or made[-1])
    with pytest.raises(
        ArtifactError, match=rf"not those of {HOST} with 300000 classes: 'fc.weight' is \(10, {WIDTH}\)"
    ):
        sparta_hub.load(copied)
    assert {p.device.type for host in made for p in host.parameters()} == {"meta"}


# Where the weights come from


def test_an_origin_stays_with_the_weights_it_speaks_of(artifact, tmp_path):
    model = sparta_hub.load(artifact, model=small_host().half())
    sparta_hub.save(model.double().eval(), tmp_path / "same")
    assert read_config(tmp_path / "same").activation.origin == ORIGIN
    model.train()(torch.rand(2, 3, 64, 64).double())  # statistics follow other images
    sparta_hub.save(model, tmp_path / "moved")
    assert read_config(tmp_path / "moved").activation.origin is None
    model = sparta_hub.load(artifact, model=small_host())
    state_of(model)["stage1.block1.conv4.weight"].mul_(2)
    sparta_hub.save(model, tmp_path / "trained")
    assert read_config(tmp_path / "trained").activation.origin is None
    mine = sparta_hub.Origin(HOST, 43, 64, "timm", "gtsrb", "Linf 4/255")
    sparta_hub.save(model, tmp_path / "said", origin=mine)
    assert read_config(tmp_path / "said").activation.origin == mine


def test_untrained_activations_have_no_origin(artifact, tmp_path):
    model, spec = small_host(), read_config(artifact).activation
    assert spec.origin == ORIGIN
    assert sparta_hub.inject(model, spec).origin is None
    sparta_hub.save(model, tmp_path)
    assert read_config(tmp_path).activation.origin is None


# Over an older artifact


def test_shards_of_the_artifact_before_are_removed(copied):
    (copied / "mine.txt").write_text("notes")
    sparta_hub.save(injected_host(), copied)
    assert set(files(copied)) == {"config.json", "activations.safetensors", "mine.txt"}


def test_other_weights_of_a_whole_network_replace_those_before_in_however_many_files(copied, monkeypatch):
    def shards():
        return [name for name in files(copied) if name.startswith("model")]

    model = injected_host()
    sparta_hub.save(model, copied, with_host=True)
    assert shards() == ["model.safetensors"]
    assert torch.equal(load_file(copied / "model.safetensors")["fc.bias"], model.fc.bias.half())
    monkeypatch.setattr(saving, "MAX_SHARD_BYTES", 300_000)
    model = injected_host()
    sparta_hub.save(model, copied, with_host=True)
    assert len(shards()) > 2
    assert "model.safetensors" not in shards()
    again = host_state(sparta_hub.load(copied))
    assert again.keys() == host_state(model).keys()
    for key, tensor in host_state(model).items():
        assert torch.equal(again[key], tensor.half().float() if tensor.is_floating_point() else tensor), key
    flip(copied / shards()[-1])
    with pytest.raises(ArtifactError, match=f"{shards()[-1]} has sha256"):
        sparta_hub.load(copied)
    (copied / shards()[-1]).unlink()
    with pytest.raises(ArtifactError, match="trained weights are not in .*Say which network they go into"):
        sparta_hub.load(copied)


def test_tensors_go_into_files_of_a_size_in_their_order():
    sizes = {"a": 9, "b": 2, "c": 3, "d": 1, "e": 0, "f": 5}
    tensors = {name: torch.zeros(size, dtype=torch.int16) for name, size in sizes.items()}
    shards = in_shards("model", tensors, 10)
    assert {name: list(shard) for name, shard in shards.items()} == {
        "model-00001-of-00004.safetensors": ["a"],  # too large, and never split
        "model-00002-of-00004.safetensors": ["b", "c"],  # ten bytes fit
        "model-00003-of-00004.safetensors": ["d", "e"],
        "model-00004-of-00004.safetensors": ["f"],
    }
    assert {name: list(shard) for name, shard in in_shards("best", tensors, 40).items()} == {
        "best.safetensors": list(tensors)
    }


@pytest.mark.parametrize("left", [["results.json"], ["README.md"], ["results.json", "README.md"]])
def test_figures_and_cards_are_never_put_beside_other_weights(copied, left):
    model = sparta_hub.load(copied)
    save_model(model, copied, results={"remark": "measured"}, with_host=True)
    (copied / "README.md").write_text("my card")
    for name in {"results.json", "README.md"} - set(left):
        (copied / name).unlink()
    sparta_hub.save(model, copied, with_host=True)  # the same weights: all stays, and is listed
    assert set(left) <= set(files(copied))
    assert ("results.json" in read_config(copied).files) == ("results.json" in left)
    before = files(copied)
    with torch.no_grad():
        model.get_parameter("fc.bias").add_(1)
    with pytest.raises(
        ArtifactError, match=rf"holds {' and '.join(left)} of other weights.*Save into another folder, or"
    ):
        sparta_hub.save(model, copied, with_host=True)
    assert files(copied) == before


# What load could not read is not written


def frozen_by_timm(model):
    from timm.layers.norm_act import freeze_batch_norm_2d

    return freeze_batch_norm_2d(model)


def pruned(model):
    prune.l1_unstructured(next(m for m in model.layer1.modules() if hasattr(m, "conv1_3")).conv2, "weight", 0.5)
    return model


def compiled(model):
    site = next(m for m in model.modules() if hasattr(m, "original"))
    site.activation = torch.compile(site.activation)
    return model


@pytest.mark.parametrize("change", [frozen_by_timm, pruned, compiled])
def test_a_set_whose_modules_were_changed_is_refused(tmp_path, change):
    model = change(injected_host())
    message = "Nothing was written, for load could not read it. .* are missing .*Something changed the modules of the"
    with pytest.raises(ArtifactError, match=message):
        sparta_hub.save(model, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("value", [70_000.0, float("inf"), float("nan")])
def test_a_network_that_float16_cannot_hold_is_refused(tmp_path, value):
    model = injected_host()
    with torch.no_grad():
        model.fc.bias[3] = value
    with pytest.raises(ArtifactError, match="fc.bias does not fit into float16; nothing was written"):
        sparta_hub.save(model, tmp_path / "x", with_host=True)
    assert not (tmp_path / "x").exists()


def test_figures_that_are_no_numbers_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_model(injected_host(), tmp_path / "x", results={"accuracy": float("nan")})
    assert not (tmp_path / "x").exists()


def test_a_file_cannot_make_load_read_a_header_of_any_length(tmp_path):
    """It is JSON, and safetensors itself would take 100 MB of it."""
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"note": "x" * MAX_HEADER_BYTES})
    with pytest.raises(
        ArtifactError, match=r"a.safetensors is not a readable .*\(a header of 4,194,\d+ bytes; ours have"
    ):
        read_tensors(tmp_path / "a.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"note": "x" * (MAX_HEADER_BYTES - 1000)})
    assert read_tensors(tmp_path / "a.safetensors").keys() == {"a"}


def test_a_file_that_a_full_disk_cut_off_leaves_the_one_before_and_nothing_else(tmp_path):
    write_whole(tmp_path / "a", b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            write_whole(tmp_path / "a", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == {"a": b"before"}


def test_what_is_no_folder_and_no_origin_is_refused(tmp_path):
    host, wrong = injected_host(), cast(Any, {"host": "resnet18"})
    with pytest.raises(ArtifactError, match=r"folder is ResNet\( \(conv1\): .*; expected the name of a folder"):
        sparta_hub.save(cast(Any, tmp_path), cast(Any, host))
    with pytest.raises(ArtifactError, match="folder is ''; expected the name of a folder"):
        sparta_hub.save(host, "")
    with pytest.raises(SpecError, match=r"origin is {'host': 'resnet18'}; expected sparta_hub.Origin\(host="):
        sparta_hub.save(host, tmp_path / "x", origin=wrong)
    assert not (tmp_path / "x").exists()


def test_saving_needs_values_and_a_folder(tmp_path):
    with torch.device("meta"):
        model = small_host()
    sparta_hub.inject(model, "sparta")
    with pytest.raises(ArtifactError, match="lies on the meta device and has no values; nothing was written"):
        sparta_hub.save(model, tmp_path / "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="file is a file; expected a folder, or the name of a new one"):
        sparta_hub.save(injected_host(), tmp_path / "file")


def swap_stages(folder):
    tensors = load_file(folder / "activations.safetensors")
    swap = {"stage1": "stage2", "stage2": "stage1"}
    replace_weights(folder, {f"{swap.get(k[:6], k[:6])}{k[6:]}": t for k, t in tensors.items()})


def nan_weights(folder):
    tensors = load_file(folder / "activations.safetensors")
    tensors["stage2.block1.conv4.weight"][0, 0] = float("nan")
    replace_weights(folder, tensors)


def lacking(folder):
    tensors = load_file(folder / "activations.safetensors")
    del tensors["stage3.block1.bn2.running_var"]
    replace_weights(folder, tensors)


def extra(folder):
    replace_weights(folder, {**load_file(folder / "activations.safetensors"), "stage9.block1.x": torch.zeros(1)})


def integers(folder):
    tensors = load_file(folder / "activations.safetensors")
    replace_weights(folder, {k: t.long() if k.endswith("conv2.weight") else t for k, t in tensors.items()})


def truncated(folder):
    path = folder / "activations.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def html(folder):
    (folder / "activations.safetensors").write_text("<!DOCTYPE html><html><body>Sign in</body></html>")


def html_with_right_checksum(folder):
    html(folder)
    digest = sha256_of(folder / "activations.safetensors")
    edit_config(folder, lambda config: config["files"].update({"activations.safetensors": digest}))


def pickle(folder):
    path = folder / "activations.safetensors"
    torch.save({"a": torch.zeros(1)}, path)
    edit_config(folder, lambda config: config["files"].update({"activations.safetensors": sha256_of(path)}))


def huge_header(folder):
    path = folder / "activations.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    edit_config(folder, lambda config: config["files"].update({"activations.safetensors": sha256_of(path)}))


def set_spec(**changes):
    return lambda folder: edit_config(folder, lambda config: config["activation"].update(changes))


def set_argument(**changes):
    return lambda folder: edit_config(folder, lambda config: config["activation"]["arguments"].update(changes))


def channels(folder):
    edit_config(folder, lambda config: config["activation"]["sites"][3].update(channels=10**9))


def many_channels(folder):
    edit_config(folder, lambda config: config["activation"]["sites"][3].update(channels=65_000))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (swap_stages, r"stage1.block1\S+ is torch.float32 .*; this spec needs"),
        (nan_weights, "stage2.block1.conv4.weight holds NaN or infinite values: these weights are damaged"),
        (lacking, r"1 tensors are missing \(stage3.block1.bn2.running_var"),
        (extra, r"1 are unknown \('stage9.block1.x"),
        (integers, "conv2.weight is torch.int64"),
        (truncated, "has sha256 .* and config.json says .*truncated or another version. Download it again"),
        (html, "it looks like an HTML page"),
        (html_with_right_checksum, "is not a readable safetensors file: it looks like an HTML page"),
        (pickle, "it looks like a pickle, which is never loaded"),
        (huge_header, "is not a readable safetensors file"),
        (set_spec(family="se_gated_relu"), "se_gated_relu has no argument|se_gated_relu cannot"),
        (set_spec(family="os.system"), "There is no activation family 'os.system'; the families are sparta, relu"),
        (set_argument(hidden=10**9), r"this spec needs|cannot be made"),
        (set_argument(kernel_size=10**9 + 1), r"this spec needs|cannot be made"),
        (set_argument(neighborhood="2"), "sparta has neighborhood '2'; expected an integer, such as 1"),
        (set_argument(kernel_size=2), "expected an odd number"),
        (set_argument(extra=1), "sparta has no argument extra; its arguments are: kernel_size"),
        (channels, "channels 1000000000; expected an integer from 1 to"),
        (many_channels, "this spec needs"),
        (lambda f: (f / "config.json").unlink(), "has no config.json; expected an artifact folder"),
        (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "is not JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "is not JSON"),
        (lambda f: (f / "config.json").write_text(" " * (5 << 20)), "a config has a few thousand"),
        (lambda f: (f / "activations.safetensors").unlink(), "is missing, but config.json lists it"),
        (lambda f: edit_config(f, lambda c: c["files"].clear()), "gives no sha256 for activations.safetensors"),
    ],
)  # fmt: skip
def test_hostile_artifacts_are_refused_and_leave_the_host_alone(copied, damage, message):
    damage(copied)
    host = small_host()
    before = {key: t.clone() for key, t in host.state_dict().items()}
    modules = list(host.modules())
    with pytest.raises(SpartaError, match=message):
        sparta_hub.load(copied, model=host)
    assert list(host.modules()) == modules
    assert all(torch.equal(t, before[key]) for key, t in host.state_dict().items())


def test_a_host_of_other_channels_is_refused_by_name(artifact):
    channels = read_config(artifact).activation.sites[0].channels
    with pytest.raises(SpartaError, match=f"At G1.B3 the activation set has {channels} channels and ResNet has 256"):
        sparta_hub.load(artifact, model="resnet50")


def test_damaged_host_weights_are_refused(copied):
    flip(copied / "model.safetensors")
    with pytest.raises(ArtifactError, match="model.safetensors has sha256"):
        sparta_hub.load(copied)
    assert sparta_hub.load(copied, model=HOST) is not None  # the activations themselves are whole


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=40), st.floats(0, 1), st.sampled_from(["config.json", "activations.safetensors"]))
def test_random_damage_never_loads_something_else(artifact, tmp_path_factory, junk, where, name):
    """Bytes overwritten anywhere: either nothing changed, or the answer is a SpartaError."""
    folder = tmp_path_factory.mktemp("damaged")
    for source in ("config.json", "activations.safetensors"):
        (folder / source).write_bytes((artifact / source).read_bytes())
    data = bytearray((folder / name).read_bytes())
    at = int(where * (len(data) - 1))
    data[at : at + len(junk)] = junk
    changed = bytes(data) != (folder / name).read_bytes()
    (folder / name).write_bytes(data)
    try:
        read = read_artifact(folder)
    except SpartaError:
        assert changed
    else:
        original = read_config(artifact)
        assert not changed or name == "config.json"
        assert read.config.files[WEIGHTS] == original.files[WEIGHTS]  # the only one that was read
        assert read.config.activation.sites == original.activation.sites


def test_another_format_version_names_the_upgrade(copied):
    edit_config(copied, lambda config: config.update(format_version=2))
    with pytest.raises(SpecError, match="pip install -U sparta-hub"):
        sparta_hub.load(copied, model=HOST)


def test_a_network_is_saved_whole_whatever_the_default_dtype(artifact, tmp_path):
    model = sparta_hub.load(artifact)
    torch.set_default_dtype(torch.float64)
    try:
        sparta_hub.save(model, tmp_path / "again", with_host=True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert sparta_hub.info(tmp_path / "again").has_host


def replace_host(folder, tensors, name="model.safetensors"):
    save_file(tensors, folder / name, metadata={"format": "pt"})
    edit_config(folder, lambda config: config["files"].update({name: sha256_of(folder / name)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v * float("nan") if v.is_floating_point() else v for k, v in t.items()}, "holds NaN or"),
        (lambda t: {k: -v - 1 if k.endswith("running_var") else v for k, v in t.items()}, "holds a variance below 0"),
        (lambda t: {k: v.to(torch.int8) for k, v in t.items()}, r"of torch.int8, and \(.*\) in that network"),
        (lambda t: {k: v.to(torch.float8_e4m3fn) if v.is_floating_point() else v for k, v in t.items()},
         "is torch.float8_e4m3fn; expected one of torch.float16, torch.bfloat16"),
    ],
    ids=["nan", "variance", "int8", "float8"],
)  # fmt: skip
def test_damaged_weights_of_the_network_are_refused(copied, change, message):
    replace_host(copied, change(load_file(copied / "model.safetensors")))
    with pytest.raises(ArtifactError, match=message):
        sparta_hub.load(copied)
    with pytest.raises(ArtifactError, match=message):
        sparta_hub.push_to_hub(copied, "acme/tiny", dry_run=True)


def test_a_second_file_does_not_overwrite_the_first(copied):
    tensor = torch.zeros_like(load_file(copied / "model.safetensors")["fc.weight"])
    replace_host(copied, {"fc.weight": tensor}, "model2.safetensors")
    with pytest.raises(ArtifactError, match="model2.safetensors has 'fc.weight', which another file has already"):
        sparta_hub.load(copied)


def test_eight_bits_are_too_few(copied):
    tensors = load_file(copied / "activations.safetensors")
    key = next(key for key, t in tensors.items() if t.is_floating_point())
    replace_weights(copied, {**tensors, key: tensors[key].to(torch.float8_e5m2)})
    with pytest.raises(ArtifactError, match="is torch.float8_e5m2; expected one of torch.float16"):
        sparta_hub.info(copied)


def test_what_is_not_known_is_not_overwritten(tmp_path, artifact):
    host = injected_host()
    for name, text, message in (
        ("config.json", '{"model_type": "bert"}', "holds a config.json that this version does not read"),
        ("activations.safetensors", "x", "holds activations.safetensors and no config.json"),
        ("results.json", "{}", "holds results.json and no config.json"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(text)
        with pytest.raises(ArtifactError, match=message):
            sparta_hub.save(host, folder)
        assert files(folder) == {name: text.encode()}
    newer = tmp_path / "newer"
    shutil.copytree(artifact, newer)
    edit_config(newer, lambda config: config.update(format_version=2))
    before = files(newer)
    with pytest.raises(ArtifactError, match="that this version does not read"):
        sparta_hub.save(host, newer)
    assert files(newer) == before


def test_the_network_stays_with_its_activations(artifact, copied):
    before = files(copied)
    sparta_hub.save(sparta_hub.load(artifact, frozen=True), copied)
    assert files(copied) == before
    (copied / "README.md").write_text("a card")
    sparta_hub.save(sparta_hub.load(artifact), copied, with_host=True)
    assert files(copied) == {**before, "README.md": b"a card"}


def test_a_network_may_join_its_activations(artifact, tmp_path):
    model = sparta_hub.load(artifact)
    sparta_hub.save(model, tmp_path / "set")
    (tmp_path / "set" / "README.md").write_text("a card")
    sparta_hub.save(model, tmp_path / "set", with_host=True)
    assert sparta_hub.load(tmp_path / "set").get_parameter("fc.weight").equal(model.get_parameter("fc.weight"))


def test_the_cache_of_the_hub_is_not_saved_into(artifact, tmp_path):
    (tmp_path / "snapshot").mkdir()
    for path in artifact.iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    before = files(artifact)
    with pytest.raises(ArtifactError, match="is the Hub's cache, where a commit has to stay what it is"):
        sparta_hub.save(injected_host(), tmp_path / "snapshot")
    assert files(artifact) == before


def test_a_full_disk_leaves_the_old_set_whole(artifact, copied, monkeypatch):
    before, write, done = files(copied), Path.write_bytes, []

    def full(path, blob):
        done.append(path)
        if len(done) == 2:
            raise OSError(28, "No space left on device")
        return write(path, blob)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        sparta_hub.save(injected_host(), copied)
    assert files(copied) == before
