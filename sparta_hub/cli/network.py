"""The network that the options of ``sparta-hub eval`` and ``diagnose`` name."""

from pathlib import Path

import click
from torch import nn

from sparta_hub.artifacts import read_config, read_tensors
from sparta_hub.data import CLASSES, SOURCES, Images
from sparta_hub.errors import ArtifactError
from sparta_hub.hosts import create_host
from sparta_hub.hub import info, load
from sparta_hub.hub.names import resolve


def load_network(
    name: str | None, *, host: str | None, weights: Path | None, num_classes: int, command: str = "eval"
) -> nn.Module:
    """The network to measure: the one that ``name`` was trained in; ``host`` with its activations; or ``host`` itself.

    Args:
        name: see ``sparta_hub.load``; without it, ``host`` is measured as it is.
        host: timm name of a network.
        weights: safetensors file with its whole state, activations included; without it, the network is untrained.
        num_classes: of ``host``.
        command: what to type instead, where there is nothing to measure.

    Raises:
        ArtifactError: there are no weights to measure, or they are not those of this network.
    """
    if name is None and (host is None or weights is None):
        raise ArtifactError(
            "There is no network to measure; expected the name of a set, or a network of your own: "
            f"sparta-hub {command} --model resnet18 --weights FILE.safetensors ..."
        )
    if name is not None and host is None:
        return _trained_with(name, weights, command)
    assert host is not None
    model = create_host(host, num_classes) if name is None else load(name, model=host, num_classes=num_classes)
    if weights is not None:
        tensors, own = read_tensors(weights), model.state_dict()
        different = sorted(tensors.keys() ^ own.keys()) + [
            k for k in own.keys() & tensors if own[k].shape != tensors[k].shape
        ]
        if different:
            raise ArtifactError(
                f"{weights} does not hold the weights of {called(name, host)} with {num_classes} classes: "
                f"{len(different)} tensors are missing, too many or of another shape, {different[0]} among them."
            )
        model.load_state_dict(tensors)
    return model


def warn_if_untrained(name: str | None, *, host: str | None, weights: Path | None) -> None:
    """Say on standard error that a network has no weights but those of the activations put in."""
    if name and host and not weights:
        click.echo(f"warning: {host} is untrained but for the activations of {name}; see --weights.", err=True)


def warn_of_other_data(name: str | None, *, host: str | None, data: Images) -> None:
    """Say on standard error that the trained network of ``name`` knows the classes of another data set."""
    origin = None if name is None or host is not None else read_config(resolve(name)).activation.origin
    if origin is None:
        return
    if (data.name in SOURCES or not data.classes) and data.name != origin.dataset:
        click.echo(
            f"warning: {name} was trained on {origin.dataset}, and its classes are not those of {data.name}: expect "
            "chance.",
            err=True,
        )
        return
    for number, (own, given) in enumerate(zip(CLASSES.get(origin.dataset, ()), data.classes, strict=False)):
        if own != given:
            click.echo(
                f"warning: class {number} is {own!r} to {name} and {given!r} in {data.name}. Folders are numbered in "
                f"the order of their names; expected those of {origin.dataset}: {', '.join(CLASSES[origin.dataset])}.",
                err=True,
            )
            return


def called(name: str | None, host: str | None) -> str:
    """What records and messages call the network."""
    return " in ".join(part for part in (name, host) if part)


def _trained_with(name: str, weights: Path | None, command: str) -> nn.Module:
    if weights is not None:
        raise ArtifactError("--weights needs the network that they belong to: --model resnet18_cifar, say.")
    try:
        return load(name)
    except ArtifactError as error:
        if info(name).has_host:
            raise
        raise ArtifactError(
            f"{name} holds activations without the weights of a network, so there is nothing to measure yet. Train "
            f"a network with them and type: sparta-hub {command} {name} --model resnet18_cifar "
            "--weights FILE.safetensors ..."
        ) from error
