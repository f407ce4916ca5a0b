"""The page in a real browser: it loads complete, attacks, uploads, restores a link, and fits a phone."""

import shutil
from dataclasses import replace

import pytest
from PIL import Image
from static_page import static_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no chromium on this machine: apt-get install chromium", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install --group dev")

WAIT = 120_000  # milliseconds; a busy machine is slow
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, request):
    """A new page; what the browser complains about is an error."""
    page = browser.new_page(viewport={"width": getattr(request, "param", 1200), "height": 900})
    page.set_default_timeout(WAIT)
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert not complaints


def opened(page, address):
    page.goto(address, timeout=WAIT)
    for part in ("#networks .compare img", "#sites section:visible", "#verdict li", "#examples input"):
        page.wait_for_selector(part)  # each panel appears in its own time
    return page


def picture(page):
    return page.locator("#networks .compare .over").first.get_attribute("src")


def choose(page, example, before):
    """Choose an example; once more if the page's own first event, which was still under way, has put it back."""
    for _ in range(6):
        page.get_by_label(example, exact=True).click(force=True)
        try:
            changed = "before => document.querySelector('#networks .over').src !== before"
            return page.wait_for_function(changed, arg=before, timeout=WAIT / 6)
        except sync_api.TimeoutError:
            continue
    pytest.fail(f"choosing {example} changed no picture")


def test_it_loads_complete_and_an_attack_changes_the_pictures(page, url):
    opened(page, url)
    assert page.locator("#networks article").count() == 2
    assert page.locator("#sites section:visible img").count() == 18  # 12 strips, 6 of the gate
    assert page.locator("#verdict li").count() == 2
    before = picture(page)
    choose(page, "ship", before)
    assert "a CIFAR-10 test image" in page.locator("#networks .over").first.get_attribute("alt")
    assert page.locator("#networks .over").first.get_attribute("alt").startswith("ship")
    page.get_by_label("G3.B1").check()
    page.wait_for_selector("#sites section[data-site='G3.B1']:visible")
    assert page.locator("#sites section:visible").count() == 1
    assert "site=G3.B1" in page.locator("#state-link").get_attribute("href")


def test_an_upload_is_attacked_and_a_bad_one_is_answered(page, url, tmp_path):
    opened(page, url)
    before = picture(page)
    Image.new("RGB", (90, 60), "orange").save(tmp_path / "mine.png")
    page.locator("#picture button[aria-label='Remove Image']").click()
    page.locator("#picture input[type=file]").set_input_files(tmp_path / "mine.png")
    page.wait_for_function("before => document.querySelector('#networks .over').src !== before", arg=before)
    assert page.locator("#networks .over").first.get_attribute("alt").startswith("your image")
    assert "middle square" in page.locator("#verdict").inner_text()
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    page.locator("#picture button[aria-label='Remove Image']").click()
    page.locator("#picture input[type=file]").set_input_files(tmp_path / "bad.png")
    page.get_by_text("no picture that can be read").first.wait_for()


def test_a_picture_that_was_removed_is_not_attacked(page, url):
    opened(page, url)
    page.locator("#picture button[aria-label='Remove Image']").click()
    page.wait_for_function("!document.querySelector('#examples input:checked')")
    page.locator("#attack").click()
    page.get_by_text("There is no picture yet: choose an example or upload one.").first.wait_for()


def test_a_link_restores_the_state(page, url, state):
    asked = replace(state, image="horse", site="G2.B1", eps=4.0, steps=3, target="dog")
    opened(page, f"{url}/{asked.link()}")
    page.wait_for_function("document.querySelector('#networks .over').alt.startsWith('horse')")
    assert page.locator("#sites section:visible").get_attribute("data-site") == "G2.B1"
    assert page.get_by_label("horse", exact=True).is_checked()
    assert page.locator("#state-link").get_attribute("href") == asked.link()


@pytest.mark.parametrize("page", [390], indirect=True)
def test_a_phone_has_nothing_to_scroll_sideways(page, url):
    opened(page, url)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = [article.bounding_box() for article in page.locator("#networks article").all()]
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"]  # one below the other


def test_the_static_page_works_without_a_server(page, show, tmp_path):
    only = replace(show, examples={name: show.examples[name] for name in ("cat", show.first.image)})
    (tmp_path / "index.html").write_text(static_page(only), encoding="utf-8")
    page.goto(f"file://{tmp_path}/index.html")
    assert page.locator("[data-screen]:visible").count() == 1
    page.get_by_label("cat, sparta-tiny").check()
    assert page.locator("[data-screen]:visible .over").first.get_attribute("alt").startswith("cat")
    page.get_by_label("G4.B1").check()
    assert page.locator("section[data-site]:visible").first.get_attribute("data-site") == "G4.B1"
    page.goto("about:blank")
    page.go_back()  # the browser restores what was chosen
    page.wait_for_selector("section[data-site='G4.B1']:visible")
    assert page.locator("[data-screen]:visible .over").first.get_attribute("alt").startswith("cat")
    handle = page.locator("[data-screen]:visible .compare input").first
    handle.focus()
    page.keyboard.press("Home")
    assert handle.evaluate("e => e.parentNode.style.getPropertyValue('--at')") == "0%"
