"""From what a visitor chose to what the visitor sees; networks are loaded here, stored attacks used where they fit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from html import escape
from pathlib import Path

import page
import torch
from chart import Line, line_chart
from demo import Attacked, Network, Scene, make_scene, scene_of
from images import Upload, read_upload, to_tensor
from networks import HERE, Entry, twin_of
from state import State, code
from stored import FOLDER, SETTINGS, Stored, read_stored

import sparta_hub
from sparta_hub.errors import SpartaError


@dataclass(frozen=True)
class Show:
    """What there is to see.

    Args:
        entries: networks by name.
        examples: pictures by name.
        network: gives the network of an entry, loaded once.
        stored: precomputed results by name of the network.
        first: the first screen.
    """

    entries: Mapping[str, Entry]
    examples: Mapping[str, Path]
    network: Callable[[str], Network]
    stored: Mapping[str, Stored]
    first: State


@dataclass(frozen=True)
class Screen:
    """Everything on the page that depends on the visitor's choice: HTML, and the Python that does the same."""

    scene: Scene
    verdict: str
    networks: str
    sites: str
    table: str
    charts: str
    code: str
    downloads: str


def open_show(entries: Mapping[str, Entry], device: torch.device, *, stored: Path = FOLDER) -> Show:
    """Gather what there is; the first screen has the first example that all networks on it get right.

    Raises:
        SpartaError: there is no network at all.
    """
    if not entries:
        raise no_network()

    @cache
    def network(name: str) -> Network:
        return read_network(entries[name], device)

    entry = next(iter(entries.values()))
    kept = {name: found for name, e in entries.items() if (found := read_stored(e, stored))}
    examples = example_files(entry.classes)
    show = Show(entries, examples, network, kept, State("", entry.name, entry.info.spec.sites[0].name))
    return replace(show, first=replace(show.first, image=_first_right(show)))


def no_network() -> SpartaError:
    """What to tell where nothing can be shown."""
    return SpartaError(
        "There is no network with weights: put an artifact that was saved with its host into "
        f"{HERE / 'artifacts'}, or run from a checkout with model_cards."
    )


def read_network(entry: Entry, device: torch.device) -> Network:
    """Load a network for looking into."""
    model = sparta_hub.load(entry.info.folder).eval().to(device)
    return Network(entry.name, entry.label, model, entry.classes, entry.origin.input_size)


def example_files(classes: Sequence[str]) -> dict[str, Path]:
    """Pictures of these classes, by class, in the order of the classes; a picture is named after its class."""
    paths = {name: HERE / "examples" / f"{name}.png" for name in classes}
    return {name: path for name, path in paths.items() if path.is_file()}


def pair(show: Show, model: str) -> list[Entry]:
    """The entry and its ReLU twin, if it has one.

    Raises:
        SpartaError: there is no such network.
    """
    if model not in [*show.entries]:  # by the API a list may come, which has no hash
        raise SpartaError(f"There is no network {model!r}; expected one of {', '.join(show.entries)}.")
    twin = twin_of(show.entries[model], show.entries)
    return [show.entries[model], *([twin] if twin else [])]


def make_scene_of(show: Show, state: State, upload: Upload | None) -> tuple[Scene, list[str]]:
    """The scene that a visitor asked for, and what to tell beside it.

    Args:
        show: what there is.
        state: what was chosen; its ``image`` is empty for an upload.
        upload: the visitor's own picture.

    Raises:
        SpartaError: an unknown network, example or class, or no picture.
    """
    entries = pair(show, state.model)
    networks, classes = [show.network(entry.name) for entry in entries], entries[0].classes
    if state.target and state.target not in classes:
        raise SpartaError(f"{state.model} knows no class {state.target!r}; expected one of {', '.join(classes)}.")
    settings = state.settings(classes)
    if state.image:
        if state.image not in show.examples:
            raise SpartaError(f"There is no example {state.image!r}; expected one of {', '.join(show.examples)}.")
        upload = read_upload(show.examples[state.image])
    if upload is None:
        raise SpartaError("There is no picture yet: choose an example or upload one.")
    device = next(networks[0].model.parameters()).device
    x = to_tensor(upload.picture, networks[0].size).to(device)
    truth = classes.index(state.image) if state.image in classes else None
    title = f"{state.image}, a CIFAR-10 test image" if state.image else "your image"
    notes = list(upload.notes)
    if any(found.stale for entry in entries if (found := show.stored.get(entry.name))):
        notes.append(
            "Stored results are stale: they belong to earlier weights or settings. What you see was computed just now."
        )
    kept = [_kept(show, entry, state) for entry in entries] if settings == SETTINGS else []
    if kept and all(kept):
        known = [replace(done, x=done.x.to(device)) for done in kept if done]
        return scene_of(networks, x, settings, known, truth=truth, title=title), notes
    return make_scene(networks, x, settings, truth=truth, title=title), notes


