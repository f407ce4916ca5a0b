"""Files that break on the way, on the server or in the cache: found by checksum, mended if possible, else said."""

import json
import re

import pytest
from huggingface_hub import constants
from starlette.responses import Response

import sparta_hub
from sparta_hub.errors import ArtifactError, HubError
from sparta_hub.hub import resolve
from sparta_hub.hub.failures import explain
from sparta_hub.surgery import state_of
from tests.conftest import HOST
from tests.hub.conftest import REPO


def flip(path):
    """Change one bit of a file, which the client's cache makes read-only; its length stays."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_connection_cut_in_the_middle_resumes(hub, published, weights_blob, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # 10 MB: this file would come in one piece
    data, cut = weights_blob.read_bytes(), []

    def half(request):
        if "/_cdn/" not in request.url.path or cut:
            return None

        async def send_half(scope, receive, send):
            headers = [(b"content-length", str(len(data)).encode()), (b"etag", weights_blob.name.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": data[: len(data) // 2], "more_body": True})
            cut.append(True)
            raise ConnectionError

        return send_half

    hub.intercept = half
    folder = resolve(REPO)
    assert (folder / "activations.safetensors").read_bytes() == data
    assert cut
    ranges = [request.headers["range"] for request in hub.log if "range" in request.headers]
    assert len(ranges) == 1
    assert len(data) // 2 - 1000 <= int(ranges[0].removeprefix("bytes=").removesuffix("-")) <= len(data) // 2


def test_a_truncated_file_is_refused(hub, published, weights_blob):
    data = weights_blob.read_bytes()
    weights_blob.write_bytes(data[:-100])
    with pytest.raises(ArtifactError, match="a file arrived incomplete. Try again"):
        resolve(REPO)
    weights_blob.write_bytes(data)
    assert (resolve(REPO) / "activations.safetensors").read_bytes() == data


@pytest.mark.parametrize("what", ["a flipped bit", "an HTML page"])
def test_other_bytes_of_the_same_length_are_refused_and_mended_later(hub, published, weights_blob, what):
    data = weights_blob.read_bytes()
    if what == "an HTML page":
        weights_blob.write_bytes(b"<!DOCTYPE html><p>Sign in".ljust(len(data)))
    else:
        flip(weights_blob)
    guess = "it looks like an HTML page" if what == "an HTML page" else "damaged, truncated or another version"
    with pytest.raises(ArtifactError, match=f"arrived twice with another checksum.*{guess}.*Try again; if it stays so"):
        resolve(REPO)
    weights_blob.write_bytes(data)
    assert sparta_hub.load(REPO, model=HOST) is not None


def test_damage_on_the_way_is_mended_by_asking_again(hub, published, weights_blob):
    spoiled = []

    def once(request):
        if "/_cdn/" in request.url.path and request.method == "GET" and not spoiled:
            spoiled.append(bytes(reversed(weights_blob.read_bytes())))
            return Response(spoiled[0])
        return None

    hub.intercept = once
    assert (resolve(REPO) / "activations.safetensors").read_bytes() == weights_blob.read_bytes()
    assert spoiled


@pytest.mark.parametrize("file", ["activations.safetensors", "config.json"])
def test_damage_in_the_cache_is_mended_or_said(hub, published, weights_blob, file):
    pinned = f"{REPO}@{published}"
    path = (resolve(pinned) / file).resolve()
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(good.replace(b"0.1.0", b"0.9.9") if file == "config.json" else bytes(reversed(good)))
    hub.intercept = lambda request: Response(status_code=503)
    with pytest.raises(HubError, match="is not whole in the cache"):
        resolve(pinned)
    hub.intercept = lambda request: None
    assert (resolve(pinned) / file).read_bytes() == good


def test_a_config_of_another_commit_is_refused(hub, published, artifact, copied):
    """The server mixes up two commits: it answers as the first, with the second's config."""
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"library_version": "9.9.9"}))
    second = sparta_hub.push_to_hub(copied, REPO).commit
    tree = hub.repos["model", REPO].commits
    other = hub.blobs / tree[second].tree["config.json"].etag
    first = tree[published].tree["config.json"].etag

    def mixed(request):
        if published in request.url.path and "config.json" in request.url.path:
            headers = {"X-Repo-Commit": published, "ETag": f'"{first}"', "Content-Length": str(other.stat().st_size)}
            return Response(other.read_bytes() if request.method == "GET" else b"", headers=headers)
        return None

    hub.intercept = mixed
    with pytest.raises(ArtifactError, match="config.json of acme/tiny arrived twice with another checksum"):
        resolve(f"{REPO}@{published}")


def test_a_new_commit_that_does_not_arrive_leaves_the_old_one(hub, published, artifact):
    old = resolve(REPO)
    model = sparta_hub.load(artifact)
    state_of(model)["stage1.block1.conv4.weight"].data.add_(1)
    newer = sparta_hub.push_to_hub(model, REPO).commit
    hub.intercept = lambda request: Response(status_code=404) if "/_cdn/" in request.url.path else None
    with pytest.raises(HubError, match="acme/tiny cannot be loaded: .*404"):
        resolve(REPO)
    hub.intercept = lambda request: Response(status_code=503)
    assert resolve(REPO) == old  # the client's own ref would be at a commit without files now
    hub.intercept = lambda request: None
    assert resolve(REPO).name == newer


def test_weights_under_another_commit_than_the_config_are_refused(hub, published, weights_blob):
    def other(request):
        if not request.url.path.endswith("/activations.safetensors"):
            return None
        size = str(weights_blob.stat().st_size)
        headers = {"X-Repo-Commit": "f" * 40, "ETag": f'"{weights_blob.name}"', "Content-Length": size}
        return Response(weights_blob.read_bytes() if request.method == "GET" else b"", headers=headers)

    hub.intercept = other
    with pytest.raises(ArtifactError, match=f"acme/tiny came from commit f{{40}}; asked for was {published}"):
        resolve(REPO)


def test_a_branch_that_moves_between_two_requests_mixes_nothing(hub, published, artifact):
    after_this: list = []

    def move(request):
        if request.method == "HEAD" and "/resolve/main/" in request.url.path:
            repo = hub.repos["model", REPO]
            after_this.append(repo)
        elif after_this:  # the first answer named a commit; now the branch goes on to one without any of the files
            after_this.pop().branches["main"] = next(iter(hub.repos["model", REPO].commits))

    hub.intercept = move
    folder = resolve(REPO)
    assert folder.name == published
    assert hub.repos["model", REPO].branches["main"] != published
    assert {path.name for path in folder.iterdir()} == {"config.json", "activations.safetensors"}


def test_disk_and_permission_errors_in_words():
    full, locked = OSError(28, "No space left on device"), PermissionError(13, "Permission denied", "/x/y")
    assert re.search("does not fit onto the disk of .*set HF_HOME to a larger disk", str(explain(full, REPO)))
    assert "/x/y cannot be written (Permission denied): set HF_HOME" in str(explain(locked, REPO))
