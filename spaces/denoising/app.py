"""The Space: wiring only. What is computed is in ``show.py`` and below it, what it looks like in ``page.py``."""

from dataclasses import dataclass
from typing import Any

from gpu import on_gpu  # before torch: on ZeroGPU the package `spaces` has to come first

# isort: split

import gradio as gr
import page
import torch
from demo import MAX_EPS, MAX_STEPS, numbers
from gradio.data_classes import ImageData
from gradio.themes import Default
from images import MAX_BYTES, Upload, UploadError, read_upload
from networks import HERE, find_entries
from page import wrap
from pictures import data_uri
from show import Show, make_scene_of, open_show, panels
from state import State, from_query
from transfer import HOSTS, activation_sets, fits, matrix, transferred
from words import ABOUT, INTRO, TITLE

from sparta_hub.errors import SpartaError, answered

UNTARGETED = "any wrong class"
QUEUE = 20  # visitors who wait; later ones are told that it is full


def picture_input(**settings: Any) -> gr.Image:
    """``gr.Image`` that reads uploads by ``images.read_upload``: nothing is decoded before its size is known.

    A subclass would do as well, but for each one gradio writes a stub file beside its source. Give it plain values,
    never an update such as ``gr.skip()``: for an update gradio makes the component anew, without this.
    """
    component = gr.Image(type="filepath", image_mode=None, **settings)
    component.preprocess = read_payload
    return component


def read_payload(payload: ImageData | None) -> Any:
    """The upload, or a sentence for the visitor."""
    if payload is None or payload.path is None:
        return None
    try:
        return read_upload(payload.path)
    except UploadError as error:
        raise gr.Error(str(error), title="This picture cannot be used", print_exception=False) from error


def slider_input(low: float, high: float, value: float, *, step: float, label: str) -> gr.Slider:
    """``gr.Slider`` that answers what is no number from ``low`` to ``high`` with a sentence, whoever sent it."""
    component = gr.Slider(low, high, value, step=step, label=label, buttons=[])

    def read_number(payload: float) -> float:
        if isinstance(payload, int | float) and low <= payload <= high:
            whole = step == 1 and payload == int(payload)  # programs that read the schema send 10.0
            return int(payload) if whole else payload
        raise gr.Error(f"{label}: expected a number from {low} to {high}.", print_exception=False)

    component.preprocess = read_number
    return component


@dataclass(frozen=True)
class Choices:
    """The inputs of the page."""

    picture: gr.Image
    image: gr.Radio
    model: gr.Dropdown
    eps: gr.Slider
    steps: gr.Slider
    target: gr.Dropdown
    site: gr.Radio

    def list(self) -> list[Any]:
        """In the order of ``state_of``."""
        return [self.picture, self.image, self.model, self.eps, self.steps, self.target, self.site]


@dataclass(frozen=True)
class Outputs:
    """The panels of the page, named as in ``Screen``."""

    verdict: gr.HTML
    networks: gr.HTML
    sites: gr.HTML
    table: gr.HTML
    charts: gr.HTML
    code: gr.Code
    downloads: gr.HTML

    def list(self) -> list[Any]:
        """In the order of ``panels``."""
        return [self.verdict, self.networks, self.sites, self.table, self.charts, self.code, self.downloads]