def make_screen(show: Show, state: State, upload: Upload | None = None) -> Screen:
    """Attack if need be, and draw."""
    scene, notes = make_scene_of(show, state, upload)
    entries = pair(show, state.model)
    python = code(state, size=scene.views[0].network.size, truth=scene.truth, target=scene.settings.target)
    missing = len(entries) == 1 and entries[0].family != "relu"
    return Screen(
        scene=scene,
        verdict=page.verdict(scene, twin_missing=missing, notes=notes),
        networks=page.networks(scene),
        sites=page.sites(scene, state.site if state.site in scene.views[0].sites else next(iter(scene.views[0].sites))),
        table=page.table(scene),
        charts=f"<div class='charts'>{page.losses(scene)}{accuracy_chart(show, entries)}</div>",
        code=python,
        downloads=page.downloads(scene, python, state.link()),
    )


def panels(show: Show, state: State, upload: Upload | None = None) -> list[str]:
    """What the outputs of the app show: of a screen its text alone, which can come from another process."""
    screen = make_screen(show, state, upload)
    wrapped = (screen.verdict, screen.networks, screen.sites, screen.table, screen.charts)
    return [*map(page.wrap, wrapped), screen.code, page.wrap(screen.downloads)]


def accuracy_chart(show: Show, entries: Sequence[Entry]) -> str:
    """Accuracy against ε of each network, with its record; where it is missing or stale, a sentence."""
    found = [(entry, show.stored[entry.name]) for entry in entries if entry.name in show.stored]
    fresh = [(entry, stored) for entry, stored in found if not stored.stale]
    if not fresh:
        why = "belongs to earlier weights or settings" if found else "is not stored here"
        return f"<p class='note'>Accuracy against ε {why}; type: python spaces/denoising/precompute.py</p>"
    lines = [
        Line(entry.label, "twin" if entry.family == "relu" else "subject",
             [(row["eps_255"], row["percent"]) for row in stored.record["accuracy"]["rows"]],
             [(row["low"], row["high"]) for row in stored.record["accuracy"]["rows"]]) for entry, stored in fresh
    ]  # fmt: skip
    told, where = fresh[0][1].record["accuracy"], fresh[0][1].record["provenance"]
    ends = "; ".join(f"{line.name} from {line.points[0][1]:.1f} % to {line.points[-1][1]:.1f} %" for line in lines)
    chart = line_chart(
        lines, title=f"Accuracy against ε: {ends}", x_title="ε in 1/255", y_title="accuracy in %", y_max=100
    )
    caption = (
        f"Accuracy against ε on {told['data']}: {told['attack']}. {ends}. Bars are 95 % intervals. Computed before, "
        f"by commit {where['commit'][:12]} on {where['hardware']}."
    )
    return f"<figure>{chart}<figcaption>{escape(caption)}</figcaption></figure>"


def _kept(show: Show, entry: Entry, state: State) -> Attacked | None:
    stored = show.stored.get(entry.name)
    return stored.attacks.get(state.image) if stored and not stored.stale else None


def _first_right(show: Show) -> str:
    """The first example that every network of the first screen gets right; the first of all if there is none."""
    networks = [show.network(entry.name) for entry in pair(show, show.first.model)]
    for name, path in show.examples.items():
        x = to_tensor(read_upload(path).picture, networks[0].size).to(next(networks[0].model.parameters()).device)
        with torch.no_grad():
            if all(network.classes[int(network.model(x[None])[0].argmax())] == name for network in networks):
                return name
    return next(iter(show.examples), "")
