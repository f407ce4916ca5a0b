"""Publishing an artifact: checked first, then one commit, then its tags."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from sparta_hub import __version__
from sparta_hub.artifacts import CARD, Artifact
from sparta_hub.cards import plain_card
from sparta_hub.errors import ArtifactError, HubError, short
from sparta_hub.hub.contents import check_artifact_folder, refuse_secrets
from sparta_hub.hub.failures import clean, explain, failures
from sparta_hub.hub.names import check_ref, check_repo
from sparta_hub.hub.occupied import is_ours, refuse_others, refuse_public
from sparta_hub.paths import typed_path
from sparta_hub.saving import save_model


@dataclass(frozen=True)
class Pushed:
    """What was sent, or would be.

    Args:
        repo: ``org/name``.
        files: name and size in bytes of every file.
        message: of the commit.
        commit: 40 hex digits; None after a dry run.
        url: the commit's page, or the pull request's; None after a dry run.
    """

    repo: str
    files: tuple[tuple[str, int], ...]
    message: str
    commit: str | None = None
    url: str | None = None


def push_to_hub(
    folder_or_model: str | Path | nn.Module,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    tags: Sequence[str] = (),
    token: str | None = None,
    dry_run: bool = False,
) -> Pushed:
    """Publish an activation set; ``load("org/name@<commit>", ...)`` then reads it anywhere.

    The folder is read first as strictly as by ``load``; links, pickles, secrets and unexpected files are refused. A
    card is written for one that has none. Weights that an earlier version had and this one has not are deleted.

    Args:
        folder_or_model: an artifact folder, or a network with an activation set (the host is not sent).
        repo_id: ``org/name``; made if need be.
        private: for a new repository; None: as the namespace has it.
        revision: branch, made if need be; None: ``main``.
        create_pr: propose the change to a repository of somebody else.
        tags: git tags for the commit, such as ``v1``, so that ``org/name@v1`` loads it.
        token: None: the one of ``hf auth login`` or ``HF_TOKEN``.
        dry_run: check, and say what would be sent, without the network.

    Raises:
        ArtifactError, SpecError: the folder is not whole.
        SiteError: the network holds no activation set.
        HubError: something in it must not be published, or the Hub refuses.
        NameNotFoundError: ``repo_id`` is no name, or somebody else's private repository.
    """
    check_repo(repo_id)
    if isinstance(tags, str):
        raise HubError(f"tags is {tags!r}; expected a list of tags: [{tags!r}].")
    for tag in tags:
        check_ref(tag, "A tag")
        if tag == "main":
            raise HubError("A tag is 'main', which is the branch that load reads where no revision is given.")
    if revision is not None:
        check_ref(revision, "revision")
    if not isinstance(folder_or_model, str | PathLike | nn.Module):
        raise HubError(
            f"Got {short(folder_or_model)}; expected an artifact folder, or a network with an activation set."
        )
    if create_pr and (revision or tags):
        raise HubError("A pull request goes to main and is no release: leave revision and tags out.")
    if isinstance(folder_or_model, nn.Module):
        with tempfile.TemporaryDirectory() as folder:
            save_model(folder_or_model, Path(folder))
            return push_to_hub(
                folder, repo_id, private=private, revision=revision, create_pr=create_pr, tags=tags, token=token,
                dry_run=dry_run,
            )  # fmt: skip
    folder = typed_path(folder_or_model, ArtifactError)
    artifact = check_artifact_folder(folder)
    blobs = _blobs(folder, artifact, repo_id)
    planned = Pushed(repo_id, tuple((name, len(blob)) for name, blob in blobs.items()), _message(artifact))
    if dry_run:
        return planned
    try:
        return _send(planned, blobs, private, revision, create_pr, [*dict.fromkeys(tags)], token)
    except failures() as error:
        raise explain(error, repo_id, revision, doing="pushed") from None


def _blobs(folder: Path, artifact: Artifact, repo_id: str) -> dict[str, bytes]:
    """Every file as it goes out, with a card; secrets are looked for in these very bytes."""
    blobs = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    if CARD not in blobs:
        values = sum(tensor.numel() for tensor in artifact.tensors.values())
        blobs[CARD] = plain_card(repo_id, artifact.config, values=values).encode()
    check_card(blobs[CARD])
    for name, blob in blobs.items():
        refuse_secrets(name, blob)
    return dict(sorted(blobs.items()))


def check_card(text: bytes) -> None:
    """Refuse a card that the Hub would not count among ours."""
    import huggingface_hub as hf

    try:
        library = getattr(hf.ModelCard(text.decode()).data, "library_name", None)
    except Exception as error:  # whatever the YAML library raises
        raise HubError(f"The front matter of {CARD} is not readable: {clean(str(error))[:200]}") from None
    if library != "sparta-hub":
        raise HubError(
            f"{CARD} says library_name: {library}; write `library_name: sparta-hub` between its two lines of ---, so "
            "that others find it. Without a card one is written for you."
        )


def _message(artifact: Artifact) -> str:
    spec = artifact.spec
    return f"{spec.family} at {len(spec.sites)} sites, sparta-hub {__version__}"


def _send(
    planned: Pushed,
    blobs: dict[str, bytes],
    private: bool | None,
    revision: str | None,
    create_pr: bool,
    tags: Sequence[str],
    token: str | None,
) -> Pushed:
    import huggingface_hub as hf

    api, repo = hf.HfApi(token=token, library_name="sparta-hub", library_version=__version__), planned.repo
    if not create_pr:
        api.create_repo(repo, private=private, exist_ok=True)
        refuse_public(api, repo, private)
    taken = {ref.name: ref.target_commit for ref in api.list_repo_refs(repo).tags} if tags or revision else {}
    if revision in taken:
        raise HubError(
            f"revision is {revision!r}, which is a tag of {repo}, and tags do not move; choose another name."
        )
    if not create_pr and revision and revision != "main":
        refuse_others(repo, api.list_repo_files(repo))  # before there is a branch of them
        api.create_branch(repo, branch=revision, exist_ok=True)
    there = api.list_repo_files(repo, revision=revision)
    refuse_others(repo, there)
    stale = [name for name in there if name not in blobs and is_ours(name)]
    before = api.model_info(repo, revision=revision).sha
    if moved := [tag for tag in tags if taken.get(tag, before) != before]:
        raise HubError(
            f"The tag {moved[0]} is at commit {taken[moved[0]]} already, and tags do not move; choose another. Nothing "
            "was sent."
        )
    commit = api.create_commit(
        repo,
        [
            *(hf.CommitOperationAdd(name, blob) for name, blob in blobs.items()),
            *(hf.CommitOperationDelete(name) for name in stale),
        ],
        commit_message=planned.message,
        revision=revision,
        create_pr=create_pr,
        parent_commit=None if create_pr else before,  # somebody else's commit in between is an error, not overwritten
    )
    for tag in tags:
        if tag not in taken:
            _tag(api, repo, tag, commit.oid)
        elif taken[tag] != commit.oid:  # it stood at what this commit has just replaced
            raise HubError(f"Pushed as commit {commit.oid}, but the tag {tag} stays at {taken[tag]}; choose another.")
    return Pushed(repo, planned.files, planned.message, commit.oid, commit.pr_url or commit.commit_url)


def _tag(api: Any, repo: str, tag: str, commit: str) -> None:
    try:
        api.create_tag(repo, tag=tag, revision=commit)
    except failures() as error:
        raise HubError(
            f"Pushed as commit {commit}, but without the tag {tag}: {explain(error, repo, tag, doing='tagged')} Push "
            "again for it: nothing is sent twice."
        ) from None
