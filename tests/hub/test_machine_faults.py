"""What the machine does: no network, a full or locked disk, two at once, killed in the middle. Real processes."""

import asyncio
import os
import shutil
import signal
import subprocess
import time

import pytest

import sparta_hub
from sparta_hub.hub import resolve
from tests.hub.conftest import REPO, unfinished
from tests.hub.processes import RESOLVE, finish, start

TWICE = """
import sys, time
from sparta_hub.errors import SpartaError
from sparta_hub.hub import resolve
for name in sys.argv[1:]:
    started = time.monotonic()
    try:
        print(resolve(name).name, end=" ")
    except SpartaError as error:
        print(type(error).__name__, error, end=" ")
    assert time.monotonic() - started < 5, name
"""


def works(*command: str) -> bool:
    return bool(shutil.which(command[0])) and subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_offline_by_setting(published, cache):
    resolve(REPO)
    said = finish(start(TWICE, REPO, "acme/other", f"{REPO}@{'1' * 40}", home=cache.parent, HF_HUB_OFFLINE="1"))
    assert said.startswith(
        f"{published} HubError acme/other is not whole in the cache, and HF_HUB_OFFLINE is set: unset"
    )
    assert f"HubError {REPO}@{'1' * 40} is not whole in the cache" in said


def test_no_network_behind_another_endpoint(published, cache):
    """Port 9 of this machine: refused at once, where the client alone would ask for 23 s. The cache still serves."""
    resolve(REPO)
    endpoint = "http://user:secret@127.0.0.1:9"
    names = [REPO, f"{REPO}@{published}", "acme/other", f"{REPO}@{'1' * 40}"]
    said = finish(start(TWICE, *names, home=cache.parent, HF_ENDPOINT=endpoint))
    assert said.startswith(
        f"{published} {published} HubError acme/other cannot be loaded: the Hub (http://127.0.0.1:9)"
    )
    assert (
        said.count("cannot be reached, and it is not whole in the cache. Check the network, a proxy, HF_ENDPOINT") == 2
    )
    assert "secret" not in said


def test_the_list_of_the_hub_without_a_network(tmp_path):
    """Newer clients would ask six times, with pauses of 23 s between them; older ones ask once."""
    code = """
import time
from huggingface_hub import HfApi  # slow on a busy machine, and not what is timed
from sparta_hub import list_models
from sparta_hub.errors import HubError
started = time.monotonic()
try:
    list_models(hub=True)
except HubError as error:
    print(error)
assert time.monotonic() - started < 12
"""
    said, _, reason = finish(start(code, home=tmp_path, HF_ENDPOINT="http://127.0.0.1:9")).partition("HF_ENDPOINT. ")
    assert said == (
        "The list of models cannot be fetched: the Hub (http://127.0.0.1:9) cannot be reached. Check the network, a "
        "proxy, "
    )
    assert reason in ("TimeoutError: no answer within 4 s", "ConnectError: [Errno 111] Connection refused")


@pytest.mark.skipif(os.geteuid() == 0 and not works("setpriv", "--version"), reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(published, cache, artifact):
    resolve(REPO)
    (cache / "models--acme--tiny" / "refs" / "main").unlink()
    before = sorted(cache.rglob("*"))
    rootless = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    for folder in (cache, *(path for path in before if path.is_dir())):
        folder.chmod(0o555)
    try:
        sparta_hub.push_to_hub(artifact, "acme/second")
        said = finish(start(TWICE, REPO, "acme/second", home=cache.parent, wrapper=rootless))
    finally:
        for folder in (cache, *(path for path in before if path.is_dir())):
            folder.chmod(0o755)
    assert said.startswith(f"{published} HubError acme/second is not whole in the cache, and ")
    assert "cannot be written (Permission denied): set HF_HOME to a folder of your own" in said
    assert sorted(cache.rglob("*")) == before


def test_a_full_disk(published, tmp_path):
    """A file system of 40 kB; where none can be mounted, a limit on the size of a file."""
    home = tmp_path / "small"
    home.mkdir()
    code = "import sys, resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n" + RESOLVE
    wrapper: tuple[str, ...] = ()
    if works("unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(home)):
        code = "import sys\n" + RESOLVE + "\n"
        wrapper = ("unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=40k tmpfs {home} && exec "$@"', "sh")
    said = finish(start(code, REPO, home=home, wrapper=wrapper), fails=True)
    assert "HubError: acme/tiny does not fit onto the disk of" in said
    assert "free some space, or set HF_HOME to a larger disk. What was cached before is untouched" in said


def slowly(hub, weights_blob, pause):
    """Send the weights in two halves, with a pause between."""
    data = weights_blob.read_bytes()

    def answer(request):
        if "/_cdn/" not in request.url.path:
            return None

        async def send_halves(scope, receive, send):
            headers = [(b"content-length", str(len(data)).encode()), (b"etag", weights_blob.name.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": data[: len(data) // 2], "more_body": True})
            await asyncio.sleep(pause)
            await send({"type": "http.response.body", "body": data[len(data) // 2 :]})

        return send_halves

    hub.intercept = answer


def test_two_processes_load_at_once(hub, published, weights_blob, tmp_path):
    slowly(hub, weights_blob, 0.5)
    both = [start(RESOLVE, REPO, home=tmp_path / "shared") for _ in range(2)]
    first, second = (finish(process) for process in both)
    assert first == second
    assert first.endswith(published)
    assert not unfinished(tmp_path / "shared")


def test_killed_in_the_middle_of_a_download(hub, published, weights_blob, cache):
    slowly(hub, weights_blob, 20)
    process = start(RESOLVE, f"{REPO}@{published}", home=cache.parent)
    deadline = time.monotonic() + 60
    while not unfinished(cache) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert unfinished(cache)
    hub.intercept = lambda request: None
    folder = resolve(f"{REPO}@{published}")
    assert (folder / "activations.safetensors").read_bytes() == weights_blob.read_bytes()


def test_a_cache_without_links(published, tmp_path):
    links = "\nfrom pathlib import Path; print([p for p in Path(sys.argv.pop()).rglob('*') if p.is_symlink()])"
    code = "import sys; home = sys.argv.pop()\n" + TWICE + "\nsys.argv.append(home)" + links
    names = (REPO, f"{REPO}@{published}", tmp_path / "flat")
    said = finish(start(code, *names, home=tmp_path / "flat", HF_HUB_DISABLE_SYMLINKS="1"))
    assert said == f"{published} {published} []"
