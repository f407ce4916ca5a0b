"""What a folder may hold that goes to the Hub, and whether its files are what they should be."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sparta_hub.artifacts import (
    CARD,
    CONFIG,
    RESULTS,
    WEIGHTS,
    Artifact,
    check_host,
    host_files,
    read_artifact,
    read_config,
    read_host,
    sha256_of,
)
from sparta_hub.errors import ArtifactError, HubError
from sparta_hub.hub.names import is_folder, resolve
from sparta_hub.hub.results import read_results
from sparta_hub.zoo import registry

_PICKLES = frozenset({
    ".bin", ".ckpt", ".dill", ".h5", ".joblib", ".keras", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth", ".t7",
})  # fmt: skip
_SECRETS = {
    "a Hugging Face token": re.compile(rb"hf_[A-Za-z0-9]{20,}"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]{0,30}PRIVATE KEY"),
    "a GitHub token": re.compile(rb"gh[opsur]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}"),
    "an AWS key": re.compile(rb"AKIA[0-9A-Z]{16}(?![A-Z0-9])"),
}
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class FileState:
    """One file of an artifact: ``ok``, ``damaged``, or ``missing`` (host weights need not be here)."""

    name: str
    state: Literal["ok", "damaged", "missing"]
    needed: bool


def verify_files(name: str | Path) -> tuple[FileState, ...]:
    """Compare every file that an artifact's config lists with its sha256, and the config with the registry's.

    The registry knows short names only. The card, and pictures, have no sha256 and are not looked at.

    Args:
        name: as for ``load``; of a repository on the Hub the files that a load needs are fetched.
    """
    folder = resolve(name)
    config = read_config(folder)
    entry = None if is_folder(str(name)) else registry().get(str(name))
    digests = {CONFIG: entry.files[CONFIG] if entry else sha256_of(folder / CONFIG), **config.files}

    def state(file: str) -> Literal["ok", "damaged", "missing"]:
        if not (folder / file).is_file():
            return "missing"
        return "ok" if sha256_of(folder / file) == digests[file] else "damaged"

    return tuple(FileState(file, state(file), file in (CONFIG, WEIGHTS)) for file in sorted(digests))


def check_artifact_folder(folder: Path) -> Artifact:
    """Read a folder as strictly as a stranger's machine will, and refuse whatever does not belong into a repository.

    Raises:
        ArtifactError, SpecError: a file is missing, damaged or not what its config says.
        HubError: it holds something that must not be published.
    """
    artifact = read_artifact(folder)
    if odd := sorted(set(artifact.config.files) - {WEIGHTS, RESULTS, *host_files(artifact.config)}):
        raise ArtifactError(f"{folder / CONFIG} lists {', '.join(odd)}; a published artifact has no such files.")
    for state in verify_files(folder):
        if state.state != "ok":
            raise ArtifactError(f"{folder / state.name} is {state.state}; save the artifact again, whole.")
    state, host = read_host(artifact), artifact.config.trained_host
    if state and host:
        check_host(host, state)
    read_results(folder, artifact.config)
    known = {CONFIG, CARD, "LICENSE", *artifact.config.files}
    check_files(folder, [p for p in sorted(folder.rglob("*")) if not p.is_dir()], known, {".png"})
    return artifact


def check_files(folder: Path, files: Iterable[Path], names: set[str], suffixes: set[str]) -> None:
    """Refuse links, pickles and files nobody expects.

    Args:
        folder: what is to be published.
        files: everything in it.
        names: paths inside it that are expected.
        suffixes: endings of other files that are expected.
    """
    for file in files:
        name = file.relative_to(folder).as_posix()
        if file.is_symlink() or not file.is_file():
            raise HubError(f"{name} is a link or no plain file; put the file itself into {folder}.")
        data = file.read_bytes()
        if file.suffix.lower() in _PICKLES or data[:1] == b"\x80" or data[:2] == b"PK":
            raise HubError(f"{name} is a pickle or may hold one, which is never published; take it out of {folder}.")
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if name not in names and (hidden or file.suffix.lower() not in suffixes):
            raise HubError(f"{name} is not expected in what is published; take it out of {folder}.")
        if file.suffix.lower() == ".png" and not data.startswith(_PNG):
            raise HubError(f"{name} is no PNG image; take it out of {folder}.")


def refuse_secrets(name: str, data: bytes) -> None:
    """Raise if ``data`` holds what looks like a token or key, or the token in use; the message does not repeat it."""
    from huggingface_hub import get_token

    if name.endswith(".safetensors"):  # its header; in millions of numbers anything can be seen
        data = data[: 8 + int.from_bytes(data[:8], "little")]
    found = [what for what, pattern in _SECRETS.items() if pattern.search(data)]
    if (token := get_token()) and token.encode() in data:
        found.append("the token that is in use")
    if found:
        raise HubError(
            f"{name} holds {found[0]}, or what looks like one; nothing was sent. Take it out, and revoke it if others "
            "may have seen it."
        )
