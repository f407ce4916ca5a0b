"""An image, an attack, and what two networks make of it: pure functions from tensors to numbers and maps."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparta_hub.activations import Sparta
from sparta_hub.attacks import pgd
from sparta_hub.attacks.losses import reached
from sparta_hub.diagnostics import SiteDenoising, denoising, feature_maps
from sparta_hub.errors import SpartaError
from sparta_hub.surgery import injected
from sparta_hub.threat import ThreatModel

MAX_EPS, MAX_STEPS = 16, 50
CHANNELS = 6  # maps shown of each site


@dataclass(frozen=True)
class Settings:
    """What the visitor chose.

    Args:
        eps: radius of the L∞ ball in 1/255 of the image range, 0 to ``MAX_EPS``.
        steps: of PGD, 1 to ``MAX_STEPS``.
        target: class that the attacker wants to be seen; None: any wrong one.
    """

    eps: float = 8.0
    steps: int = 10
    target: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.eps <= MAX_EPS:
            raise SpartaError(f"ε is {self.eps}/255; expected 0 to {MAX_EPS}.")
        if not 1 <= self.steps <= MAX_STEPS or type(self.steps) is not int:
            raise SpartaError(f"The attack has {self.steps} steps; expected a whole number from 1 to {MAX_STEPS}.")

    @property
    def threat(self) -> ThreatModel:
        """As the library writes it."""
        return ThreatModel("linf", self.eps / 255, self.target is not None)


@dataclass(frozen=True)
class Network:
    """A network to look into.

    Args:
        name: of its artifact.
        label: of its activation, for people.
        model: takes images in [0, 1], gives logits; holds an activation set, so that its sites are known.
        classes: names of its classes.
        size: height and width of its images.
    """

    name: str
    label: str
    model: nn.Module
    classes: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class Attacked:
    """What PGD made of one image, against one network.

    Args:
        x: the attacked image (3, H, W).
        aim: the class that the attack leads away from, or towards if the settings have a target.
        losses: cross entropy of ``aim`` at the start and after each step.
    """

    x: Tensor
    aim: int
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Gate:
    """SPARTA's attention for one image: ``sigmoid(spatial * channel)`` is what the rectified maps are multiplied by.

    Args:
        spatial: S, (H, W).
        channel: Ch, (C,).
    """

    spatial: Tensor
    channel: Tensor


@dataclass(frozen=True)
class SiteView:
    """One site of one network, seen with the clean and the attacked image.

    Args:
        denoising: distance and cosine of clean and attacked maps, before and after the activation, all channels.
        channels: those shown, the strongest on the clean image after the activation first.
        maps: by side (before, after the activation), image (clean, attacked) and channel: (2, 2, len(channels), H, W).
        gates: for the clean and the attacked image; None where the activation is not SPARTA.
    """

    denoising: SiteDenoising
    channels: tuple[int, ...]
    maps: Tensor
    gates: tuple[Gate, Gate] | None


@dataclass(frozen=True)
class View:
    """Everything that is shown of one network.

    Args:
        network: which.
        attacked: the image against it.
        clean_probabilities, attacked_probabilities: of its classes (classes,).
        success: whether the attack reached its aim; an image that was wrong before it counts, too.
        sites: by name, in the network's order.
    """

    network: Network
    attacked: Attacked
    clean_probabilities: Tensor
    attacked_probabilities: Tensor
    success: bool
    sites: dict[str, SiteView]


@dataclass(frozen=True)
class Scene:
    """One image, clean (3, H, W), and what each network makes of it; ``truth`` is its class, if anybody knows it."""

    x: Tensor
    truth: int | None
    settings: Settings
    views: tuple[View, ...]
    title: str = "your image"


def make_scene(
    networks: Sequence[Network], x: Tensor, settings: Settings, *, truth: int | None = None, title: str = "your image"
) -> Scene:
    """Attack ``x`` (3, H, W) against each network on its own (white box), and look into each.

    Without a known class, the attack leads away from what the network says of the clean image.

    Raises:
        SpartaError: the target is no class, or the class of the image already.
    """
    return scene_of(networks, x, settings, [attack(n, x, settings, truth) for n in networks], truth=truth, title=title)


def scene_of(
    networks: Sequence[Network],
    x: Tensor,
    settings: Settings,
    attacks: Sequence[Attacked],
    *,
    truth: int | None = None,
    title: str = "your image",
) -> Scene:
    """As ``make_scene``, with attacks that were made before."""
    views = tuple(look(n, x, done, settings) for n, done in zip(networks, attacks, strict=True))
    return Scene(x, truth, settings, views, title)


def attack(network: Network, x: Tensor, settings: Settings, truth: int | None) -> Attacked:
    """PGD with a random start of seed 0 and steps that add up to 2.5·ε."""
    model, batch = network.model, x[None]
    with torch.no_grad():
        aim = int(model(batch)[0].argmax()) if truth is None else truth
    if settings.target is not None:
        if not 0 <= settings.target < len(network.classes):
            raise SpartaError(f"The target is class {settings.target}; {network.name} has {len(network.classes)}.")
        if truth is not None and settings.target == truth:
            raise SpartaError(f"The image is of class {network.classes[truth]} already; choose another target.")
        aim = settings.target
    y = torch.tensor([aim], device=x.device)
    losses: list[float] = []
    sign = -1 if settings.target is not None else 1  # what PGD climbs, towards a class, is minus the cross entropy
    x_adv = pgd(
        model, batch, y, settings.threat, steps=settings.steps,
        watch=lambda _, value: losses.append(sign * float(value)), generator=torch.Generator(x.device).manual_seed(0),
    )  # fmt: skip
    with torch.no_grad():
        losses.append(float(nn.functional.cross_entropy(model(x_adv), y)))
    return Attacked(x_adv[0], aim, tuple(losses))


def look(network: Network, x: Tensor, attacked: Attacked, settings: Settings) -> View:
    """Run the network twice and keep what stands before and after each of its activations."""
    model, pair = network.model, torch.stack([x, attacked.x])
    modules = injected(model)
    with torch.no_grad():
        logits = model(pair)
    clean, bad = logits.softmax(1)
    won = bool(reached(logits[1:], torch.tensor([attacked.aim], device=x.device), settings.target is not None))
    maps = feature_maps(model, list(modules), pair)
    sites = {}
    for measured in denoising(model, pair[:1], pair[1:]):
        before, after = maps[measured.path]
        activation = modules[measured.path].activation
        strongest = after[0].mean((1, 2)).topk(min(CHANNELS, after.shape[1])).indices
        shown = torch.stack([before[:, strongest], after[:, strongest]])
        gates = _gates(activation, before) if isinstance(activation, Sparta) else None
        sites[measured.site] = SiteView(measured, tuple(strongest.tolist()), shown.cpu(), gates)
    return View(network, attacked, clean.cpu(), bad.cpu(), won, sites)


def _gates(activation: Sparta, before: Tensor) -> tuple[Gate, Gate]:
    with torch.no_grad():
        spatial, channel = activation.gate(before)
    gates = [Gate(s[0].cpu(), c[:, 0, 0].cpu()) for s, c in zip(spatial, channel, strict=True)]
    return gates[0], gates[1]


def top(view: View, *, attacked: bool, count: int = 3) -> list[tuple[str, float]]:
    """The classes that the network holds likeliest, with their probabilities."""
    probabilities = view.attacked_probabilities if attacked else view.clean_probabilities
    values, indices = probabilities.topk(min(count, len(probabilities)))
    return [(view.network.classes[i], float(p)) for i, p in zip(indices.tolist(), values.tolist(), strict=True)]


def numbers(scene: Scene) -> dict[str, Any]:
    """Everything measured, as plain values for JSON."""
    classes = scene.views[0].network.classes
    target = scene.settings.target
    return {
        "image": scene.title,
        "class": None if scene.truth is None else classes[scene.truth],
        "attack": {
            "name": "pgd", "norm": "linf", "eps_255": scene.settings.eps, "steps": scene.settings.steps, "seed": 0,
            "target": None if target is None else classes[target],
        },
        "networks": [
            {
                "name": view.network.name,
                "activation": view.network.label,
                "clean": dict(top(view, attacked=False)),
                "attacked": dict(top(view, attacked=True)),
                "success": view.success,
                "losses": list(view.attacked.losses),
                "largest_change_255": round(float((view.attacked.x - scene.x).abs().max()) * 255, 4),
                "sites": [_measured(site.denoising) for site in view.sites.values()],
            }
            for view in scene.views
        ],
    }  # fmt: skip


def _measured(denoising: SiteDenoising) -> dict[str, Any]:
    """As plain values, None for NaN, which JSON has not; without ``path``, since gradio's client takes whatever has a
    ``path`` for a file to fetch."""
    return {key: None if value != value else value for key, value in asdict(denoising).items() if key != "path"}
