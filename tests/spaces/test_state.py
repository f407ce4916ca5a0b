"""Links that restore a view, and Python that computes what is on screen."""

import base64
import re
from dataclasses import replace
from typing import Any, cast
from urllib.parse import parse_qsl

import pytest
import torch
from demo import Settings, top
from images import read_upload
from PIL import Image
from show import make_screen
from space_cases import SPACE
from state import State, code, from_query

FIRST = State("cat", "one", "G1.B2")
KNOWN = {
    "images": ["cat", "dog"],
    "sites": {"one": ["G1.B2", "G2.B2"], "two": ["G1.B3"]},
    "classes": {"one": ["cat", "dog"], "two": ["3", "5"]},
}


def restored(link):
    return from_query(dict(parse_qsl(link.lstrip("?"))), FIRST, **KNOWN)


@pytest.mark.parametrize(
    "state",
    [FIRST, State("dog", "one", "G2.B2", 0.5, 50, "cat"), State("dog", "two", "G1.B3", 16.0, 1, "5")],
)
def test_a_link_restores_the_state(state):
    assert restored(state.link()) == state


def test_an_upload_has_no_link():
    assert State("", "one", "G1.B2").link() == ""


@pytest.mark.parametrize(
    "query",
    ["?image=zebra", "?model=../../etc", "?site=G9.B9", "?eps=1e9", "?eps=nan", "?eps=x", "?steps=0", "?steps=1e99",
     "?target=zebra", "?target=cat&image=cat", "?image=<script>", ""],
)  # fmt: skip
def test_links_with_nonsense_give_the_first_screen(query):
    assert restored(query) == FIRST


def test_the_target_becomes_a_number():
    assert State("cat", "one", "G1.B2", target="dog").settings(["cat", "dog"]) == Settings(target=1)


@pytest.mark.parametrize("target", ["", "ship"])
def test_the_code_computes_what_is_on_screen(show, state, zoo, target, monkeypatch, capsys):
    screen = make_screen(show, replace(state, target=target))
    python = screen.code.replace('load("sparta-tiny")', f"load({str(zoo / 'sparta-tiny')!r})")
    assert python != screen.code
    monkeypatch.chdir(SPACE)
    exec(python, {"__name__": "__main__"})
    said = capsys.readouterr().out
    view = screen.scene.views[0]
    for attacked in (False, True):
        assert f"{top(view, attacked=attacked)[0][1]:.4f}" in said
    distance = view.sites["G1.B1"].denoising.before_distance
    assert str(distance)[:6] in said


def test_code_for_an_upload_takes_the_prediction():
    text = code(State("", "one", "G1.B2"), size=32, truth=None, target=None)
    assert "model(x).argmax(1)  # the predicted class" in text
    assert 'open("my-picture.png")' in text


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_code_and_the_downloads_of_an_upload_compute_what_is_on_screen(
    show, state, zoo, mode, tmp_path, monkeypatch, capsys
):
    """A picture that is not square, and transparent: the code opens it as the page has prepared it."""
    wide = Image.new(mode, (96, 40), (40, 90, 200, 60)[: len(mode)])
    wide.paste(Image.open(show.examples["cat"]).resize((40, 40)), (28, 0))
    wide.save(tmp_path / "original.png")
    screen = make_screen(show, replace(state, image="", target=""), read_upload(tmp_path / "original.png"))
    found = re.search(r"download='my-picture.png' href='data:image/png;base64,([^']+)'", screen.downloads)
    assert found
    (tmp_path / "my-picture.png").write_bytes(base64.b64decode(found[1]))
    python = screen.code.replace('load("sparta-tiny")', f"load({str(zoo / 'sparta-tiny')!r})")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    exec(python, names)
    assert torch.equal(cast(Any, names)["x"][0], screen.scene.x)
    said = capsys.readouterr().out
    view = screen.scene.views[0]
    for attacked in (False, True):
        assert f"{top(view, attacked=attacked)[0][1]:.4f}" in said
    assert str(view.sites["G1.B1"].denoising.before_distance)[:6] in said


def test_an_example_needs_no_download(show, state):
    assert "my-picture.png" not in make_screen(show, state).downloads
