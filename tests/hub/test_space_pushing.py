"""Spaces: checked, pinned to this version, pushed; the static page where compute is not to be had."""

import pytest
from huggingface_hub import HfApi
from starlette.responses import JSONResponse

import sparta_hub
from sparta_hub.errors import HubError, NameNotFoundError
from sparta_hub.hub import push_space

FRONT = "---\ntitle: Denoising\nemoji: 🔬\nsdk: gradio\nsdk_version: 6.31.0\napp_file: app.py\n---\nHello\n"
PIN = f"sparta-hub=={sparta_hub.__version__}"


@pytest.fixture
def space(tmp_path):
    folder = tmp_path / "denoising"
    (folder / "static").mkdir(parents=True)
    (folder / "examples").mkdir()
    (folder / "README.md").write_text(FRONT, encoding="utf-8")
    (folder / "app.py").write_text("import spaces\n")
    (folder / "demo.py").write_text("x = 1\n")
    (folder / "requirements.txt").write_text("# ours\nsparta-hub\ntimm>=1.0\n")
    (folder / "static" / "index.html").write_text("<p>precomputed</p>")
    (folder / "examples" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "app.cpython-311.pyc").write_bytes(b"x")
    return folder


def read(hub, repo, name):
    repo = hub.repos["space", repo]
    return (hub.blobs / repo.commits[repo.branches["main"]].tree[name].etag).read_text()


def test_the_folder_goes_out_with_our_version_pinned(hub, space):
    pushed = push_space(space, "acme/denoising")
    tree = hub.repos["space", "acme/denoising"].commits[pushed.commit].tree
    names = {"README.md", "app.py", "demo.py", "requirements.txt", "examples/a.png"}
    assert {name for name, _ in pushed.files} == names == tree.keys() - {".gitattributes"}
    assert read(hub, "acme/denoising", "requirements.txt") == f"# ours\n{PIN}\ntimm>=1.0\n"
    assert read(hub, "acme/denoising", "README.md") == FRONT
    assert (space / "requirements.txt").read_text().splitlines()[1] == "sparta-hub"
    (space / "demo.py").rename(space / "maths.py")
    tree = hub.repos["space", "acme/denoising"].commits[push_space(space, "acme/denoising").commit].tree
    assert {"maths.py", ".gitattributes"} <= tree.keys()
    assert "demo.py" not in tree


def test_a_dry_run_sends_nothing(hub, space):
    planned = push_space(space, "acme/denoising", dry_run=True)
    assert planned.message == f"App for sparta-hub {sparta_hub.__version__}"
    assert not hub.log


def test_without_compute_the_static_page_is_offered_and_works(hub, space):
    def no_compute(request):
        if request.url.path == "/api/repos/create" and sdk:
            return JSONResponse({"error": "PRO needed"}, 402)
        return None

    sdk = ["gradio"]
    hub.intercept = no_compute
    with pytest.raises(HubError, match=r"wants a paid plan for that \(402\).*Or publish the static page.*: --static"):
        push_space(space, "acme/denoising")
    sdk.clear()
    push_space(space, "acme/denoising", static=True)
    card = read(hub, "acme/denoising", "README.md")
    assert "sdk: static" in card
    assert "sdk_version" not in card
    assert card.endswith("Hello\n")
    assert read(hub, "acme/denoising", "index.html") == "<p>precomputed</p>"
    assert "app.py" not in hub.repos["space", "acme/denoising"].commits


@pytest.mark.parametrize(
    ("lines", "pinned"),
    [
        ("sparta-hub>=0.1", PIN),
        ("sparta_hub[autoattack]==0.0.1  # ours", PIN.replace("hub==", "hub[autoattack]==") + "  # ours"),
        ("sparta-hub @ https://example.org/x.whl", "sparta-hub @ https://example.org/x.whl"),
        ("sparta-hub @ git+https://h/o/r@abc#egg=x  # @", "sparta-hub @ git+https://h/o/r@abc#egg=x  # @"),
        ("sparta-hub  # me@home", f"{PIN}  # me@home"),
        ("timm\nSPARTA-Hub ; python_version > '3.10'", f"timm\n{PIN}  ; python_version > '3.10'"),
    ],
)
def test_requirements_of_all_forms_are_pinned(hub, space, lines, pinned):
    (space / "requirements.txt").write_text(lines)
    push_space(space, "acme/denoising")
    assert read(hub, "acme/denoising", "requirements.txt") == pinned


def replaced(name, old, new):
    def damage(folder):
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return damage


def added(name, content="x"):
    def damage(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "README.md").unlink(), "has no README.md; expected a Space's folder"),
        (lambda f: (f / "app.py").unlink(), "has no app.py, which a Space needs"),
        (lambda f: (f / "requirements.txt").unlink(), "has no requirements.txt, which a Space needs"),
        (replaced("README.md", "title: Denoising\n", ""), "has no title in its front matter"),
        (replaced("README.md", "sdk: gradio", "sdk: docker"), "has sdk: docker; expected sdk: gradio"),
        (replaced("README.md", "6.31.0", "6.31"), "has sdk_version: 6.31; all three numbers are needed"),
        (replaced("README.md", "title: Denoising", "title: ["), "front matter .* is not readable"),
        (replaced("requirements.txt", "sparta-hub", "sparta-hub-other"), "does not name sparta-hub; add a line"),
        (replaced("requirements.txt", "timm", "gradio"), "names gradio; a Space takes it from sdk_version"),
        (added("spaces.py"), "spaces.py would hide the package of that name"),
        (added("spaces/__init__.py"), "spaces/__init__.py would hide the package"),
        (added("weights.pt"), "weights.pt is a pickle"),
        (added(".env"), ".env is not expected"),
        (added("notes.md", "hf_" + "aB3" * 12), "notes.md holds a Hugging Face token"),
    ],
)  # fmt: skip
def test_what_is_no_space_is_refused_before_anything_is_sent(hub, space, damage, message):
    damage(space)
    with pytest.raises(HubError, match=message):
        push_space(space, "acme/denoising")
    assert not hub.log


def test_names_and_a_missing_static_page(space):
    with pytest.raises(NameNotFoundError, match="'denoising' is no name of a Space; expected 'org/name'"):
        push_space(space, "denoising")
    (space / "static" / "index.html").unlink()
    with pytest.raises(HubError, match="has no static/index.html; a static Space is that page"):
        push_space(space, "acme/denoising", static=True)


def test_another_space_is_left_alone(hub, space):
    api = HfApi()
    api.create_repo("acme/other", repo_type="space", space_sdk="gradio")
    for name, text in (("README.md", FRONT.replace("Denoising", "Chess")), ("my_app.py", "x"), ("data/x.csv", "1")):
        api.upload_file(path_or_fileobj=text.encode(), path_in_repo=name, repo_id="acme/other", repo_type="space")
    before = hub.repos["space", "acme/other"].branches.copy()
    with pytest.raises(HubError, match="acme/other is another Space: its title is 'Chess' and not 'Denoising'"):
        push_space(space, "acme/other")
    assert hub.repos["space", "acme/other"].branches == before
    with pytest.raises(HubError, match="acme/other is there already, and public"):
        push_space(space, "acme/other", private=True)
