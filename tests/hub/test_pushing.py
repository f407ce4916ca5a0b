"""What goes to the Hub, what never does, and what the repository is afterwards."""

import json
import os
import pickle
from typing import Any, cast

import pytest
from huggingface_hub import HfApi, ModelCard
from safetensors.torch import load_file, save_file
from torch import nn

import sparta_hub
from sparta_hub.artifacts import sha256_of
from sparta_hub.errors import ArtifactError, HubError, NameNotFoundError, SpartaError
from sparta_hub.hub import resolve
from sparta_hub.hub.contents import refuse_secrets
from sparta_hub.saving import save_model
from tests.conftest import HOST, small_host
from tests.hub.conftest import REPO, put

OF_ANOTHER = b"---\nlicense: mit\n---\n"


def test_a_repository_is_the_folder_and_a_card_in_one_commit(hub, cache, artifact):
    pushed = sparta_hub.push_to_hub(artifact, REPO, tags=["v1"])
    repo = hub.repos["model", REPO]
    assert pushed.url == f"{hub.url}/{REPO}/commit/{pushed.commit}"
    assert len(repo.commits) == 2  # the one that makes a repository, and ours
    tree = repo.commits[pushed.commit].tree
    own = {path.name: path.read_bytes() for path in artifact.iterdir()}
    assert tree.keys() == own.keys() | {"README.md", ".gitattributes"}
    assert {name: (hub.blobs / tree[name].etag).read_bytes() for name in own} == own
    assert repo.tags == {"v1": pushed.commit}
    card = ModelCard((hub.blobs / tree["README.md"].etag).read_text())
    assert (card.data.get("library_name"), card.data.get("pipeline_tag")) == ("sparta-hub", "image-classification")
    assert f'load("{REPO}", model="{HOST}"' in card.text
    assert "Nothing was measured" in card.text
    assert resolve(f"{REPO}@v1").name == pushed.commit
    assert sparta_hub.list_models(hub=True) == [REPO]
    assert sparta_hub.list_models(hub=True, author="bob") == []


def test_pushing_again_changes_nothing_and_less_deletes_old_weights(hub, artifact):
    first = sparta_hub.push_to_hub(artifact, REPO, tags=["v1"])
    assert sparta_hub.push_to_hub(artifact, REPO, tags=["v1"]).commit == first.commit
    HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="notes.txt", repo_id=REPO)
    second = sparta_hub.push_to_hub(sparta_hub.load(artifact), REPO, tags=["v2"])
    assert hub.repos["model", REPO].tags == {"v1": first.commit, "v2": second.commit}
    tree = hub.repos["model", REPO].commits[second.commit].tree
    assert tree.keys() == {"README.md", "config.json", "activations.safetensors", ".gitattributes", "notes.txt"}
    with pytest.raises(HubError, match=f"The tag v1 is at commit {first.commit} already, and tags do not move"):
        sparta_hub.push_to_hub(artifact, REPO, tags=["v1"])
    assert hub.repos["model", REPO].branches["main"] == second.commit


def test_one_tag_is_no_list_of_them(hub, artifact):
    with pytest.raises(HubError, match=r"tags is 'v1'; expected a list of tags: \['v1'\]"):
        sparta_hub.push_to_hub(artifact, REPO, tags="v1")


def test_authors_are_known_to_the_hub_alone():
    with pytest.raises(HubError, match="author is 'me' without hub=True; only the Hub knows authors"):
        sparta_hub.list_models(author="me")


def test_a_tag_at_what_this_push_has_replaced_stays_and_is_said(hub, artifact):
    first = sparta_hub.push_to_hub(artifact, REPO, tags=["v1"])
    with pytest.raises(
        HubError, match=rf"Pushed as commit \w{{40}}, but the tag v1 stays at {first.commit}; choose an"
    ):
        sparta_hub.push_to_hub(sparta_hub.load(artifact), REPO, tags=["v1"])


def test_figures_that_a_set_no_longer_has_are_deleted(hub, artifact, copied):
    put(copied, {"remark": "measured"})
    before, after = (sparta_hub.push_to_hub(folder, REPO).commit for folder in (copied, artifact))
    commits = hub.repos["model", REPO].commits
    assert "results.json" in commits[before].tree
    assert "results.json" not in commits[after].tree


