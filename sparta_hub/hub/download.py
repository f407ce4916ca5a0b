"""Fetching an artifact into the Hub client's cache: all from one commit, checked, and only the files that are needed.

The client compares sizes and no checksums, asks again for 23 s when nobody answers, and moves its ``refs`` before the
files are there. Hence here: the first request has a deadline, every file is compared with the sha256 in ``config.json``
(and that one with the registry's, or with the id that git gives it), and a ref is written last.
"""

import hashlib
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sparta_hub import __version__
from sparta_hub.artifacts import (
    CONFIG,
    MAX_CONFIG_BYTES,
    RESULTS,
    WEIGHTS,
    host_files,
    looks_like,
    read_config,
    sha256_of,
)
from sparta_hub.errors import ArtifactError, HubError, SpartaError
from sparta_hub.hub.failures import SECONDS, explain, failures, is_passing, promptly

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Head:
    """What the Hub says of ``config.json`` before it is fetched."""

    commit: str
    etag: str | None
    size: int


def download(
    repo: str,
    revision: str | None,
    *,
    with_host: bool = False,
    with_results: bool = False,
    known: Mapping[str, str] | None = None,
) -> Path:
    """Fetch an artifact's files and return the folder they lie in.

    A commit that is cached needs no request. When nobody answers, what was cached of a branch or tag is used.

    Args:
        repo: ``org/name``.
        revision: branch, tag or 40-hex commit; None: ``main``.
        with_host: fetch the trained network's weights too.
        with_results: fetch the figures too, if its config lists some.
        known: sha256 by file name, from the registry.

    Raises:
        NameNotFoundError, HubError: see ``explain``.
        ArtifactError: what arrives is damaged or no artifact of ours.
    """
    pinned = revision if revision and _COMMIT.fullmatch(revision) else None

    def needed(folder: Path) -> dict[str, str]:
        return _needed(folder, with_host, with_results)

    if pinned and (folder := _cached(repo, pinned, needed, known)):
        return folder
    try:
        head = promptly(lambda: _head(repo, revision))
    except (HubError, *failures()) as error:
        ours = error if isinstance(error, HubError) else None
        if (ours or is_passing(error)) and (folder := _cached(repo, revision or "main", needed, known)):
            _LOG.warning("The Hub does not answer; %s is taken from the cache, commit %s.", repo, folder.name)
            return folder
        raise (ours or explain(error, repo, revision)) from None
    if pinned and head.commit != pinned:
        raise ArtifactError(f"{repo}@{pinned} was asked for, and the Hub answered with commit {head.commit}.")
    if head.size > MAX_CONFIG_BYTES:
        raise ArtifactError(f"{CONFIG} of {repo} has {head.size:,} bytes; a config has a few thousand.")
    try:
        folder = _fetch(repo, CONFIG, head.commit, [known[CONFIG] if known else None, head.etag]).parent
        for name, digest in needed(folder).items():
            _fetch(repo, name, head.commit, [digest, known.get(name) if known else None])
    except failures() as error:
        raise explain(error, repo, revision) from None
    if not pinned:
        _remember(folder, revision or "main")
    return folder


def _head(repo: str, revision: str | None) -> _Head:
    import huggingface_hub as hf

    found = hf.get_hf_file_metadata(hf.hf_hub_url(repo, CONFIG, revision=revision), timeout=SECONDS)
    if found.commit_hash is None or not _COMMIT.fullmatch(found.commit_hash):
        raise HubError(
            f"{hf.constants.ENDPOINT} answers, but not as the Hub does: a login page, a proxy, or a wrong HF_ENDPOINT?"
        )
    return _Head(found.commit_hash, found.etag, found.size or 0)


def _needed(folder: Path, with_host: bool, with_results: bool) -> dict[str, str]:
    """Sha256 by name of the files that are wanted beside the config."""
    config = read_config(folder)
    if WEIGHTS not in config.files:
        raise ArtifactError(f"{folder / CONFIG} gives no sha256 for {WEIGHTS}; its publisher has to save it again.")
    host, results = host_files(config) if with_host else [], [RESULTS] if with_results else []
    return {name: config.files[name] for name in [WEIGHTS, *host, *results] if name in config.files}


def _fetch(repo: str, name: str, commit: str, digests: list[str | None]) -> Path:
    """One file from the cache or the Hub; damage in the cache or on the way is mended by asking once more."""
    import huggingface_hub as hf

    def get(again: bool) -> str:
        return hf.hf_hub_download(
            repo, name, revision=commit, force_download=again, library_name="sparta-hub", library_version=__version__
        )

    wanted = [digest for digest in digests if digest and _DIGEST.fullmatch(digest)]
    file = Path()
    for again in (False, True):
        try:
            file = Path(get(again))
        except failures() as error:
            if again or type(error).__name__ != "RemoteProtocolError":  # cut in the middle
                raise
            file = Path(get(False))  # clients before 2 keep what came, and go on from there in the next call only
        if file.parent.name != commit:
            raise ArtifactError(f"{name} of {repo} came from commit {file.parent.name}; asked for was {commit}.")
        if all(_has_digest(file, digest) for digest in wanted):
            return file
    raise ArtifactError(
        f"{name} of {repo} arrived twice with another checksum than {wanted[0][:12]}...: {looks_like(file)}. Try "
        "again; if it stays so, tell those who published it."
    )


def _cached(
    repo: str, revision: str, needed: Callable[[Path], dict[str, str]], known: Mapping[str, str] | None
) -> Path | None:
    """The snapshot folder of ``revision`` if all that is needed lies there undamaged; sends nothing."""
    import huggingface_hub as hf

    try:
        file = Path(hf.hf_hub_download(repo, CONFIG, revision=revision, local_files_only=True))
        etag = file.readlink().name if file.is_symlink() else ""  # the cache names its blobs so
        own = [known[CONFIG] if known else None, etag if _DIGEST.fullmatch(etag) else None]
        if not all(_has_digest(file, digest) for digest in own if digest):
            return None
        folder = file.parent
        for name, digest in needed(folder).items():
            if not (folder / name).is_file() or sha256_of(folder / name) != digest:
                return None
    except (*failures(), SpartaError):
        return None
    return folder


def _has_digest(file: Path, digest: str) -> bool:
    """Compare with a sha256, or with the sha1 by which git names a small file."""
    if len(digest) == 64:
        return sha256_of(file) == digest
    data = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == digest


def _remember(folder: Path, revision: str) -> None:
    """Note which commit ``revision`` was, for the time without a network; a cache that cannot be written is none."""
    ref = folder.parent.parent / "refs" / revision
    part = ref.with_name(f".{ref.name}.{uuid.uuid4().hex[:8]}")
    with suppress(OSError):
        ref.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(folder.name, encoding="ascii")
        part.replace(ref)
