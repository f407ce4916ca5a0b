"""Whatever the Hub answers: the message a user reads, within 5 seconds, and what was cached before still loads."""

import asyncio
import time

import pytest
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

import sparta_hub
from sparta_hub.errors import ArtifactError, HubError, NameNotFoundError
from sparta_hub.hub import failures, resolve
from sparta_hub.surgery import state_of
from tests.conftest import HOST
from tests.hub.conftest import REPO, put, unfinished


def status(code, **headers):
    return lambda request: JSONResponse({"error": "no"}, code, headers=headers)


def circle(request):
    return RedirectResponse(f"{request.url.path}")


def far_circle(request):
    return RedirectResponse(str(request.url).replace("127.0.0.1", "localhost"))


def login_page(request):
    return HTMLResponse("<html><body>Welcome to our hotel! Please sign in.</body></html>")


def silence(request):
    async def say_nothing(scope, receive, send):
        await asyncio.sleep(6)

    return say_nothing


def another_commit(request):
    return Response(headers={"X-Repo-Commit": "f" * 40, "ETag": '"' + "e" * 40 + '"', "Content-Length": "100"})


def leave_the_cache(request):
    return Response(headers={"X-Repo-Commit": "../../../../x", "ETag": '"e"', "Content-Length": "100"})


def huge_config(request):
    return Response(headers={"X-Repo-Commit": "0" * 40, "ETag": '"e"', "Content-Length": str(10**12)})


MAIN, PINNED = REPO, f"{REPO}@{'0' * 40}"
FAULTS = [
    (status(401), MAIN, HubError, r"does not accept this token \(401\). Log in again with hf auth login, or unset"),
    (status(403), MAIN, HubError, r"this token may not do that \(403\)"),
    (status(403, **{"X-Error-Code": "GatedRepo"}), MAIN, HubError, "acme/tiny is gated .*ask for access on http"),
    (status(404, **{"X-Error-Code": "RepoNotFound"}), MAIN, NameNotFoundError, "has no acme/tiny, or it is private"),
    (status(404, **{"X-Error-Code": "EntryNotFound"}), MAIN, ArtifactError, "no sparta-hub artifact.* no config.json"),
    (status(429), MAIN, HubError, r"too many requests \(429\). Wait some minutes"),
    (status(500), MAIN, HubError, r"the Hub has a failure \(500\), and it is not whole in the cache. Try again later"),
    (status(503), PINNED, HubError, r"the Hub has a failure \(503\)"),
    (circle, MAIN, HubError, "redirects in circles|cannot be reached"),  # huggingface_hub 1.16 turns for ever
    (far_circle, MAIN, HubError, "redirects in circles|not as the Hub does"),
    (login_page, MAIN, HubError, "answers, but not as the Hub does: a login page, a proxy, or a wrong HF_ENDPOINT"),
    (silence, MAIN, HubError, "cannot be reached, and it is not whole in the cache. Check the network"),
    (another_commit, PINNED, ArtifactError, "@0{40} was asked for, and the Hub answered with commit f{40}"),
    (leave_the_cache, MAIN, HubError, "not as the Hub does"),
    (huge_config, MAIN, ArtifactError, "config.json of acme/tiny has 1,000,000,000,000 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "name", "error", "message"), FAULTS)
def test_the_first_answer_is_a_fault(hub, published, cache, answer, name, error, message):
    pinned = f"{REPO}@{published}"
    hub.intercept = answer
    started = time.monotonic()
    with pytest.raises(error, match=message) as caught:
        resolve(name)
    assert time.monotonic() - started < 5
    assert "hf_test" not in str(caught.value)
    assert not unfinished(cache)
    hub.intercept = lambda request: None
    folder = resolve(pinned)  # nothing stands in the way of the next try ...
    hub.intercept = answer
    hub.log.clear()
    assert resolve(pinned) == folder  # ... and what is cached needs nobody
    assert not hub.log


@pytest.mark.parametrize("answer", [status(429), status(500), login_page])
def test_a_branch_that_is_cached_is_used_when_the_hub_has_a_bad_day(hub, published, caplog, answer):
    folder = resolve(REPO)
    hub.intercept = answer
    assert resolve(REPO) == folder
    assert f"taken from the cache, commit {published}" in caplog.text


def test_of_each_branch_its_own_commit_is_remembered(hub, published, artifact):
    model = sparta_hub.load(artifact)
    state_of(model)["stage1.block1.conv4.weight"].data.add_(1)
    other = sparta_hub.push_to_hub(model, REPO, revision="dev").commit
    assert other != published
    folders = {name: resolve(name) for name in (REPO, f"{REPO}@dev")}
    assert [folder.name for folder in folders.values()] == [published, other]
    hub.intercept = status(503)
    assert {name: resolve(name) for name in folders} == folders


@pytest.mark.parametrize("more", ["with_host", "with_results"])
def test_what_is_cached_is_not_taken_for_more_than_it_is(hub, copied, cache, more):
    put(copied, {"remark": "measured"})
    commit = sparta_hub.push_to_hub(copied, REPO).commit
    for name in (REPO, f"{REPO}@{commit}"):
        resolve(name)
        hub.intercept = status(503)
        with pytest.raises(HubError, match="it is not whole in the cache"):
            resolve(name, **{more: True})
        hub.intercept = lambda request: None


def test_a_gated_repository_and_a_private_one(hub, published, as_bob):
    hub.repos["model", REPO].gated = "manual"
    with pytest.raises(HubError, match=r"acme/tiny is gated \(403\): ask for access on .*/acme/tiny, then log in"):
        resolve(REPO)
    hub.granted.add(("bob", REPO))
    assert resolve(REPO)
    hub.repos["model", REPO].private = True
    with pytest.raises(NameNotFoundError, match="or it is private and this token may not see it"):
        resolve(REPO)


def test_a_wrong_token_and_where_it_does_not_show(hub, published, monkeypatch, caplog):
    monkeypatch.setenv("HF_TOKEN", "api_org_WrongAndSecret")
    hub.intercept = lambda request: JSONResponse(
        {"error": request.headers["authorization"]}, 403, headers={"X-Error-Message": "api_org_WrongAndSecret"}
    )
    with pytest.raises(HubError, match="may not do that") as caught:
        resolve(REPO)
    hub.intercept = lambda request: None
    with pytest.raises(HubError, match=r"does not accept this token \(401\)"):
        resolve(REPO)
    seen = f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"
    assert "WrongAndSecret" not in seen


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acme/nothing", "has no acme/nothing, or it is private"),
        (f"{REPO}@no-such-branch", "acme/tiny has no revision no-such-branch; see .*/acme/tiny/commits/main"),
        (f"{REPO}@{'0' * 40}", "acme/tiny has no revision 0{40}"),
    ],
)
def test_what_the_hub_does_not_have_is_named(published, name, message):
    with pytest.raises(NameNotFoundError, match=message):
        sparta_hub.load(name, model=HOST)


def test_a_call_that_hangs_is_given_up(monkeypatch):
    """A name server that does not answer, many addresses that do not: no timeout of the client covers these."""
    monkeypatch.setattr(failures, "SECONDS", 0.1)
    with pytest.raises(TimeoutError, match="no answer within"):
        failures.promptly(lambda: time.sleep(3))
    assert failures.promptly(lambda: 7) == 7