def build(show: Show) -> gr.Blocks:
    """The page; its first screen is complete before anybody clicks."""
    first = show.first
    gr.set_static_paths(list(show.examples.values()))  # copies would be deleted with the uploads, while still on screen
    classes = {name: entry.classes for name, entry in show.entries.items()}
    sites = {name: [site.name for site in entry.info.spec.sites] for name, entry in show.entries.items()}

    @on_gpu  # perhaps in another process: what comes and goes is text, numbers and the visitor's picture
    def draw(state: State, upload: Upload | None) -> list[str]:
        return panels(show, state, upload)

    @on_gpu
    def measure(state: State, upload: Upload | None) -> dict[str, Any]:
        return numbers(make_scene_of(show, state, upload)[0])

    def run(
        upload: Upload | None, image: str | None, model: str, eps: float, steps: int, target: str, site: str
    ) -> list[str]:
        state = State(image or "", model, site, eps, steps, "" if target == UNTARGETED else target)
        try:
            return draw(state, upload)
        except SpartaError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def attack(
        picture: Upload | None, example: str | None, model: str, eps: float, steps: int, target: str
    ) -> dict[str, Any]:
        """Attack a picture (or, without one, an example) by PGD in the L∞ ball of radius eps/255 around it, against
        a network and its ReLU twin, and measure: probabilities before and after, losses, distances at every site."""
        try:
            image = "" if picture else example or ""
            return measure(State(image, model, "", eps, steps, "" if target == UNTARGETED else target), picture)
        except SpartaError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def choose(image: str) -> str:
        return str(show.examples[image])

    def adapt(model: str) -> tuple[gr.Dropdown, gr.Radio]:
        places = sites[model]
        return gr.Dropdown(choices=targets(model), value=UNTARGETED), gr.Radio(choices=places, value=places[0])

    def targets(model: str) -> list[str]:
        return [UNTARGETED, *classes[model]]

    def restore(request: gr.Request) -> list[Any]:
        query = dict(request.query_params)
        state = from_query(query, first, images=list(show.examples), sites=sites, classes=classes)
        picture = str(show.examples[state.image]) if state.image else None
        inputs = [picture, state.image or None, state.model, state.eps, state.steps]
        if state == first:  # what is on the page already
            return [*inputs, UNTARGETED, first.site, *[gr.skip() for _ in outputs.list()]]
        target = gr.Dropdown(choices=targets(state.model), value=state.target or UNTARGETED)
        site = gr.Radio(choices=sites[state.model], value=state.site)
        return [*inputs, target, site, *draw(state, None)]

    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as app:
        gr.HTML(wrap(INTRO))
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                choices, button = inputs_of(show, targets(first.model), sites[first.model])
            with gr.Column(scale=3, min_width=300):
                outputs = outputs_of(panels(show, first), choices.site, show)
        gr.HTML(wrap(ABOUT))

        event = {"inputs": choices.list(), "outputs": outputs.list(), "concurrency_id": "network",
                 "concurrency_limit": 1, "trigger_mode": "always_last", "api_visibility": "private"}  # fmt: skip
        gr.on([button.click, choices.eps.release, choices.steps.release, choices.target.input], run, **event)
        choices.image.input(choose, choices.image, choices.picture, api_visibility="private").then(run, **event)
        own = choices.picture.upload(lambda: None, None, choices.image, api_visibility="private")
        own.then(run, **event)
        choices.picture.clear(lambda: None, None, choices.image, api_visibility="private")  # nothing is chosen then
        other = choices.model.input(adapt, choices.model, [choices.target, choices.site], api_visibility="private")
        other.then(run, **event)
        choices.site.input(None, choices.site, None, js=f"site => {{ {page.SHOW_SITE} }}", api_visibility="private")
        app.load(restore, None, [*choices.list(), *outputs.list()], concurrency_id="network", api_visibility="private")
        api(attack, choices)
    return app


def inputs_of(show: Show, targets: list[str], sites: list[str]) -> tuple[Choices, gr.Button]:
    """Left column. The radio of the sites is rendered later, above the maps."""
    first = show.first
    picture = picture_input(
        value=str(show.examples[first.image]) if first.image else None, sources=["upload", "clipboard", "webcam"],
        label="Your image, or an example", height=210, buttons=[],
        alt_text="The image that is attacked", elem_id="picture",
    )  # fmt: skip
    image = gr.Radio(
        list(show.examples), value=first.image or None, label="Examples: CIFAR-10 test images", elem_id="examples"
    )
    model = gr.Dropdown(list(show.entries), value=first.model, label="Network")
    eps = slider_input(0, MAX_EPS, first.eps, step=0.5, label="ε: how far each pixel may move, in 1/255")
    steps = slider_input(1, MAX_STEPS, first.steps, step=1, label="Steps of the attack")
    target = gr.Dropdown(targets, value=UNTARGETED, label="The attack wants it to be seen as")
    button = gr.Button("Attack", variant="primary", elem_id="attack")
    site = gr.Radio(
        sites, value=first.site, label="Site: stage (G) and block (B) of the activation", render=False, elem_id="site"
    )
    return Choices(picture, image, model, eps, steps, target, site), button


