"""Does an activation take out of the maps what an attack put in? Maps before and after it, clean and attacked."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sparta_hub.attacks.gradient import held_still
from sparta_hub.errors import SiteError
from sparta_hub.site_search import sites, uncompiled
from sparta_hub.surgery import injected


@dataclass(frozen=True)
class SiteDenoising:
    """What one activation does to the noise of an attack; means over the images whose clean map is not all zero.

    Args:
        site, path: the activation.
        before_distance, after_distance: length of (attacked - clean) over the length of the clean map, before and after
            the activation. After below before: it denoises.
        before_cosine, after_cosine: cosine of the angle between clean and attacked map.
    """

    site: str
    path: str
    before_distance: float
    after_distance: float
    before_cosine: float
    after_cosine: float


def denoising(
    model: nn.Module, x_clean: Tensor, x_adv: Tensor, *, placement: str | None = None, batch_size: int = 100
) -> tuple[SiteDenoising, ...]:
    """Compare the maps of clean and attacked images at every site, in the model's order.

    Figure 1 of Guo et al. 2021, arXiv:2105.08269, as figures. Two forward passes an image.

    Args:
        model: takes images in [0, 1]; left as found.
        x_clean, x_adv: the same images (B, C, H, W), clean and attacked.
        placement: which sites of a timm network to look at, so that a ReLU host can be compared; by default the
            injected activations.

    Raises:
        SiteError: nothing is injected and no placement was given, or the images do not pair.
    """
    if x_clean.shape != x_adv.shape or len(x_clean) == 0:
        raise SiteError(
            f"x_clean is {tuple(x_clean.shape)} and x_adv {tuple(x_adv.shape)}; expected the same images, 1 or more."
        )
    model = uncompiled(model)
    if placement is None:
        names = {path: module.site.name for path, module in injected(model).items()}
    else:
        names = {site.path: site.name for site in sites(model, placement, need_channels=False)}
    if not names:
        raise SiteError("Nothing is injected into this model; say which sites to look at: placement='last', say.")
    measured: dict[str, list[Tensor]] = {path: [] for path in names}
    for clean, attacked in zip(x_clean.split(batch_size), x_adv.split(batch_size), strict=True):
        there, here = feature_maps(model, list(names), clean), feature_maps(model, list(names), attacked)
        for path in names:
            rows = [_compare(one, two) for one, two in zip(there[path], here[path], strict=True)]
            measured[path].append(torch.cat(rows, 1))
    return tuple(
        SiteDenoising(name, path, *_means(torch.cat(measured[path]), order=(0, 2, 1, 3)))
        for path, name in names.items()
    )


def feature_maps(model: nn.Module, paths: Sequence[str], x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """What the modules at ``paths`` get and give for images x, without gradients: two maps (B, C, H, W) each.

    The model is in eval mode for it and left as found, its hooks included. Of a module that is called several times,
    the last call counts.
    """
    seen: dict[str, list[Tensor]] = {}

    def watch(path: str) -> list[RemovableHandle]:
        def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[path] = [inputs[0].clone()]  # a copy: a host's own ReLU works in place

        def after(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[path].append(output.clone())

        module = model.get_submodule(path)
        return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]

    hooks: list[RemovableHandle] = []
    try:
        for path in paths:
            hooks += watch(path)
        with held_still(model), torch.no_grad():
            model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return {path: (seen[path][0], seen[path][1]) for path in paths}


def _compare(clean: Tensor, attacked: Tensor) -> Tensor:
    """Relative distance and cosine of each image (B, 2); NaN where the clean map is all zero."""
    clean, attacked = clean.flatten(1).double(), attacked.flatten(1).double()
    length = clean.norm(dim=1)
    cosine = torch.where(length > 0, F.cosine_similarity(clean, attacked), torch.nan)
    return torch.stack([(attacked - clean).norm(dim=1) / length, cosine], 1).masked_fill(
        (length == 0)[:, None], torch.nan
    )


def _means(values: Tensor, order: Sequence[int]) -> list[float]:
    return [float(values[:, column].nanmean()) for column in order]
