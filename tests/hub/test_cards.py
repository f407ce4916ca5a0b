"""Text of a stranger on a card is text: no HTML, link, code, table or metadata of its own."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sparta_hub.cards import _escape, plain_card, render_card
from sparta_hub.errors import ArtifactError
from sparta_hub.spec import ActivationSpec, ArtifactConfig, Origin, SiteSpec
from sparta_hub.transfer import Transfer

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
        render_card("n", config(" ".join(text.split())), results(text), values=1),
    )
    assert shape(evil) == shape(plain)
    line = " ".join(text.split())  # a config refuses more
    assert shape(plain_card("a/b", config(line), values=1)) == shape(plain_card("a/b", config("x"), values=1))
    for card in (evil, plain_card("a/b", config(line), values=1)):
        body = card.split("---\n", 2)[2]
        assert "<script" not in body
        assert "<img" not in body
        assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "sparta-hub"


def with_rows(*attacks):
    rows = [{"attack": a, "accuracy": 1.0, "low": 0.0, "high": 2.0, "images": 10, "seed": 3} for a in attacks]
    return results("x") | {"evaluation": rows}


def flat(card):
    return " ".join(card.split())


@pytest.mark.parametrize(
    ("attacks", "run"),
    [(["clean"], False), (["pgd, Linf 8/255"], False), (["autoattack, Linf 8/255"], True),
     (["clean", "thesis-aa (version standard), Linf 8/255"], True)],
)  # fmt: skip
def test_a_card_says_whether_autoattack_was_run_and_that_figures_are_upper_bounds(attacks, run):
    card = flat(render_card("n", config("x"), with_rows(*attacks), values=1))
    assert ("AutoAttack has not been run. The accuracies under attack are upper bounds" in card) is not run
    assert "The accuracies under attack are upper bounds: a stronger attack may break more images." in card


def test_a_baselines_card_has_only_what_applies():
    spec = replace(config("x").activation, family="relu")
    card = render_card("n", ArtifactConfig(spec, {}, ""), with_rows("clean"), values=0)
    for absent in ("## Hosts", "## Transfer", "Any timm network", "gate", "Guo", "bibtex", "| gain |", "\n\n\n", " \n"):
        assert absent not in card
    for present in ("A baseline", "## Limits", "## How to verify", "| attack | accuracy | 95 % interval | images |"):
        assert present in card
    set_card = render_card("n", config("x"), with_rows("clean"), values=1)
    for present in ("## Hosts", "## Transfer", "Any timm network", "gate", "Guo", "bibtex"):
        assert present in set_card


def test_a_card_promises_what_verify_does_and_says_how_to_install():
    card = flat(render_card("n", config("x"), with_rows("clean"), values=1))
    assert (
        "compares the files that have a checksum in `config.json`: weights and `results.json`, not this card." in card
    )
    assert "it does not measure worst cases, gains, cost or other networks" in card
    for text in (card, flat(plain_card("a/b", config("x"), values=1))):
        assert "type `pip install -e .` in a checkout of it; it is not on PyPI yet" in text


def test_a_card_says_what_attacks_ran_on():
    rows = [Transfer("n", host, "gtsrb", "frozen", 0, "r", 4.0, "t", {}, (), ran_on).to_json()
            for host, ran_on in (("a", "3 BatchNorms folded"), ("b", ""))]  # fmt: skip
    card = render_card("n", config("x"), with_rows("clean") | {"copies": "On a copy.", "transfers": rows}, values=1)
    assert "\n\nOn a copy.\n\n" in card
    assert "The attacks on a on gtsrb searched on a copy (3 BatchNorms folded), and the network itself decided." in card
    assert "on b on gtsrb" not in card
    rows[1]["host"], rows[1]["mode"] = "a", "relu"  # one of two at the same place
    card = render_card("n", config("x"), with_rows("clean") | {"transfers": rows}, values=1)
    assert "The attacks on a on gtsrb (frozen) searched on a copy (3 BatchNorms folded), and" in card


@pytest.mark.parametrize(("dataset", "known"), [("cifar10", "uoft-cs/cifar10"), ("mine", "mine")])
def test_the_metadata_names_data_as_the_hub_does_and_every_condition_of_a_figure(dataset, known):
    origin = Origin("h", 10, 32, "s", dataset, "t")
    threat = {"norm": "linf", "eps": 8 / 255, "targeted": False}
    found = with_rows("clean", "pgd, Linf 8/255")
    found["evaluation"][1] |= threat
    spec = replace(config("x").activation, origin=origin)
    card = render_card("n", ArtifactConfig(spec, {}, ""), found, values=1)
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["datasets"] == [known]
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"] == {"name": dataset, "type": known, "split": "test"}
    assert [metric["args"] for metric in result["metrics"]] == [
        {"n_examples": 10, "attack": "clean", "seed": 3},
        {"n_examples": 10, "attack": "pgd, Linf 8/255", "seed": 3, **threat},
    ]
    assert f"first 10 images of {dataset}'s test split" in card


@pytest.mark.parametrize(
    ("host", "other"), [("resnet18_cifar", "resnet34_cifar"), ("resnet34_cifar", "resnet18_cifar")]
)
def test_figures_come_in_the_units_that_the_card_says_and_the_example_with_another_host(host, other):
    origin = Origin(host, 10, 32, "s", "d", "t")
    found: dict[str, Any] = with_rows("clean")
    found["training"]["seconds"] = 5400
    found["overhead"] |= {"parameters": 811_528, "host_parameters": 11_173_962, "train": 1.204}
    spec = replace(config("x").activation, origin=origin)
    card = flat(render_card("n", ArtifactConfig(spec, {}, ""), found, values=1))
    assert "90 minutes on x" in card
    assert "of 11,173,962 parameters the set adds 811,528 (+7.3 %)" in card
    assert "a training step 1.20 times" in card
    assert "| data | d, training split |" in card
    assert "On the network it was trained in, on the first" in card
    found["training"] |= {"limit": 0.05, "ema_decay": 0.998}
    card = flat(render_card("n", ArtifactConfig(spec, {}, ""), found, values=1))
    assert "| data | d, training split, 5 % of its images |" in card
    assert "On the network it was trained in, with averaged weights, on the first" in card
    assert f'sparta_hub.load("n", model="{other}"' in card


def test_a_card_without_an_origin_is_refused():
    spec = replace(config("x").activation, origin=None)
    with pytest.raises(ArtifactError, match="n has no origin in its config; a card cannot say where it was trained"):
        render_card("n", ArtifactConfig(spec, {}, ""), results("x"), values=1)


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
