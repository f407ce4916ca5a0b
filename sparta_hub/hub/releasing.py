"""For maintainers: publish every short name, pin its commit in the registry, and gather all in one Collection."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sparta_hub.artifacts import digests
from sparta_hub.errors import ArtifactError
from sparta_hub.hub.failures import explain, failures
from sparta_hub.hub.pushing import Pushed, push_to_hub
from sparta_hub.zoo import NAMESPACE, REGISTRY, Entry, read_registry, write_registry

COLLECTION = "SPARTA Hub"


def release(
    source: Path,
    *,
    namespace: str = NAMESPACE,
    tags: Iterable[str] = (),
    registry_file: Path = REGISTRY,
    token: str | None = None,
    dry_run: bool = False,
) -> tuple[Pushed, ...]:
    """Push ``source/NAME`` for every name of the registry, write the commits into it, and fill the Collection.

    May be run again: what is unchanged makes no commit. All folders are checked before the first is sent, and a pin
    is written as soon as its commit is there, so that an interruption loses nothing.

    Args:
        source: folder of whole artifacts, such as ``model_cards``.
        namespace: user or organisation.
        tags: git tags for the commits, such as the version.
        registry_file: where the pins go.
        token: None: the one of ``hf auth login`` or ``HF_TOKEN``.
        dry_run: check, and say what would be sent, without the network; the registry stays as it is.

    Raises:
        ArtifactError: a folder is not what the registry says.
        HubError: the Hub refuses; see ``push_to_hub``.
    """
    entries = {name: replace(entry, repo=f"{namespace}/{name}") for name, entry in read_registry(registry_file).items()}
    for entry in entries.values():
        _check(source / entry.name, entry)
    tags = tuple(tags)
    planned = [push_to_hub(source / name, e.repo, tags=tags, dry_run=True) for name, e in entries.items()]
    if dry_run:
        return tuple(planned)
    pushed = []
    for name, entry in entries.items():
        pushed.append(push_to_hub(source / name, entry.repo, tags=tags, token=token))
        entries[name] = replace(entry, revision=pushed[-1].commit)
        write_registry(registry_file, {**read_registry(registry_file), name: entries[name]})
    _collect(namespace, [entry.repo for entry in entries.values()], token)
    return tuple(pushed)


def _check(folder: Path, entry: Entry) -> None:
    files = digests(folder)
    if files != dict(entry.files):
        odd = sorted(name for name in files.keys() | entry.files.keys() if files.get(name) != entry.files.get(name))
        raise ArtifactError(
            f"{folder} is not what registry.json says of {entry.name} ({', '.join(odd)}); publish it there first."
        )


def _collect(namespace: str, repos: list[str], token: str | None) -> None:
    import huggingface_hub as hf

    api = hf.HfApi(token=token)
    try:
        collection = api.create_collection(
            COLLECTION,
            namespace=namespace,
            description="Pretrained, adversarially robust activation functions for PyTorch CNNs.",
            exists_ok=True,
        )
        for repo in repos:
            api.add_collection_item(collection.slug, repo, "model", exists_ok=True)
    except failures() as error:
        raise explain(error, f"The Collection {COLLECTION} of {namespace}", doing="filled") from None
