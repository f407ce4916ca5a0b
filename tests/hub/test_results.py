"""``results.json``: fetched by the verbs that show it, and shown only if it is what the config lists."""

import json

import pytest
from click.testing import CliRunner

import sparta_hub
from sparta_hub.artifacts import CONFIG, RESULTS, read_config
from sparta_hub.cli import main
from sparta_hub.errors import ArtifactError
from sparta_hub.evaluation import Accuracy
from sparta_hub.saving import to_json_bytes
from sparta_hub.transfer import Transfer
from tests.conftest import small_host
from tests.hub.conftest import REPO, put

ROW = {"attack": "clean", "accuracy": 54.0, "low": 50.9, "high": 57.1, "images": 1000}
MOVED = Transfer("tiny", "resnet18", "gtsrb", "frozen", 0, "r", 4.0, "Linf 8/255",
                 {"clean": Accuracy(54.0, 50.9, 57.1, 540, 1000)})  # fmt: skip
GAIN = {"attack": "clean", "points": 1.0, "low": -1.0, "high": 3.0, "first_alone": 3, "second_alone": 2, "images": 9}
RESULT = {"training": {"recipe": "r"}, "evaluation": [ROW], "gains": [GAIN], "transfers": [MOVED.to_json()]}


@pytest.fixture
def on_the_hub(copied, hub, cache) -> str:
    put(copied, RESULT)
    commit = sparta_hub.push_to_hub(copied, REPO).commit
    hub.log.clear()
    return f"{REPO}@{commit}"


def asked_for(hub):
    return any(RESULTS in str(request.url) for request in hub.log)


def test_figures_come_from_the_hub_with_the_verbs_that_show_them(on_the_hub, hub):
    sparta_hub.load(on_the_hub, model=small_host())
    assert not asked_for(hub)
    assert sparta_hub.info(on_the_hub).results == json.loads(json.dumps(RESULT))
    assert asked_for(hub)
    hub.log.clear()
    assert sparta_hub.transfers(on_the_hub) == (MOVED,)
    shown = CliRunner().invoke(main, ["info", on_the_hub])
    assert "measured    clean: 54.0 % on 1000 images" in shown.output
    assert not hub.log, "a commit that is cached needs no request"


def test_a_set_without_figures_has_none(artifact, published, hub):
    assert sparta_hub.info(f"{REPO}@{published}").results == {}
    assert sparta_hub.transfers(f"{REPO}@{published}") == ()
    assert not asked_for(hub)


def test_figures_that_the_hub_has_altered_are_refused(on_the_hub, hub):
    tree = hub.repos["model", REPO].commits[on_the_hub.partition("@")[2]].tree
    blob = hub.blobs / tree[RESULTS].etag
    data = blob.read_bytes()
    try:
        blob.write_bytes(data.replace(b"54.0", b"94.0"))
        with pytest.raises(ArtifactError, match="results.json of acme/tiny arrived twice with another checksum"):
            sparta_hub.info(on_the_hub)
    finally:
        blob.write_bytes(data)


def test_verify_files_says_what_missing_figures_are_for(on_the_hub):
    sparta_hub.load(on_the_hub, model=small_host())
    told = CliRunner().invoke(main, ["verify-files", on_the_hub])
    assert "missing  results.json (only needed for the figures of `info`)" in told.output
    assert "missing  model.safetensors (only needed for the network it came from)" in told.output


def test_a_file_that_the_config_does_not_list_is_of_no_set(copied):
    (copied / RESULTS).write_bytes(to_json_bytes(RESULT))
    assert sparta_hub.info(copied).results == {}
    assert sparta_hub.transfers(copied) == ()


def test_altered_and_lost_figures_are_refused(copied):
    put(copied, RESULT)
    (copied / RESULTS).write_bytes(to_json_bytes({**RESULT, "evaluation": [{**ROW, "accuracy": 94.0}]}))
    for verb in (sparta_hub.info, sparta_hub.transfers, sparta_hub.verify):
        with pytest.raises(ArtifactError, match=r"results.json has sha256 \w{12}..., and config.json says"):
            verb(copied)
    (copied / RESULTS).unlink()
    with pytest.raises(ArtifactError, match="results.json is missing, but config.json lists it"):
        sparta_hub.info(copied)
    sparta_hub.load(copied, model=small_host())  # which needs no figures


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], r"results.json cannot be read \(TypeError: \[\] is no object\); expected figures as sparta-hub writes"),
        ({"evaluation": {}}, r"evaluation is \{\}\)"),
        ({"evaluation": [5]}, "cannot be read"),
        ({"evaluation": [{}]}, "KeyError: 'attack'"),
        ({"evaluation": [{**ROW, "accuracy": "54"}]}, "TypeError: accuracy is '54'"),
        ({"evaluation": [{**ROW, "images": None}]}, "TypeError: images is None"),
        ({"training": []}, r"training is \[\]"),
        ({"remark": 5}, "remark is 5"),
        ({"reports": "x"}, "reports is 'x'"),
        *(({key: 5}, f"{key} is 5") for key in ("comparison", "diagnosis", "copies", "overhead", "gains", "transfers")),
        *(({"evaluation": [{**ROW, key: [1]}]}, rf"{key} is \[1\]") for key in ("attack", "low", "high")),
        ({"gains": [{**GAIN, "points": None}]}, "cannot be read"),
        ({"transfers": [{}]}, "The transfers in results.json cannot be read"),
    ],
)
def test_figures_of_another_form_are_refused_before_they_are_shown_or_sent(copied, hub, results, message):
    put(copied, results)
    with pytest.raises(ArtifactError, match=message):
        sparta_hub.info(copied)
    shown = CliRunner().invoke(main, ["info", str(copied)])
    assert (shown.exit_code, shown.output[:12]) == (1, "sparta-hub: ")
    with pytest.raises(ArtifactError, match=message):
        sparta_hub.push_to_hub(copied, REPO)
    assert not hub.log


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"evaluation": NaN}'])
def test_figures_that_are_no_json_are_refused(copied, text):
    put(copied, {})
    config = read_config(copied).to_json()
    (copied / RESULTS).write_text(text)
    config["files"][RESULTS] = sparta_hub.artifacts.sha256_of(copied / RESULTS)
    (copied / CONFIG).write_bytes(to_json_bytes(config))
    with pytest.raises(ArtifactError, match="results.json is not JSON"):
        sparta_hub.info(copied)
