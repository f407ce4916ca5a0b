"""What the page says: measured, or nothing."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import page
import pytest
import torch
from demo import Scene, SiteView
from show import make_screen

from sparta_hub.diagnostics import SiteDenoising


class Tags(HTMLParser):
    """Collects tags, and complains about those that are left open."""

    def __init__(self, html):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def screen(show):
    return make_screen(show, replace(show.first, steps=2))


@pytest.fixture(scope="module")
def html(screen):
    parts = (screen.verdict, screen.networks, screen.sites, screen.table, screen.charts, screen.downloads)
    return "".join(parts)


def site(before, after):
    measured = SiteDenoising("G1.B2", "layer1.1.act2", before, after, 0.9, 0.95)
    return SiteView(measured, (0,), torch.zeros(2, 2, 1, 2, 2), None)


def test_denoising_is_a_measurement():
    assert page.denoises("SPARTA", site(0.4, 0.3)).startswith(
        "SPARTA takes out 25.0 % of the attack's distance at G1.B2 (relat"
    )
    assert "0.400 → 0.300, cosine 0.900 → 0.950" in page.denoises("SPARTA", site(0.4, 0.3))


def test_no_denoising_is_said_as_plainly():
    for after in (0.4, 0.5):
        assert "<b>SPARTA does not denoise this image at G1.B2</b>" in page.denoises("SPARTA", site(0.4, after))


def test_where_nothing_can_be_measured_nothing_is_claimed():
    assert "changed nothing that reaches G1.B2" in page.denoises("SPARTA", site(0.0, 0.0))
    assert "all zero" in page.denoises("SPARTA", site(0.1, float("nan")))


def test_the_html_is_whole_and_every_image_has_a_text(html):
    tags = Tags(html)
    images = [attributes for tag, attributes in tags.seen if tag == "img"]
    assert len(images) > 50
    assert all(image.get("alt") for image in images)
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)
    inputs = [attributes for tag, attributes in tags.seen if tag == "input"]
    assert inputs
    assert all(i.get("aria-label") for i in inputs)
    assert all(attributes["role"] == "img" for tag, attributes in tags.seen if tag == "svg")


def test_nothing_is_fetched_from_elsewhere(html):
    assert not re.search(r"""(src|href)=["'](?!data:|\?)""", html)


def test_one_site_is_shown_and_all_are_there(screen):
    shown = re.findall(r"<section data-site='([^']+)'( hidden)?>", screen.sites)
    assert [name for name, _ in shown] == ["G1.B1", "G2.B1", "G3.B1", "G4.B1"]
    assert [hidden == "" for _, hidden in shown] == [True, False, False, False]


def test_both_networks_stand_side_by_side_and_only_sparta_has_a_gate(screen):
    for html in (screen.networks, screen.sites):
        assert html.index("sparta-tiny") < html.index("relu-tiny")
    assert screen.sites.count("<details") == 4


def test_the_numbers_of_the_table_are_those_of_the_scene(screen):
    for view in screen.scene.views:
        for seen in view.sites.values():
            assert f"<td>{seen.denoising.before_distance:.3f}</td>" in screen.table


def test_the_verdict_says_what_happened(screen):
    view = screen.scene.views[0]
    held = Scene(screen.scene.x, 0, screen.scene.settings, (replace(view, success=False),))
    probabilities = torch.eye(10)[0]
    right = replace(view, clean_probabilities=probabilities, success=False)
    assert "It withstood" in page.verdict(replace(held, views=(right,)), twin_missing=False)
    assert "reached its aim" in page.verdict(replace(held, views=(replace(right, success=True),)), twin_missing=False)
    wrong = replace(right, clean_probabilities=torch.eye(10)[3])
    assert "wrong before the attack" in page.verdict(replace(held, views=(wrong,)), twin_missing=False)


def test_what_was_so_before_the_attack_is_not_its_doing(screen):
    view = replace(screen.scene.views[0], clean_probabilities=torch.eye(10)[3])
    settings = replace(screen.scene.settings, target=3)
    aimed = replace(view, attacked=replace(view.attacked, aim=3), success=True)
    there = page.verdict(Scene(screen.scene.x, None, settings, (aimed,)), twin_missing=False)
    assert "It saw that before the attack." in there
    assert "reached its aim" not in there
    still = page.verdict(Scene(screen.scene.x, 3, replace(settings, eps=0, target=None), (view,)), twin_missing=False)
    assert "With ε = 0 nothing was attacked." in still
    assert "withstood" not in still


def test_verdict_and_figures_name_the_attack_and_its_strength(screen):
    for part in (screen.verdict, screen.table, screen.charts):
        assert "PGD of 2 steps, L∞, ε = 8/255, towards any wrong class" in part
    aimed = replace(screen.scene, settings=replace(screen.scene.settings, target=3))
    assert "towards cat" in page.table(aimed)


def test_a_missing_twin_is_named_and_not_replaced(screen):
    alone = replace(screen.scene, views=screen.scene.views[:1])
    assert "no ReLU twin of this network yet" in page.verdict(alone, twin_missing=True)
    assert "ReLU" not in page.networks(alone)


def test_a_title_cannot_bring_html(screen):
    evil = replace(screen.scene, title="<script>alert(1)</script>")
    assert "<script" not in page.networks(evil)
