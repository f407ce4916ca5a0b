"""What is on screen as a link, and as Python that computes the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from demo import MAX_EPS, MAX_STEPS, Settings


@dataclass(frozen=True)
class State:
    """What the visitor chose; an upload is not in it, for it is not kept.

    Args:
        image: name of an example; empty for an upload.
        model: name of an artifact.
        site: such as ``G1.B2``.
        eps, steps, target: see ``Settings``; ``target`` is the name of a class, empty for an untargeted attack.
    """

    image: str
    model: str
    site: str
    eps: float = 8.0
    steps: int = 10
    target: str = ""

    def link(self) -> str:
        """Relative address that restores all of it; empty for an upload."""
        if not self.image:
            return ""
        return "?" + urlencode({
            "image": self.image, "model": self.model, "site": self.site, "eps": f"{self.eps:g}", "steps": self.steps,
            **({"target": self.target} if self.target else {}),
        })  # fmt: skip

    def settings(self, classes: Sequence[str]) -> Settings:
        """With the target as a number."""
        return Settings(self.eps, self.steps, classes.index(self.target) if self.target in classes else None)


def from_query(
    query: Mapping[str, str], default: State, *, images: Sequence[str], sites: Mapping[str, Sequence[str]],
    classes: Mapping[str, Sequence[str]],
) -> State:  # fmt: skip
    """Read a link; what is missing, unknown or out of range is as in ``default``, for links outlive models.

    Args:
        query: query parameters.
        default: the first screen.
        images: names of examples.
        sites, classes: by name of the artifact.
    """
    model = query.get("model", "")
    model = model if model in sites else default.model
    image, site, target = (query.get(key, "") for key in ("image", "site", "target"))
    state = replace(
        default,
        model=model,
        image=image if image in images else default.image,
        site=site if site in sites[model] else sites[model][0],
        eps=_number(query.get("eps"), default.eps, 0, MAX_EPS),
        steps=int(_number(query.get("steps"), default.steps, 1, MAX_STEPS)),
        target=target if target in classes[model] else "",
    )
    return replace(state, target="") if state.target == state.image else state


UPLOADED = "my-picture.png"  # what a visitor's picture is called in the code and among the downloads


def code(state: State, *, size: int, truth: int | None, target: int | None) -> str:
    """Python that loads the network on screen and makes the same attack.

    Args:
        state: what is on screen.
        size: height and width of the network's images.
        truth, target: numbers of the image's class and of the wanted one, if there are.
    """
    if target is not None:
        label, aim = f"torch.tensor([{target}])", "wanted"
    elif truth is not None:
        label, aim = f"torch.tensor([{truth}])", "true"
    else:
        label, aim = "model(x).argmax(1)", "predicted"
    picture = f"examples/{state.image}.png" if state.image else UPLOADED
    threat = f'sparta_hub.ThreatModel("linf", {state.eps:g} / 255{", targeted=True" if target is not None else ""})'
    return f'''import numpy as np
import sparta_hub
import torch
from PIL import Image
from sparta_hub.attacks import pgd
from sparta_hub.diagnostics import denoising

model = sparta_hub.load("{state.model}").eval()  # the network and its activations, trained
picture = Image.open("{picture}").convert("RGB").resize(({size}, {size}), Image.Resampling.LANCZOS)
x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
y = {label}  # the {aim} class
x_adv = pgd(model, x, y, {threat}, steps={state.steps})
print(model(x).softmax(1).topk(3))
print(model(x_adv).softmax(1).topk(3))
for site in denoising(model, x, x_adv):
    print(site.site, site.before_distance, "->", site.after_distance)
'''


def _number(text: str | None, default: float, low: float, high: float) -> float:
    try:
        value = float(text if text is not None else default)
    except ValueError:
        return default
    return value if low <= value <= high else default
