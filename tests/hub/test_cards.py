"""Text of a stranger on a card is text: no HTML, link, code, table or metadata of its own."""

from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sparta_hub.cards import _escape, plain_card, render_card
from sparta_hub.spec import ActivationSpec, ArtifactConfig, Origin, SiteSpec

EVIL = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[click](javascript:alert(1))", "![x](http://e/x.png)",
    "a | b |\n| c", "x\n\n# Headline", "x\n---\nlicense: mit\n---\n", "`rm -rf /`", '"); import os; os.system("',
    "&lt;b&gt;", "1. list", "```\nfence", "~~~", "> quote", "$name ${host}", "***", "\\[x](y)",
]  # fmt: skip
SITE = (SiteSpec("G1.B2", 8),)


def config(text):
    origin = Origin(text[:200], 10, 32, text[:200], text[:200], text[:200])
    return ArtifactConfig(ActivationSpec("sparta", {}, "last", SITE, origin), {}, "0.1.0")


def results(text):
    training = dict.fromkeys(("method", "recipe", "batch_size", "epochs", "seed", "hardware", "torch", "commit"), text)
    row = {"attack": text, "accuracy": 1.0, "low": 0.0, "high": 2.0, "images": 10}
    overhead = dict.fromkeys(("host", "precision", "hardware", "record"), text) | dict.fromkeys(
        ("parameters", "host_parameters", "flops", "inference", "train", "frozen"), 1
    )
    return {"training": {**training, "seconds": 60, "images": 1, "steps": 1}, "evaluation": [row], "remark": text,
            "comparison": text, "overhead": overhead}  # fmt: skip


def shape(card):
    """What a Markdown reader would build: kinds of lines, cells of tables, fences, front matter; text put aside."""
    _, front, body = card.split("---\n", 2)
    kinds = []
    for line in body.splitlines():
        cells = len([c for c in line.replace("\\|", "") if c == "|"])
        start = line[:3] if line.startswith(("#", ">", "```", "~")) else ""
        kinds.append((bool(line), cells, start, line.count("](") - line.count("\\](")))
    return sorted(yaml.safe_load(front)), kinds


@pytest.mark.parametrize("text", EVIL)
def test_a_card_keeps_its_shape_whatever_its_values_say(text):
    plain, evil = (
        render_card("n", config("x"), results("x"), values=1),
        render_card("n", config(text), results(text), values=1),
    )
    assert shape(evil) == shape(plain)
    assert shape(plain_card("a/b", config(text), values=1)) == shape(plain_card("a/b", config("x"), values=1))
    for card in (evil, plain_card("a/b", config(text), values=1)):
        body = card.split("---\n", 2)[2]
        assert "<script" not in body
        assert "<img" not in body
        assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "sparta-hub"


@pytest.mark.parametrize("family", ["sparta\n---\nx: y", "!!python/object:os", "- a", "'", "{", "#"])
def test_metadata_is_data(family):
    spec = replace(config("x").activation, family=family)
    front = yaml.safe_load(plain_card("a/b", ArtifactConfig(spec, {}, ""), values=1).split("---\n")[1])
    assert front["tags"][-1] == " ".join(family.split())


@given(st.text(max_size=60))
def test_escaped_text_is_one_line_without_markup(text):
    for escape in (_escape.text, _escape.paragraph, _escape.code):
        escaped = escape(text)
        assert len(escaped.splitlines()) <= 1
        assert "<" not in escaped
        assert "](" not in escaped.replace("\\](", "")
    unescaped = _escape.text(text).replace("\\\\", "")
    assert all(unescaped[i - 1] == "\\" for i, char in enumerate(unescaped) if char in "|*`[]")
    assert not set(_escape.code(text)) & set('`"|<\\')
