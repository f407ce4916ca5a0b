"""The app as a server: what its API gives, refuses and survives."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import space_cases

pytest.importorskip("gradio_client", reason="gradio is not installed: pip install --group dev")

import httpx
import yaml
from gradio_client import Client, handle_file
from PIL import Image
from transfer import fits, matrix, transferred
from words import ABOUT

import sparta_hub
from sparta_hub.errors import SiteError
from sparta_hub.evaluation import Accuracy, Gain
from sparta_hub.transfer import Transfer
from tests.conftest import HOST

LABEL = "any wrong class"


@pytest.fixture(scope="module")
def client(url):
    client = Client(url, verbose=False)
    yield client
    client.close()


def attack(client, **change):
    asked = {"picture": None, "example": "cat", "model": "sparta-tiny", "eps": 8, "steps": 2, "target": LABEL} | change
    return client.predict(*asked.values(), api_name="/attack")


def memory(server):
    """Resident bytes of the server."""
    status = Path(f"/proc/{server.pid}/status")
    if not status.is_file():
        pytest.skip("this machine has no /proc, so the server's memory cannot be read")
    return int(status.read_text().split("VmRSS:")[1].split()[0]) << 10


def test_the_api_is_named_and_typed(client):
    told = client.view_api(return_format="dict")["named_endpoints"]
    assert set(told) == {"/attack", "/check"}
    parameters = told["/attack"]["parameters"]
    assert [p["label"].split(":")[0] for p in parameters[:1]] == ["picture"]
    assert len(parameters) == 6
    assert all(p["type"] or p["python_type"] for p in parameters)
    assert "PGD" in told["/attack"]["description"]


def test_an_attack_by_api_gives_the_numbers(client):
    told = attack(client)
    assert told["image"] == "cat, a CIFAR-10 test image"
    assert [n["activation"] for n in told["networks"]] == ["SPARTA", "ReLU"]
    assert all(len(n["losses"]) == 3 and len(n["sites"]) == 4 for n in told["networks"])


def test_a_whole_number_may_come_as_a_float(client):
    """The schema of a slider says number, so programs send 2.0."""
    told = attack(client, steps=2.0)
    assert all(len(network["losses"]) == 3 for network in told["networks"])


def test_an_upload_by_api(client, tmp_path):
    Image.new("RGB", (300, 200), "red").save(tmp_path / "a.png")
    told = attack(client, picture=handle_file(tmp_path / "a.png"))
    assert (told["image"], told["class"]) == ("your image", None)


@pytest.mark.parametrize(
    "change",
    [{"eps": 17}, {"eps": -1}, {"eps": 1e300}, {"eps": float("nan")}, {"eps": "x"}, {"eps": None}, {"eps": [1]},
     {"steps": 0}, {"steps": 10**9}, {"steps": 2.5}, {"example": "../../etc/passwd"}, {"example": None},
     {"model": "sparta-hub/other"}, {"model": None}, {"target": "zebra"}, {"target": "cat"}],
    ids=str,
)  # fmt: skip
def test_what_is_out_of_range_is_refused_with_a_sentence(client, change):
    with pytest.raises(
        Exception, match=r"(?i)expected|not in|minimum|maximum|must|already|choose|valid|range|number|error"
    ):
        attack(client, **change)


def test_malformed_uploads_are_refused_and_the_server_goes_on(client, tmp_path):
    from test_images import malformed, png

    for number in range(5):
        path = tmp_path / f"{number}.png"
        path.write_bytes(png(30_000, 30_000) if number == 0 else malformed(3 * number)[:40])
        with pytest.raises(Exception, match=r"picture"):
            attack(client, picture=handle_file(path))
    assert attack(client)["networks"]


def test_a_file_of_the_server_cannot_be_read_through_the_api(client, tmp_path):
    secret = Path(__file__)
    payload = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception):  # noqa: B017, PT011  gradio says it in its own words
        attack(client, picture=payload)


def test_twenty_visitors_at_once(url, server):
    """Every one is answered: with numbers, or with a sentence that the queue is full."""
    answers, told, before = 0, [], memory(server)

    def visit(number):
        visitor = Client(url, verbose=False)
        try:
            return attack(visitor, eps=number % 17, steps=1)
        finally:
            visitor.close()

    with ThreadPoolExecutor(20) as crowd:
        for done in [crowd.submit(visit, number) for number in range(20)]:
            try:
                answers += len(done.result(timeout=300)["networks"]) == 2
            except Exception as error:
                told.append(str(error))
    assert answers + len(told) == 20
    assert answers >= 15, told
    assert all("full" in text for text in told)
    assert memory(server) - before < 400 << 20


def test_check_by_api_says_why(client):
    fit = client.predict("sparta-tiny", HOST, api_name="/check")
    assert f"<b>sparta-tiny fits {HOST}.</b>" in fit
    assert "load(&quot;sparta-tiny&quot;" in fit  # and not a folder of the server
    assert "frozen=True" in fit
    for name in ("no_such_network", None, 5, ["resnet18"]):
        with pytest.raises(Exception, match="timm has no model"):
            client.predict("sparta-tiny", name, api_name="/check")
    with pytest.raises(Exception, match="There is no activation set"):
        client.predict(["sparta-tiny"], "resnet18", api_name="/check")


def test_a_set_that_does_not_fit_says_why(entries):
    told = fits("sparta-tiny", entries["sparta-tiny"].info, "resnet50")
    assert "does not fit resnet50" in told
    assert "channels" in told
    with pytest.raises(SiteError):
        fits("x", entries["sparta-tiny"].info, "<b>")


def test_the_matrix_shows_what_the_records_say(entries):
    html = matrix(entries.values())
    assert html.count("40.0 % [13.0, 73.0]") == 2


def test_transfers_are_shown_as_the_artifacts_have_them(entries):
    info = entries["sparta-tiny"].info
    assert "No transfer of these sets was measured yet" in transferred({"sparta-tiny": info})
    accuracies = {"clean": Accuracy(54.0, 50.9, 57.1, 540, 1000)}
    gains = (Gain("clean", 1.0, -0.5, 2.5, 30, 20, 1000),)
    row = Transfer("sparta-tiny", "a<b", "gtsrb", "frozen", 0, "r", 4.0, "Linf 8/255", accuracies, gains)
    html = transferred({"x": replace(info, results={"transfers": [row.to_json()]})})
    assert "<th scope='col'>clean</th><th scope='col'>gain</th>" in html
    assert "<td>a&lt;b</td><td>gtsrb</td><td>4</td><td>frozen</td><td>0</td><td>54.0 % [50.9, 57.1]</td>" in html
    assert "<td>+1.0 [-0.5, +2.5]</td>" in html


def test_the_first_screen_is_there_before_anybody_clicks(url):
    config = httpx.get(f"{url}/config", timeout=60).text
    assert "data:image/png;base64," in config
    assert "before the activation" in config


def test_examples_are_no_uploads_which_are_deleted_after_an_hour(url):
    config = httpx.get(f"{url}/config", timeout=60).json()
    picture = next(c["props"] for c in config["components"] if c["props"].get("elem_id") == "picture")
    assert Path(picture["value"]["path"]).parent == space_cases.SPACE / "examples"


def test_nothing_else_is_named_spaces():
    assert not (space_cases.SPACE.parent / "__init__.py").exists()
    from gpu import on_gpu

    assert on_gpu(len) is len  # here; on a Space the Hub's package is installed


def test_the_page_and_its_read_me_promise_no_package_that_is_not_there():
    readme = (space_cases.SPACE / "README.md").read_text(encoding="utf-8")
    assert "sparta-hub push-space spaces/denoising ORG/NAME" in readme
    assert "ZeroGPU was not tried" in readme
    assert "pip install sparta-hub" not in readme + ABOUT


def test_front_matter_and_requirements_are_complete():
    text = (space_cases.SPACE / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---")[1])
    needed = {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "license",
              "short_description", "models", "datasets", "tags"}  # fmt: skip
    assert needed <= front.keys()
    assert re.fullmatch(r"6\.\d+\.\d+", front["sdk_version"])
    assert (space_cases.SPACE / front["app_file"]).is_file()
    lines = (space_cases.SPACE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", pin) for pin in pins)
    assert f"sparta-hub=={sparta_hub.__version__}" in pins


def test_at_most_24_examples_of_32_pixels():
    pictures = list((space_cases.SPACE / "examples").glob("*.png"))
    assert 1 <= len(pictures) <= 24
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.size == (32, 32)
