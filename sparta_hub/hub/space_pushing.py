"""Publishing a Space: a folder with ``README.md`` (front matter), ``app.py`` and ``requirements.txt``."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sparta_hub import __version__
from sparta_hub.errors import HubError
from sparta_hub.hub.contents import check_files, refuse_secrets
from sparta_hub.hub.failures import clean, explain, failures
from sparta_hub.hub.names import check_repo
from sparta_hub.hub.occupied import refuse_another_space, refuse_public
from sparta_hub.hub.pushing import Pushed
from sparta_hub.paths import typed_path

STATIC = "static"  # folder inside a Space's folder: index.html and pictures, for accounts without compute
_SUFFIXES = {".py", ".md", ".txt", ".json", ".png", ".jpg", ".webp", ".html", ".css", ".js", ".safetensors"}
_OURS = re.compile(r"(?mi)^sparta[-_.]hub(?![-\w])(?P<extras>\[[^\]]*\])?(?P<where>[^;#\n]*)(?P<rest>.*)$")
_SHADOWS = ("spaces", "gradio", "sparta_hub", "torch", "timm")  # modules that the app imports


def push_space(
    folder: str | Path,
    repo_id: str,
    *,
    static: bool = False,
    private: bool | None = None,
    token: str | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Publish a folder as a Space, with ``sparta-hub`` pinned to this version in its requirements.

    A line that says where to take it from (``sparta-hub @ git+https://...``) stays as it is.

    Args:
        folder: ``README.md`` with front matter, the app it names, ``requirements.txt`` with a line ``sparta-hub``.
        repo_id: ``org/name``; made if need be.
        static: publish ``folder/static`` (with ``index.html``) instead: free of charge, without compute.
        private: for a new Space.
        token: None: the one of ``hf auth login`` or ``HF_TOKEN``.
        dry_run: check, and say what would be sent, without the network.

    Raises:
        HubError: the folder is no Space, holds something that must not be published, or the Hub refuses.
    """
    check_repo(repo_id, "Space")
    folder = typed_path(folder, HubError)
    blobs = _static_blobs(folder) if static else _app_blobs(folder)
    for name, blob in blobs.items():
        refuse_secrets(name, blob)
    files = tuple((name, len(blob)) for name, blob in blobs.items())
    planned = Pushed(repo_id, files, f"{'Static page' if static else 'App'} for sparta-hub {__version__}")
    if dry_run:
        return planned
    try:
        return _send(planned, blobs, "static" if static else "gradio", private, token)
    except failures() as error:
        told = explain(error, repo_id, doing="pushed")
        if not static and getattr(getattr(error, "response", None), "status_code", None) == 402:
            told = HubError(f"{told} Or publish the static page, which is free: --static")
        raise told from None


def _send(planned: Pushed, blobs: Mapping[str, bytes], sdk: str, private: bool | None, token: str | None) -> Pushed:
    import huggingface_hub as hf

    api = hf.HfApi(token=token)
    api.create_repo(planned.repo, repo_type="space", space_sdk=sdk, private=private, exist_ok=True)
    refuse_public(api, planned.repo, private, "space")
    before = api.space_info(planned.repo).sha
    there = api.list_repo_files(planned.repo, repo_type="space", revision=before)
    refuse_another_space(api, planned.repo, there, before, blobs["README.md"])
    stale = [name for name in there if name not in blobs and name != ".gitattributes"]
    commit = api.create_commit(
        planned.repo,
        [
            *(hf.CommitOperationAdd(name, blob) for name, blob in blobs.items()),
            *(hf.CommitOperationDelete(name) for name in stale),
        ],
        repo_type="space",
        commit_message=planned.message,
        parent_commit=before,  # somebody else's commit in between is an error, not overwritten
    )
    return replace(planned, commit=commit.oid, url=commit.commit_url)


def _app_blobs(folder: Path) -> dict[str, bytes]:
    front, _ = _read_card(folder)
    app, version = str(front.get("app_file", "app.py")), str(front.get("sdk_version", ""))
    if front.get("sdk") != "gradio":
        raise HubError(f"README.md of {folder} has sdk: {front.get('sdk')}; expected sdk: gradio in its front matter.")
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise HubError(f"README.md of {folder} has sdk_version: {version or 'none'}; all three numbers are needed.")
    blobs = _read_all(folder)
    for name in (app, "requirements.txt"):
        if name not in blobs:
            raise HubError(f"{folder} has no {name}, which a Space needs.")
    if hidden := [name for name in blobs if name.partition("/")[0].partition(".")[0] in _SHADOWS]:
        raise HubError(f"{hidden[0]} would hide the package of that name from the app; call it something else.")
    blobs["requirements.txt"] = _pinned(blobs["requirements.txt"].decode()).encode()
    return blobs


def _static_blobs(folder: Path) -> dict[str, bytes]:
    front, text = _read_card(folder)
    if not (folder / STATIC / "index.html").is_file():
        raise HubError(f"{folder} has no {STATIC}/index.html; a static Space is that page and what lies beside it.")
    keys = ("title", "emoji", "colorFrom", "colorTo", "license", "short_description", "models", "tags", "pinned")
    import huggingface_hub as hf

    kept = {key: front[key] for key in keys if key in front}
    card = f"---\n{hf.SpaceCardData(**kept, sdk='static', app_file='index.html').to_yaml()}\n---\n{text}"
    return {**_read_all(folder / STATIC), "README.md": card.encode()}


def _read_card(folder: Path) -> tuple[dict[str, Any], str]:
    import huggingface_hub as hf

    if not (folder / "README.md").is_file():
        raise HubError(f"{folder} has no README.md; expected a Space's folder, with front matter in it.")
    try:
        card = hf.RepoCard((folder / "README.md").read_text(encoding="utf-8"))
    except Exception as error:  # whatever the YAML library raises
        raise HubError(f"The front matter of {folder}/README.md is not readable: {clean(str(error))[:200]}") from None
    front = card.data.to_dict()
    if not front.get("title"):
        raise HubError(f"README.md of {folder} has no title in its front matter.")
    return front, card.text


def _read_all(folder: Path) -> dict[str, bytes]:
    cache = {"__pycache__", ".pytest_cache", STATIC}
    paths = [p for p in sorted(folder.rglob("*")) if not cache & set(p.relative_to(folder).parts) and not p.is_dir()]
    check_files(folder, paths, set(), _SUFFIXES)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _pinned(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if any(re.match(r"(?i)gradio\b", line) for line in lines):
        raise HubError("requirements.txt names gradio; a Space takes it from sdk_version in README.md: remove that.")
    if not _OURS.search(text):
        raise HubError("requirements.txt does not name sparta-hub; add a line: sparta-hub")

    def pin(line: re.Match[str]) -> str:
        if "@" in line["where"]:
            return line[0]
        return f"sparta-hub{line['extras'] or ''}=={__version__}{line['rest'] and '  ' + line['rest']}"

    return _OURS.sub(pin, text)
