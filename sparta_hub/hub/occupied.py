"""What may lie already where something is to be published: nobody's files are replaced or deleted by mistake."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparta_hub.artifacts import HOST_PATTERN, RESULTS, WEIGHTS
from sparta_hub.errors import HubError
from sparta_hub.hub.failures import clean

_BEGINNING = {".gitattributes", ".gitignore", "README.md", "LICENSE"}  # what the Hub begins a repository with


def is_ours(name: str) -> bool:
    """Whether earlier versions of an activation set may have had this file."""
    return name in (WEIGHTS, RESULTS) or ("/" not in name and Path(name).match(HOST_PATTERN))


def refuse_public(api: Any, repo: str, private: bool | None, kind: str = "model") -> None:
    """Raise ``HubError`` if what is to be private is there already, for everybody."""
    if private and not api.repo_info(repo, repo_type=kind).private:
        raise HubError(
            f"{repo} is there already, and public. Make it private in its settings on the Hub, or choose another name; "
            "nothing was sent."
        )


def refuse_others(repo: str, there: Sequence[str]) -> None:
    """Raise ``HubError`` if the files of a repository are of something else."""
    if WEIGHTS not in there and (others := sorted(set(there) - _BEGINNING)):
        raise HubError(
            f"{repo} holds {others[0]} and no {WEIGHTS}: it is of something else, which would be mixed with this set. "
            "Choose another name; nothing was sent."
        )


def refuse_another_space(api: Any, repo: str, there: Sequence[str], revision: str | None, card: bytes) -> None:
    """Raise ``HubError`` if the Space is another one, which its title says."""
    if not set(there) - _BEGINNING:
        return
    own, seen = _title(card), ""
    if "README.md" in there:
        seen = _title(Path(api.hf_hub_download(repo, "README.md", repo_type="space", revision=revision)).read_bytes())
    if seen != own:
        raise HubError(
            f"{repo} is another Space: its title is {clean(seen)!r} and not {own!r}, and its files would be gone. "
            "Choose another name, or give both README.md the same title; nothing was sent."
        )


def _title(card: bytes) -> str:
    import huggingface_hub as hf

    try:
        return str(hf.RepoCard(card.decode()).data.to_dict().get("title", ""))
    except Exception:  # whatever the YAML library raises
        return ""