def outputs_of(start: list[str], site: gr.Radio, show: Show) -> Outputs:
    """Right column, filled with the first screen."""
    verdict, networks = gr.HTML(start[0], elem_id="verdict"), gr.HTML(start[1], elem_id="networks")
    with gr.Tabs():
        with gr.Tab("Feature maps"):
            site.render()
            maps = gr.HTML(start[2], elem_id="sites")
        with gr.Tab("Numbers"):
            table = gr.HTML(start[3])
        with gr.Tab("Attack"):
            charts = gr.HTML(start[4], elem_id="charts")
        with gr.Tab("Transfer"):
            transfer_tab(show)
        with gr.Tab("Load it in Python"):
            code = gr.Code(start[5], language="python", interactive=False, label="The network and the attack on screen")
    downloads = gr.HTML(start[6], elem_id="downloads")
    return Outputs(verdict, networks, maps, table, charts, code, downloads)


def transfer_tab(show: Show) -> None:
    """Pick an activation set and a host, and see whether they fit."""
    known = activation_sets(show)

    def check(activation: str, host: str) -> str:
        """Say whether an activation set fits a timm network, and why."""
        if activation not in [*known]:  # by the API a list may come, which has no hash
            raise gr.Error(f"There is no activation set {activation!r}; expected one of {', '.join(known)}.")
        try:
            return wrap(fits(activation, known[activation], str(host).strip()[:100]))
        except SpartaError as error:
            raise gr.Error(str(error), print_exception=False) from error

    with gr.Row():
        activation = gr.Dropdown(list(known), value=next(iter(known), None), label="Activation set")
        host = gr.Dropdown(
            list(HOSTS), value=HOSTS[1], allow_custom_value=True, label="Network (any name that timm knows)"
        )
    answer = gr.HTML(check(next(iter(known)), HOSTS[1]) if known else "", elem_id="fits")
    gr.on([activation.input, host.input], check, [activation, host], answer, api_name="check", concurrency_limit=1)
    gr.HTML(wrap(transferred(known)))
    gr.HTML(wrap(matrix(show.entries.values())))


def api(attack: Any, choices: Choices) -> None:
    """The endpoint /attack: inputs checked and typed by components of its own, nothing of it to be seen."""
    picture = picture_input(label="picture", visible=False)
    output, hidden = gr.JSON(visible=False), gr.Button(visible=False)
    hidden.click(
        attack, [picture, choices.image, choices.model, choices.eps, choices.steps, choices.target], output,
        api_name="attack", concurrency_id="network", concurrency_limit=1,
    )  # fmt: skip


def launch_settings(show: Show) -> dict[str, Any]:
    """How the app is launched, here and in tests."""
    return {"css": style(show), "theme": Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            "max_file_size": MAX_BYTES, "state_session_capacity": 200, "footer_links": ["api"], "ssr_mode": False,
            "enable_monitoring": False}  # fmt: skip


def style(show: Show) -> str:
    """The style sheet, with the examples' pictures on their radio buttons."""
    thumbnails = (
        f"#examples label:nth-of-type({i})::before {{ background-image: url('{data_uri(path.read_bytes())}'); }}"
        for i, path in enumerate(show.examples.values(), 1)
    )
    return (HERE / "style.css").read_text(encoding="utf-8") + "\n".join(thumbnails)


def main() -> None:
    """Serve everything that is found, on the GPU if there is one."""
    with answered("app.py"):
        show = open_show(find_entries(), torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    build(show).queue(max_size=QUEUE).launch(**launch_settings(show))


if __name__ == "__main__":
    main()
