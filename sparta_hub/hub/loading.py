"""The verbs on artifacts: load, save, info, check."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from sparta_hub.artifacts import Artifact, check_host, host_files, read_artifact, read_config, read_host
from sparta_hub.errors import ArtifactError, SiteError, short
from sparta_hub.hub.names import is_remote, resolve
from sparta_hub.hub.results import read_results
from sparta_hub.injected import Frozen
from sparta_hub.paths import typed_path
from sparta_hub.saving import save_model
from sparta_hub.spec import ActivationSpec, Origin
from sparta_hub.surgery import inject
from sparta_hub.transfer import Transfer, read_transfers
from sparta_hub.zoo import registry

if TYPE_CHECKING:
    from sparta_hub.compatibility import Compatibility


@dataclass(frozen=True)
class Info:
    """What is known of an activation set, its weights read and checked, and put into no network.

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
        model: a timm network, or the name of one, which is then freshly initialised; for pretrained weights, pass
            ``timm.create_model(name, pretrained=True)``. Without it, the network that the set was trained in is
            returned with its trained weights, if the artifact holds them.
        num_classes: classes of the head, for a network that is made here; a trained one gets a new head if they differ.
        frozen: True: neither weights nor BatchNorm statistics of the activations move; ``"weights"``: statistics may;
            False: all train, as new parameters of ``model``: build its optimiser after this.

    Returns:
        The timm network itself, changed in place if it was given.

    Raises:
        NameNotFoundError: nobody knows the name.
        HubError: the Hub cannot be reached or refuses, or the disk does.
        ArtifactError, SpecError: the files are damaged or of a newer format.
        SiteError: the set does not fit into the network, which is then as it was; or ``model`` is none, or the name of
            pretrained weights (``resnet18.a1_in1k``).
    """
    if not isinstance(model, str | nn.Module | None):
        raise SiteError(
            f"model is {short(model)}; expected a network, such as timm.create_model('resnet18'), or the name of one."
        )
    artifact = read_artifact(resolve(name))
    if isinstance(model, nn.Module):
        if num_classes is not None:
            raise ArtifactError("num_classes goes with the name of a network; call reset_classifier on your own one.")
        host = model
    elif model is not None:
        from sparta_hub.hosts import create_host

        host = create_host(model, num_classes)
        if "." in model:
            raise SiteError(
                f"{model!r} names pretrained weights, and a network that is made here has none. Expected "
                f"model=timm.create_model({model!r}, pretrained=True), or {model.partition('.')[0]!r}, untrained."
            )
    else:
        return _trained(artifact, name, num_classes, frozen)
    inject(host, artifact.spec, state=artifact.tensors, frozen=frozen)
    return host


def save(model: nn.Module, folder: str | Path, *, with_host: bool = False, origin: Origin | None = None) -> Path:
    """Write the activation set inside ``model`` as an artifact folder; ``load(folder, ...)`` reads it.

    Args:
        model: a network with an activation set.
        folder: made if need be. An artifact in it is replaced, but for one with figures or a card of other weights; a
            network that is kept beside these very activations stays.
        with_host: also write the network's own weights (float16), so that ``load(folder)`` gives the whole network; it
            has to be one that timm makes again by its name and number of classes, which is tried on a random image.
        origin: where the weights were trained. Without it a set that was loaded keeps its origin as long as its weights
            and statistics are those that were loaded; trained on, or put in untrained, it has none.

    Raises:
        SiteError: the network holds no activation set, or not one whole one.
        ArtifactError: ``load`` could not read what would be written, or in the folder are figures of other weights,
            files that are no artifact of this version, or the Hub's cache.
        SpecError: ``origin`` is none.
    """
    if not isinstance(folder, str | PathLike) or folder == "":
        raise ArtifactError(f"folder is {short(folder)}; expected the name of a folder: save(model, 'my-set').")
    folder = typed_path(folder, ArtifactError)
    save_model(model, folder, with_host=with_host, origin=origin)
    return folder


def info(name: str | Path) -> Info:
    """Say what ``name`` is: spec, size, results. Weights are read and checked, too.

    Raises:
        NameNotFoundError, HubError, SpecError: see ``load``.
        ArtifactError: the weights or the results are not those that its config lists, or cannot be read.
    """
    artifact = read_artifact(resolve(name, with_results=True))
    return Info(
        name=str(name),
        spec=artifact.spec,
        parameters=sum(t.numel() for t in artifact.tensors.values()),
        has_host=artifact.has_host,
        folder=artifact.folder,
        results=read_results(artifact.folder, artifact.config),
    )


def transfers(name: str | Path) -> tuple[Transfer, ...]:
    """What was measured where the set ``name`` was put into other networks or trained on other data.

    Each place has its own comparisons: the set frozen, the same family trained with the host, and ReLU, from the same
    recipe, seed and budget. Empty if no transfer was measured.

    Raises:
        NameNotFoundError, HubError, ArtifactError, SpecError: see ``info``.
    """
    return read_transfers(info(name).results.get("transfers", ()))


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
    return check_spec(spec, model, input_size=input_size)


def _trained(artifact: Artifact, name: str | Path, num_classes: int | None, frozen: Frozen) -> nn.Module:
    trained = artifact.config.trained_host
    if trained and host_files(artifact.config) and not artifact.has_host:
        artifact = read_artifact(resolve(name, with_host=True) if is_remote(name) else artifact.folder)
    if trained and not artifact.has_host and not artifact.tensors:
        here = (
            f'; in a checkout of sparta-hub: sparta_hub.load("model_cards/{name}")' if str(name) in registry() else ""
        )
        raise ArtifactError(
            f"{name} is a baseline, a trained {trained.name} with {artifact.spec.family} and no activations for other "
            f"networks, and its trained weights are not in {artifact.folder}. Load a folder that holds them{here}"
        )
    if trained is None or not artifact.has_host:
        where = f"{trained.name}'s trained weights are not" if trained else "no trained network is"
        example = trained.name if trained else "resnet18_cifar"
        raise ArtifactError(
            f"{name} holds the activations; {where} in {artifact.folder}. Say which network they go into: "
            f'sparta_hub.load("{name}", model="{example}")'
        )
    from sparta_hub.hosts import check_num_classes, create_host

    check_num_classes(num_classes, trained.name)
    state = read_host(artifact)
    check_host(trained, state)  # before memory is taken: a config can claim any number of classes
    host = create_host(trained.name, trained.num_classes)
    host.load_state_dict(state, strict=True)
    inject(host, artifact.spec, state=artifact.tensors, frozen=frozen)
    if num_classes is not None and num_classes != trained.num_classes:
        getattr(host, "reset_classifier")(num_classes)  # noqa: B009  every timm network has it
    return host.eval()