def test_private_branch_and_pull_request(hub, artifact, as_bob, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    sparta_hub.push_to_hub(artifact, REPO, private=True, revision="dev")
    repo = hub.repos["model", REPO]
    assert repo.private
    assert repo.branches["dev"] != repo.branches["main"]
    repo.private = False
    monkeypatch.setenv("HF_TOKEN", "hf_bobs_own_token")
    with pytest.raises(HubError, match=r"acme/tiny cannot be pushed: this token may not do that \(403\)"):
        sparta_hub.push_to_hub(artifact, REPO)
    proposed = sparta_hub.push_to_hub(artifact, REPO, create_pr=True)
    assert proposed.url == f"{hub.url}/{REPO}/discussions/1"
    assert repo.branches["refs/pr/1"] == proposed.commit != repo.branches["main"]
    with pytest.raises(HubError, match="leave revision and tags out"):
        sparta_hub.push_to_hub(artifact, REPO, create_pr=True, revision="dev")
    with pytest.raises(HubError, match="leave revision and tags out"):
        sparta_hub.push_to_hub(artifact, REPO, create_pr=True, tags=["v1"])


def test_a_dry_run_says_everything_and_sends_nothing(hub, artifact):
    planned = sparta_hub.push_to_hub(artifact, REPO, dry_run=True)
    assert not hub.log
    assert (planned.repo, planned.commit, planned.url) == (REPO, None, None)
    assert planned.message == f"sparta at 4 sites, sparta-hub {sparta_hub.__version__}"
    sizes = {path.name: path.stat().st_size for path in artifact.iterdir()}
    assert {name: size for name, size in planned.files if name != "README.md"} == sizes
    done = sparta_hub.push_to_hub(artifact, REPO)
    assert done.files == planned.files


def test_somebody_elses_commit_in_between_is_not_overwritten(hub, published, artifact):
    def interfere(request):
        if "/preupload/" in request.url.path:
            hub.intercept = lambda request: None
            repo = hub.repos["model", REPO]
            hub._append(repo, "main", "other", "", "acme", dict(repo.commits[published].tree))
        return

    hub.intercept = interfere
    with pytest.raises(HubError, match="acme/tiny cannot be pushed: .*412"):
        sparta_hub.push_to_hub(sparta_hub.load(artifact), REPO)


def test_a_token_of_the_call_is_used_and_a_wrong_one_said(hub, artifact, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert sparta_hub.push_to_hub(artifact, REPO, token="hf_test").commit
    with pytest.raises(HubError, match=r"cannot be pushed: the Hub does not accept this token \(401\)") as caught:
        sparta_hub.push_to_hub(artifact, REPO, token="hf_AnotherSecret")
    assert "AnotherSecret" not in str(caught.value)


SECRET = "hf_" + "aB3" * 12  # put together here, so that no scanner takes this file for a leak
KEY = "-----BEGIN OPENSSH " + "PRIVATE KEY-----"


def write(name, content):
    def damage(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def in_results(text):
    def damage(folder):
        save_model(sparta_hub.load(folder), folder, results={"remark": text}, with_host=True)

    return damage


def link(folder):
    (folder / "LICENSE").symlink_to("/etc/passwd")


def metadata(folder):
    path = folder / "activations.safetensors"
    save_file(load_file(path), path, metadata={"format": "pt", "note": SECRET})
    config = json.loads((folder / "config.json").read_text())
    config["files"][path.name] = sha256_of(path)
    (folder / "config.json").write_text(json.dumps(config))


def listed(folder):
    config = json.loads((folder / "config.json").read_text())
    config["files"]["model.pt"] = "0" * 64
    (folder / "config.json").write_text(json.dumps(config))


CARD = "---\nlibrary_name: sparta-hub\n---\n"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (write("pytorch_model.bin", pickle.dumps({})), "pytorch_model.bin is a pickle or may hold one, which is never"),
        (write("LICENSE", pickle.dumps({})), "LICENSE is a pickle or may hold one"),
        (write("LICENSE", b"PK\x03\x04 a zip, as torch.save writes"), "LICENSE is a pickle or may hold one"),
        (write("best.ckpt", "x"), "best.ckpt is a pickle"),
        (write("BEST.CKPT", "x"), "BEST.CKPT is a pickle"),
        (write("model.pt", "x"), "model.pt is a pickle"),
        (listed, "config.json lists model.pt; a published artifact has no such files"),
        (write("train.py", "print()"), "train.py is not expected in what is published; take it out of"),
        (write(".env", "A=1"), ".env is not expected"),
        (write(".hidden/x.png", b"\x89PNG\r\n\x1a\n"), ".hidden/x.png is not expected"),
        (write(".git/config", "x"), ".git/config is not expected"),
        (write("more/notes.md", "x"), "more/notes.md is not expected"),
        (write("x.png", "<script>"), "x.png is no PNG image"),
        (link, "LICENSE is a link or no plain file"),
        (write("README.md", CARD + f"token: {SECRET}"), "README.md holds a Hugging Face token, or what looks like one"),
        (write("README.md", CARD + KEY), "README.md holds a private key"),
        (write("README.md", CARD + "ghp_" + "x1" * 18), "README.md holds a GitHub token"),
        (write("README.md", CARD + "github_pat_" + "x1_" * 12), "README.md holds a GitHub token"),
        (write("README.md", CARD + "AKIA" + "Z" * 16), "README.md holds an AWS key"),
        (write("README.md", CARD + f"my {os.environ['HF_TOKEN']}"), "README.md holds the token that is in use"),
        (in_results(SECRET), "results.json holds a Hugging Face token"),
        (metadata, "activations.safetensors holds a Hugging Face token"),
        (
            write("README.md", "# no front matter"),
            "README.md says library_name: None; write `library_name: sparta-hub`",
        ),
        (write("README.md", "---\nlibrary_name: timm\n---\n"), "README.md says library_name: timm"),
        (write("README.md", "---\na: [\n---\n"), "The front matter of README.md is not readable"),
        (write("README.md", "---\nx: !!python/object/apply:os.system [true]\n---\n"), "front matter .* not readable"),
        (write("model.safetensors", "x"), "model.safetensors is damaged; save the artifact again, whole"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (write("activations.safetensors", "<html>"), "it looks like an HTML page"),
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
    ],
)
def test_what_must_not_be_published_is_refused_before_anything_is_sent(hub, copied, damage, message):
    damage(copied)
    with pytest.raises(SpartaError, match=message) as caught:
        sparta_hub.push_to_hub(copied, REPO)
    assert SECRET not in str(caught.value)
    assert not hub.log


def test_weights_may_look_like_a_secret_and_their_header_may_not():
    header, weights = f'{{"note": "{SECRET}"}}'.encode(), SECRET.encode()
    refuse_secrets("a.safetensors", (2).to_bytes(8, "little") + b"{}" + weights)
    with pytest.raises(HubError, match="a.safetensors holds a Hugging Face token"):
        refuse_secrets("a.safetensors", len(header).to_bytes(8, "little") + header)


@pytest.mark.parametrize(
    "name",
    ["tiny", "acme/tiny@v1", "../x", "a/../b", "acme/..", "acme/a--b", "acme/a.git", "acme/a-", "https://x.y/a/b",
     None, nn.Identity()],
)  # fmt: skip
def test_only_repositories_can_be_pushed_to(hub, artifact, name):
    with pytest.raises(NameNotFoundError, match="is no name of a repository; expected 'org/name'"):
        sparta_hub.push_to_hub(artifact, name)
    assert not hub.log


@pytest.mark.parametrize("name", ["", ".", "v 1", "a..b", "v1.", "a.lock/b", "-" * 201, "a//b", 1, "a@b", "0a" * 20])
def test_names_that_git_would_refuse_are_refused_before(hub, artifact, name):
    with pytest.raises(HubError, match="A tag is .*; expected a name such as v1"):
        sparta_hub.push_to_hub(artifact, REPO, tags=["v1", name], dry_run=True)
    with pytest.raises(HubError, match="revision is .*; expected a name such as v1"):
        sparta_hub.push_to_hub(artifact, REPO, revision=name, dry_run=True)
    assert not hub.log


def test_a_network_without_a_set_is_refused(hub):
    with pytest.raises(SpartaError, match="holds no activation of ours"):
        sparta_hub.push_to_hub(small_host(), REPO)


def test_every_file_is_compared(published, copied):
    states = {state.name: state for state in sparta_hub.verify_files(f"{REPO}@{published}")}
    assert {name: state.state for name, state in states.items()} == {
        "activations.safetensors": "ok", "config.json": "ok", "model.safetensors": "missing",
    }  # fmt: skip
    assert not states["model.safetensors"].needed
    (copied / "model.safetensors").write_bytes(b"x")
    assert [s.state for s in sparta_hub.verify_files(copied)] == ["ok", "ok", "damaged"]
    with pytest.raises(ArtifactError, match="has no config.json"):
        sparta_hub.verify_files(copied.parent)
    assert all(state.state == "ok" for state in sparta_hub.verify_files("sparta-res18-cifar"))


def test_what_is_to_be_private_is_not_put_where_all_can_read(hub, artifact):
    HfApi().create_repo(REPO, private=False)
    with pytest.raises(HubError, match="acme/tiny is there already, and public"):
        sparta_hub.push_to_hub(artifact, REPO, private=True)
    assert len(hub.repos["model", REPO].commits) == 1
    sparta_hub.push_to_hub(artifact, "acme/secret", private=True)
    assert hub.repos["model", "acme/secret"].private
    sparta_hub.push_to_hub(artifact, "acme/secret", private=True, tags=["v1"])


@pytest.mark.parametrize("revision", [None, "next"])
def test_a_repository_of_something_else_is_left_alone(hub, artifact, revision):
    api = HfApi()
    api.create_repo(REPO)
    for name in ("README.md", "config.json", "model.safetensors", "sub/adapter.safetensors"):
        api.upload_file(path_or_fileobj=OF_ANOTHER if name == "README.md" else b"{}", path_in_repo=name, repo_id=REPO)
    before = hub.repos["model", REPO].branches.copy()
    with pytest.raises(
        HubError, match="acme/tiny holds config.json and no activations.safetensors: it is of something"
    ):
        sparta_hub.push_to_hub(artifact, REPO, revision=revision)
    assert hub.repos["model", REPO].branches == before


def test_weights_of_others_beside_a_set_stay(hub, artifact):
    sparta_hub.push_to_hub(artifact, REPO)
    for name in ("sub/model.safetensors", "adapter.safetensors", "model-00001-of-00002.safetensors"):
        HfApi().upload_file(path_or_fileobj=b"{}", path_in_repo=name, repo_id=REPO)
    pushed = sparta_hub.push_to_hub(artifact, REPO)
    tree = hub.repos["model", REPO].commits[pushed.commit].tree
    assert {"sub/model.safetensors", "adapter.safetensors"} < tree.keys()
    assert "model-00001-of-00002.safetensors" not in tree


def test_no_branch_takes_the_place_of_a_tag(hub, artifact):
    sparta_hub.push_to_hub(artifact, REPO, tags=["v1"])
    with pytest.raises(HubError, match="revision is 'v1', which is a tag of acme/tiny"):
        sparta_hub.push_to_hub(artifact, REPO, revision="v1")
    assert "v1" not in hub.repos["model", REPO].branches
    with pytest.raises(HubError, match="A tag is 'main', which is the branch"):
        sparta_hub.push_to_hub(artifact, REPO, tags=["main"])


def test_a_tag_that_fails_does_not_hide_the_commit(hub, artifact, monkeypatch):
    def down(*_, **__):
        raise OSError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(HfApi, "create_tag", down)
        with pytest.raises(
            HubError, match="Pushed as commit [0-9a-f]{40}, but without the tag v1: .*Push again"
        ) as told:
            sparta_hub.push_to_hub(artifact, REPO, tags=["v1", "v1"])
    pushed = sparta_hub.push_to_hub(artifact, REPO, tags=["v1", "v1"])
    assert str(pushed.commit) in str(told.value)
    assert hub.repos["model", REPO].tags == {"v1": pushed.commit}


def test_what_is_no_folder_is_refused(hub):
    with pytest.raises(HubError, match="Got None; expected an artifact folder, or a network"):
        sparta_hub.push_to_hub(cast(Any, None), REPO)
