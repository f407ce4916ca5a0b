"""From a name to an artifact folder: first a folder, then a short name, then the Hub."""

import re
from dataclasses import dataclass
from pathlib import Path

from sparta_hub.artifacts import CONFIG, WEIGHTS, sha256_of
from sparta_hub.errors import ArtifactError, HubError, NameNotFoundError, short
from sparta_hub.hub.download import download
from sparta_hub.zoo import bundled_folder, find_entry, registry

_PART = r"(?!\.)[A-Za-z0-9._-]{1,96}(?<!\.)"
_REPO = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9._/-]{{1,200}}))?")


@dataclass(frozen=True)
class Address:
    """A repository of the Hub and what is wanted of it; None: its main branch."""

    repo: str
    revision: str | None


def parse_address(text: str) -> Address | None:
    """Read ``org/name[@revision]``; None if it is nothing of the kind.

    Both become folder names in the cache, so a part that begins with a dot, or is empty, makes it none.
    """
    match = _REPO.fullmatch(text)
    if not match:
        return None
    revision = match[2]
    if revision and any(not part or part.startswith(".") for part in revision.split("/")):
        return None
    return Address(match[1], revision)


def check_repo(text: str, what: str = "repository") -> None:
    """Raise ``NameNotFoundError`` unless ``text`` is ``org/name``, the name of a repository to write to."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    address = parse_address(text) if isinstance(text, str) else None
    if address is None or address.revision is not None:
        raise NameNotFoundError(f"{short(text)} is no name of a {what}; expected 'org/name'.")
    try:
        validate_repo_id(text)
    except HFValidationError as error:
        raise NameNotFoundError(f"{short(text)} is no name of a {what}; expected 'org/name'. {error}") from None


def check_ref(text: str, what: str) -> None:
    """Raise ``HubError`` unless ``text`` can be the name of a branch or tag that ``load`` then finds."""
    address = parse_address(f"a/b@{text}") if isinstance(text, str) else None
    lost = address is None or ".." in text or any(part.endswith((".", ".lock")) for part in text.split("/"))
    if lost or re.fullmatch(r"[0-9a-f]{40}", text):  # which would be read as a commit
        raise HubError(
            f"{what} is {short(text)}; expected a name such as v1: letters, digits, - and _, also . and / inside."
        )


def resolve(name: str | Path, *, with_host: bool = False, with_results: bool = False) -> Path:
    """Find the artifact folder of ``name``: first a folder, then a short name, then the Hub.

    Args:
        name: see ``load``.
        with_host: fetch the trained network's weights too, where a repository has them.
        with_results: fetch the figures too, where a repository has them.

    Raises:
        NameNotFoundError: nobody knows the name.
        HubError: the Hub cannot be reached or refuses, or the disk does.
        ArtifactError: the files are damaged, or none of ours.
    """
    text = str(name)
    if is_folder(text):
        return Path(text).expanduser()
    if isinstance(name, Path) or text.startswith((".", "/", "~")) or "\\" in text:
        raise NameNotFoundError(f"{text} is no folder; expected one with {CONFIG} and {WEIGHTS}.")
    if address := parse_address(text):
        try:
            return download(address.repo, address.revision, with_host=with_host, with_results=with_results)
        except NameNotFoundError as error:
            raise NameNotFoundError(f"There is no folder {text} here. {error}") from error
    entry = find_entry(text)
    folder = bundled_folder(entry.name)
    if folder is None and entry.revision is None:
        raise NameNotFoundError(f"{text} is a known name, but its files are not here; reinstall sparta-hub.")
    if folder is None or (with_host and entry.revision):
        return download(entry.repo, entry.revision, with_host=with_host, with_results=with_results, known=entry.files)
    if sha256_of(folder / CONFIG) != entry.files[CONFIG]:  # which in turn holds the checksums of all other files
        raise ArtifactError(f"{folder / CONFIG} is not the one that registry.json knows; reinstall sparta-hub.")
    return folder


def is_folder(text: str) -> bool:
    """Whether ``text`` is a folder here, ~ the home folder; what cannot be a path (too long, with a null) is none."""
    try:
        return bool(text) and Path(text).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):  # the last: ~ of nobody
        return False


def is_remote(name: str | Path) -> bool:
    """Whether the Hub may have files of ``name`` that ``resolve`` did not need."""
    text = str(name)
    if isinstance(name, Path) or is_folder(text):
        return False
    entry = registry().get(text)
    return parse_address(text) is not None or (entry is not None and entry.revision is not None)
