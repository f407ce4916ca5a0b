"""What the Hub, the network and the disk can answer, in words for the reader; never with a token in them."""

import errno
import re
import threading
from collections.abc import Callable
from typing import TypeVar

from sparta_hub.errors import ArtifactError, HubError, NameNotFoundError, SpartaError

SECONDS = 4.0  # for the first answer; the client alone would try for 23 s, and a name with many addresses longer
_T = TypeVar("_T")
_SECRETS = (  # pattern, what stands in its place
    (re.compile(r"hf_[A-Za-z0-9_]+"), "hf_..."),
    (re.compile(r"(https?://)[^/@\s]+@"), r"\1"),  # https://user:password@host
    (re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+"), r"\1?..."),  # signed addresses
)


def failures() -> tuple[type[BaseException], ...]:
    """What a call of the client may raise: HTTP and network errors, disk errors, malformed names and answers."""
    from huggingface_hub.errors import HfHubHTTPError

    # HTTPError of httpx or of httpx2, whichever this client uses
    http = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    return (http, OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError)


def promptly(call: Callable[[], _T]) -> _T:
    """Return ``call()``, or raise ``TimeoutError`` after ``SECONDS``.

    Its own timeout would not do: it starts anew with every address of a host and every byte, and name servers have
    none. The thread is abandoned then, and does not keep the interpreter from ending.
    """
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # handed over
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="sparta-hub-request")
    thread.start()
    thread.join(SECONDS)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {SECONDS:.0f} s")
    return results[0]


def is_passing(error: BaseException) -> bool:
    """Whether ``error`` says nothing about the repository: no network, a busy or broken server, offline mode."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    status = _status(error)
    if status is not None:
        return status == 429 or status >= 500
    return isinstance(error, OfflineModeIsEnabled | TimeoutError) or _name(error) in {
        "ConnectError", "ConnectTimeout", "ReadTimeout", "ReadError", "RemoteProtocolError", "PoolTimeout",
    }  # fmt: skip


def explain(error: BaseException, repo: str, revision: str | None = None, *, doing: str = "loaded") -> SpartaError:
    """Translate what the client raised.

    Args:
        error: any of ``failures()``; the cause of a ``LocalEntryNotFoundError`` is what counts.
        repo: ``org/name``.
        revision: branch, tag or commit that was asked for.
        doing: what could not be done to it: ``"loaded"``, ``"pushed"``, ``"listed"``.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    endpoint, at = clean(constants.ENDPOINT), f"{repo}@{revision}" if revision else repo
    if isinstance(error, LocalEntryNotFoundError | ValueError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    absent = ", and it is not whole in the cache" if doing == "loaded" else ""
    status, said = _status(error), clean(" ".join(f"{_name(error)}: {error}".split()))[:300]
    if isinstance(error, OfflineModeIsEnabled | LocalEntryNotFoundError) and constants.HF_HUB_OFFLINE:
        missing = "is not whole in the cache" if doing == "loaded" else f"cannot be {doing}"
        return HubError(f"{at} {missing}, and HF_HUB_OFFLINE is set: unset it, and do this once with the network.")
    if isinstance(error, GatedRepoError):
        return HubError(f"{repo} is gated (403): ask for access on {endpoint}/{repo}, then log in: hf auth login")
    if isinstance(error, RepositoryNotFoundError):
        return NameNotFoundError(
            f"The Hub ({endpoint}) has no {repo}, or it is private and this token may not see it: mind the spelling, "
            "or log in: hf auth login"
        )
    if isinstance(error, RevisionNotFoundError):
        return NameNotFoundError(f"{repo} has no revision {revision or 'main'}; see {endpoint}/{repo}/commits/main")
    if isinstance(error, EntryNotFoundError) and status == 404:
        file = str(getattr(error, "response").url.path).rpartition("/")[2]  # noqa: B009  HTTP errors have it
        return ArtifactError(f"{at} is no sparta-hub artifact, or not a whole one: it has no {file}.")
    if isinstance(error, HFValidationError):
        return NameNotFoundError(f"{repo!r} is no name of a repository; expected 'org/name' or 'org/name@revision'.")
    if status == 401:
        return HubError(
            f"{at} cannot be {doing}: the Hub does not accept this token (401). Log in again with hf auth login, or "
            "unset HF_TOKEN."
        )
    if status == 403:
        return HubError(
            f"{at} cannot be {doing}: this token may not do that (403). Use one with the right to write, or a "
            f"namespace of your own. {said}"
        )
    if status == 402:
        return HubError(f"{at} cannot be {doing}: the Hub wants a paid plan for that (402). {said}")
    if status == 429:
        return HubError(
            f"{at} cannot be {doing}: too many requests (429). Wait some minutes; with a commit that is cached "
            "('org/name@<40 hex digits>') no request is needed at all."
        )
    if status is not None and status >= 500:
        return HubError(f"{at} cannot be {doing}: the Hub has a failure ({status}){absent}. Try again later.")
    if "Consistency check failed" in said:  # the client's words
        return ArtifactError(f"{at} cannot be {doing}: a file arrived incomplete. Try again.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return HubError(
            f"{at} does not fit onto the disk of {constants.HF_HUB_CACHE} ({error.strerror}): free some space, or set "
            "HF_HOME to a larger disk. What was cached before is untouched."
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return HubError(
            f"{at} is not whole in the cache, and {clean(str(error.filename or constants.HF_HUB_CACHE))} cannot be "
            f"written ({error.strerror}): set HF_HOME to a folder of your own."
        )
    if _name(error) == "TooManyRedirects":
        return HubError(f"{at} cannot be {doing}: {endpoint} redirects in circles; check HF_ENDPOINT and your proxy.")
    if is_passing(error):
        return HubError(
            f"{at} cannot be {doing}: the Hub ({endpoint}) cannot be reached{absent}. Check the network, a proxy, "
            f"HF_ENDPOINT. {said}"
        )
    return HubError(f"{at} cannot be {doing}: {said}")


def clean(text: str) -> str:
    """``text`` without tokens, passwords and signatures."""
    from huggingface_hub import get_token

    if (token := get_token()) and len(token) > 3:
        text = text.replace(token, "hf_...")
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _name(error: BaseException) -> str:
    return type(error).__name__
