"""Stored attacks are used where they fit; elsewhere the page computes, and says so."""

import importlib
import json
import pickle
from dataclasses import replace

import pytest
import torch
from demo import numbers
from images import Upload
from networks import find_entries
from page import wrap
from PIL import Image
from precompute import EPS, main, precompute
from show import accuracy_chart, make_scene_of, make_screen, open_show, pair, panels
from space_cases import examples
from state import State
from stored import FOLDER, read_stored

from sparta_hub.data import Images
from sparta_hub.errors import SpartaError


@pytest.fixture(scope="module")
def data():
    x = (examples() * 255).round().to(torch.uint8)
    return Images(x, torch.arange(10), "cifar10")


@pytest.fixture(scope="module")
def folder(entries, data, tmp_path_factory):
    """Precomputed results of the pair, on four images where more were asked for."""
    folder, four = tmp_path_factory.mktemp("precomputed"), Images(data.x[:4], data.y[:4], "cifar10")
    for entry in entries.values():
        precompute(entry, four, limit=99, folder=folder, progress=False)
    return folder


def kept_of(entry, folder):
    found = read_stored(entry, folder)
    assert found is not None
    return found


def test_the_first_screen_is_an_example_that_both_get_right(show, networks):
    number = list(show.examples).index(show.first.image)
    with torch.no_grad():
        right = [network.model(examples()).argmax(1) == torch.arange(10) for network in networks]
    both = right[0] & right[1]
    assert int(both.nonzero()[0, 0]) == number


def test_stored_attacks_give_what_computing_gives(entries, folder, show):
    stored = open_show(entries, torch.device("cpu"), stored=folder)
    one, two = (make_scene_of(s, show.first, None)[0] for s in (stored, show))
    assert set(stored.stored) == {"sparta-tiny", "relu-tiny"}
    assert numbers(one) == numbers(two)


def test_stored_attacks_are_used_for_their_settings_only(entries, folder, monkeypatch):
    import show as module

    monkeypatch.setattr(module, "make_scene", lambda *_, **__: pytest.fail("computed"))
    stored = open_show(entries, torch.device("cpu"), stored=folder)
    make_scene_of(stored, stored.first, None)
    with pytest.raises(pytest.fail.Exception, match="computed"):
        make_scene_of(stored, replace(stored.first, eps=7.5), None)


def test_stored_results_of_other_weights_are_not_shown(entries, folder, tmp_path, show):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    record = json.loads((tmp_path / "sparta-tiny.json").read_text())
    (tmp_path / "sparta-tiny.json").write_text(json.dumps({**record, "weights_sha256": "0" * 64}))
    stale = open_show(entries, torch.device("cpu"), stored=tmp_path)
    screen = make_screen(stale, replace(show.first))
    assert "Stored results are stale: they belong to earlier weights or settings." in screen.verdict
    assert numbers(screen.scene) == numbers(make_scene_of(show, show.first, None)[0])
    assert "Accuracy against ε" in screen.charts  # the twin's is still its own
    assert "SPARTA from" not in screen.charts.split("Accuracy against ε")[1]


def test_stored_results_of_other_settings_are_stale(entries, folder, monkeypatch):
    import stored as module

    entry = entries["sparta-tiny"]
    assert not kept_of(entry, folder).stale
    monkeypatch.setattr(module, "SETTINGS", replace(module.SETTINGS, eps=4.0))
    assert kept_of(entry, folder).stale


@pytest.mark.parametrize("kind", ["json", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"{}", b'{"examples": {"cat": 1}}', b"\xff\x00 half a fi"], ids=range(4))
def test_a_damaged_stored_file_does_not_take_the_page_down(entries, folder, tmp_path, kind, content):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / f"sparta-tiny.{kind}").write_bytes(content)
    assert list(open_show(entries, torch.device("cpu"), stored=tmp_path).stored) == ["relu-tiny"]


def test_writing_that_stops_half_way_leaves_no_record_of_other_pictures(entries, folder, tmp_path, monkeypatch):
    import stored as module

    kept = kept_of(entries["sparta-tiny"], folder)
    module.write_stored("sparta-tiny", kept.attacks, kept.record, tmp_path)
    assert kept_of(entries["sparta-tiny"], tmp_path).record == kept.record
    monkeypatch.setattr(module, "write_json", lambda *_: pytest.fail("stopped"))
    with pytest.raises(pytest.fail.Exception, match="stopped"):
        module.write_stored("sparta-tiny", kept.attacks, kept.record, tmp_path)
    assert read_stored(entries["sparta-tiny"], tmp_path) is None


def test_a_name_that_is_no_network_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["precompute.py", "sparta-res81"])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err
    assert "no network sparta-res81 with its host's weights; found: sparta-res18-cifar" in told


