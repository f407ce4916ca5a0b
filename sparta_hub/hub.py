"""Loading by name: a folder, a name that ships with this package, or ``org/name[@revision]`` on the Hugging Face Hub.

The one file that uses the network.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from sparta_hub.artifacts import (
    CONFIG,
    RESULTS,
    WEIGHTS,
    Artifact,
    host_files,
    read_artifact,
    read_config,
    read_host,
    save_model,
    sha256_of,
)
from sparta_hub.errors import ArtifactError, NameNotFoundError
from sparta_hub.injected import Frozen
from sparta_hub.spec import ActivationSpec
from sparta_hub.surgery import inject
from sparta_hub.zoo import bundled_folder, find_entry, registry

if TYPE_CHECKING:
    from sparta_hub.compatibility import Compatibility

_REPO = re.compile(r"(?P<repo>[\w.-]{1,96}/[\w.-]{1,96})(?:@(?P<revision>[\w./-]{1,200}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Info:
    """What is known of an activation set without loading its weights.

    Args:
        name: as it was asked for.
        spec: family, arguments, sites and origin.
        parameters: learned values and statistics in the file of weights.
        has_host: whether the trained network's weights are at hand too.
        folder: where the files are.
        results: measured figures with their provenance; empty if there are none.
    """

    name: str
    spec: ActivationSpec
    parameters: int
    has_host: bool
    folder: Path
    results: Mapping[str, Any]


def load(
    name: str | Path,
    *,
    model: str | nn.Module | None = None,
    num_classes: int | None = None,
    frozen: Frozen = False,
) -> nn.Module:
    """Load a pretrained activation set into a network.

    Args:
        name: a folder, a short name (``list_models()``), or ``org/name[@revision]`` on the Hub.
        model: a timm network, or the name of one, which is then freshly initialised. Without it, the network that the
            set was trained in is returned with its trained weights, if the artifact holds them.
        num_classes: classes of the head, for a network that is made here; a trained one gets a new head if they differ.
        frozen: True: neither weights nor BatchNorm statistics of the activations move; ``"weights"``: statistics may.

    Returns:
        The timm network itself, changed in place if it was given.

    Raises:
        NameNotFoundError: nobody knows the name, or the Hub cannot be reached.
        ArtifactError, SpecError: the files are damaged or of a newer format.
        SiteError: the set does not fit into the network, which is then as it was.
    """
    artifact = read_artifact(resolve(name))
    if isinstance(model, nn.Module):
        if num_classes is not None:
            raise ArtifactError("num_classes goes with the name of a network; call reset_classifier on your own one.")
        host = model
    elif model is not None:
        from sparta_hub.hosts import create_host

        host = create_host(model, num_classes)
    else:
        return _trained(artifact, name, num_classes, frozen)
    inject(host, artifact.spec, state=artifact.tensors, frozen=frozen)
    return host


def save(model: nn.Module, folder: str | Path, *, with_host: bool = False) -> Path:
    """Write the activation set inside ``model`` as an artifact folder; ``load(folder, ...)`` reads it.

    Args:
        model: a network with an activation set.
        folder: made if need be.
        with_host: also write the network's own weights (float16), so that ``load(folder)`` gives the whole network.
    """
    save_model(model, Path(folder), with_host=with_host)
    return Path(folder)


def list_models() -> list[str]:
    """Short names that this installation knows, without the network."""
    return list(registry())


def info(name: str | Path) -> Info:
    """Say what ``name`` is: spec, size, results. Weights are read and checked, too."""
    artifact = read_artifact(resolve(name))
    results = artifact.folder / RESULTS
    return Info(
        name=str(name),
        spec=artifact.spec,
        parameters=sum(t.numel() for t in artifact.tensors.values()),
        has_host=artifact.has_host,
        folder=artifact.folder,
        results=json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {},
    )


def check(
    name_or_spec: str | Path | ActivationSpec, model: str | nn.Module, *, input_size: int | None = None
) -> "Compatibility":
    """Say whether an activation set fits a network, why not, which timm networks it fits, and what to mind.

    Args:
        name_or_spec: as for ``load``, or a spec.
        model: a timm network or the name of one.
        input_size: height and width of the images it will see; the network's default if None.
    """
    from sparta_hub.compatibility import check_spec

    spec = name_or_spec if isinstance(name_or_spec, ActivationSpec) else read_config(resolve(name_or_spec)).activation
    return check_spec(spec, model, origin=spec.origin, input_size=input_size)


def resolve(name: str | Path, *, with_host: bool = False) -> Path:
    """Find the artifact folder of ``name``: first a folder, then a short name, then the Hub.

    Args:
        name: see ``load``.
        with_host: on the Hub, fetch the trained network's weights too.
    """
    text = str(name)
    if text and Path(text).is_dir():
        return Path(text)
    if isinstance(name, Path) or text.startswith((".", "/", "~")) or "\\" in text:
        raise NameNotFoundError(f"{text} is no folder; expected one with {CONFIG} and {WEIGHTS}.")
    if match := _REPO.fullmatch(text):
        return _download(match["repo"], match["revision"], with_host)
    entry = find_entry(text)
    folder = bundled_folder(entry.name)
    if sha256_of(folder / CONFIG) != entry.files[CONFIG]:  # which in turn holds the checksums of all other files
        raise ArtifactError(f"{folder / CONFIG} is not the one that registry.json knows; reinstall sparta-hub.")
    return folder


def _trained(artifact: Artifact, name: str | Path, num_classes: int | None, frozen: Frozen) -> nn.Module:
    origin = artifact.spec.origin
    if origin and host_files(artifact.config) and not artifact.has_host:
        artifact = read_artifact(_with_host_weights(name, artifact))
    if origin is None or not artifact.has_host:
        where = f"{origin.host}'s trained weights are not" if origin else "no trained network is"
        example = origin.host if origin else "resnet18_cifar"
        raise ArtifactError(
            f"{name} holds the activations; {where} in {artifact.folder}. Say which network they go into: "
            f'sparta_hub.load("{name}", model="{example}")'
        )
    from sparta_hub.hosts import create_host

    host = create_host(origin.host, origin.num_classes)
    state = read_host(artifact)
    own = host.state_dict()
    if own.keys() != state.keys() or any(own[k].shape != state[k].shape for k in own):
        raise ArtifactError(
            f"The host weights in {artifact.folder} are not those of {origin.host} with {origin.num_classes} classes."
        )
    host.load_state_dict(state, strict=True)
    inject(host, artifact.spec, state=artifact.tensors, frozen=frozen)
    if num_classes is not None and num_classes != origin.num_classes:
        getattr(host, "reset_classifier")(num_classes)  # noqa: B009  every timm network has it
    return host.eval()


def _with_host_weights(name: str | Path, artifact: Artifact) -> Path:
    """Fetch the host's weights for a name whose folder lacks them, or return that folder if there is nowhere to ask."""
    text = str(name)
    if _REPO.fullmatch(text) and not Path(name).is_dir():
        return resolve(name, with_host=True)
    entry = registry().get(text)
    if entry and entry.revision:
        return _download(entry.repo, entry.revision, with_host=True)
    return artifact.folder