@pytest.mark.parametrize("script", ["app", "precompute", "static_page"])
def test_a_script_without_networks_says_so_in_a_line(script, tmp_path, monkeypatch):
    module = importlib.import_module(script)
    monkeypatch.setattr(module, "find_entries", dict)
    monkeypatch.setattr(
        "sys.argv", [f"{script}.py", *(["--out", str(tmp_path / "s")] if script == "static_page" else [])]
    )
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert str(stopped.value).startswith(f"{script}.py: There is no network with weights: put an artifact that was")
    assert list(tmp_path.iterdir()) == []


def test_precomputing_without_data_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["precompute.py", "sparta-res18-cifar"])
    monkeypatch.setenv("SPARTA_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match=r"^precompute.py: .*cifar10") as stopped:
        main()
    assert "\n" not in str(stopped.value)


def test_the_records_that_are_shipped_belong_to_the_weights_or_are_called_stale():
    entries = find_entries()
    shipped = [name for name in entries if (FOLDER / f"{name}.json").is_file()]
    assert shipped
    for name in shipped:
        stored = read_stored(entries[name])
        assert stored is not None
        assert stored.stale == (stored.record["weights_sha256"] != entries[name].weights_sha256)
        if not stored.stale:
            opened = open_show({name: entries[name]}, torch.device("cpu"))
            kept, _ = make_scene_of(opened, opened.first, None)
            view = kept.views[0]
            loss = torch.nn.functional.nll_loss(
                view.attacked_probabilities.log()[None], torch.tensor([view.attacked.aim])
            )
            assert float(loss) == pytest.approx(view.attacked.losses[-1], abs=1e-3)  # other processors round otherwise


def test_the_accuracy_is_the_evaluators(entries, folder, networks, data):
    stored = read_stored(entries["sparta-tiny"], folder)
    assert stored is not None
    rows = stored.record["accuracy"]["rows"]
    assert stored.record["accuracy"]["data"] == "the first 4 test images of cifar10"
    assert [row["eps_255"] for row in rows] == [0, *EPS]
    with torch.no_grad():
        right = int((networks[0].model(data.floats(slice(0, 4))).argmax(1) == data.y[:4]).sum())
    assert rows[0]["percent"] == 25 * right
    assert all(row["correct"] <= rows[0]["correct"] for row in rows)
    assert {"commit", "hardware", "torch"} <= stored.record["provenance"].keys()


def test_accuracy_that_was_not_measured_is_not_drawn(show):
    assert "is not stored here" in accuracy_chart(show, pair(show, "sparta-tiny"))
    assert "<svg" not in accuracy_chart(show, pair(show, "sparta-tiny"))


def test_an_upload_is_shown_with_what_was_done_to_it(show, state):
    upload = Upload(Image.new("RGB", (20, 20), "red"), ("Of the pictures in this file only the first is used.",))
    screen = make_screen(show, replace(state, image=""), upload)
    assert screen.scene.truth is None
    assert "only the first" in screen.verdict
    assert "state-link" not in screen.downloads


def test_what_a_gpu_in_another_process_takes_and_gives_is_plain(show, state):
    """``spaces.GPU`` pickles both ways; a network among them would travel with every click."""
    asked = (replace(state, image=""), Upload(Image.new("RGB", (40, 40), "red"), ()))
    assert len(pickle.dumps(asked)) < 10_000
    shown, screen = panels(show, *asked), make_screen(show, *asked)
    assert {type(part) for part in shown} == {str}
    assert shown[0] == wrap(screen.verdict)
    assert shown[5] == screen.code
    told = numbers(make_scene_of(show, *asked)[0])
    assert json.loads(json.dumps(told)) == told


def test_a_network_without_a_twin_stands_alone(entries, state, tmp_path):
    only = open_show({"sparta-tiny": entries["sparta-tiny"]}, torch.device("cpu"), stored=tmp_path)
    screen = make_screen(only, state)
    assert len(screen.scene.views) == 1
    assert "no ReLU twin" in screen.verdict
    assert "no ReLU twin" not in make_screen(only, replace(state, model="sparta-tiny")).networks


def test_the_baseline_itself_can_be_picked(show, state):
    screen = make_screen(show, replace(state, model="relu-tiny"))
    assert [view.network.label for view in screen.scene.views] == ["ReLU"]
    assert "twin" not in screen.verdict.replace("tag twin", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": ["x"]}, r"There is no network \['x'\]; expected one of sparta-tiny"),
        ({"model": "x"}, "There is no network 'x'; expected one of sparta-tiny, relu-tiny"),
        ({"image": "zebra"}, "There is no example 'zebra'; expected one of airplane"),
        ({"image": ""}, "There is no picture yet: choose an example or upload one"),
        ({"target": "zebra"}, "sparta-tiny knows no class 'zebra'; expected one of airplane"),
    ],
)
def test_what_cannot_be_shown(show, state, change, message):
    with pytest.raises(SpartaError, match=message):
        make_screen(show, replace(state, **change))


def test_without_a_network_the_reader_is_told_what_to_do():
    with pytest.raises(SpartaError, match="put an artifact that was saved with its host into"):
        open_show({}, torch.device("cpu"))


def test_states_are_values():
    assert State("a", "b", "c") == State("a", "b", "c", 8.0, 10, "")