def _download(repo: str, revision: str | None, with_host: bool) -> Path:
    """Fetch the files that are needed, all from one commit, into the Hub's cache; the folder they lie in."""
    import huggingface_hub as hf
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    from sparta_hub import __version__

    def fetch(filename: str, commit: str) -> Path:
        file = hf.hf_hub_download(
            repo, filename, revision=commit, library_name="sparta-hub", library_version=__version__
        )
        return Path(file)

    try:
        commit = (
            revision if revision and _COMMIT.fullmatch(revision) else hf.HfApi().model_info(repo, revision=revision).sha
        )
        if commit is None:
            raise NameNotFoundError(f"The Hub names no commit for {repo}; add one: '{repo}@<40 hex digits>'.")
        folder = fetch(CONFIG, commit).parent
        config = read_config(folder)
        for filename in [WEIGHTS, *(host_files(config) if with_host else [])]:
            fetch(filename, commit)
    except LocalEntryNotFoundError as error:
        raise NameNotFoundError(f"{repo} is not in the cache and the Hub cannot be reached ({error}).") from error
    except EntryNotFoundError as error:
        raise ArtifactError(f"{repo} is no sparta-hub artifact: {error}") from error
    except (HfHubHTTPError, ConnectionError, OSError) as error:
        at = f" at {revision}" if revision else ""
        raise NameNotFoundError(f"{repo}{at} cannot be loaded from the Hub: {type(error).__name__}: {error}") from error
    return folder
