"""Attacks by name, and the exact attacks of published tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sparta_hub.attacks.apgd import apgd
from sparta_hub.attacks.apgd_targeted import apgd_targeted
from sparta_hub.attacks.autoattack import autoattack
from sparta_hub.attacks.cw import cw, cw_linf
from sparta_hub.attacks.fab import fab
from sparta_hub.attacks.fgsm import fgsm
from sparta_hub.attacks.gradient import randomness
from sparta_hub.attacks.mpgd import mpgd
from sparta_hub.attacks.pgd import pgd
from sparta_hub.attacks.square import square
from sparta_hub.attacks.targets import uniform_wrong_class
from sparta_hub.errors import AttackError
from sparta_hub.threat import ThreatModel

ATTACKS: dict[str, Callable[..., Tensor]] = {
    "fgsm": fgsm,
    "pgd": pgd,
    "mpgd": mpgd,
    "cw": cw,
    "cw_linf": cw_linf,
    "fab": fab,
    "apgd": apgd,
    "apgd_targeted": apgd_targeted,
    "square": square,
    "autoattack": autoattack,
}


@dataclass(frozen=True)
class AttackPreset:
    """An attack with everything set, as a table of a paper has it.

    Args:
        name: key in ``PRESETS``.
        attack: key in ``ATTACKS``.
        threat: norm, radius; if targeted, the wanted class is drawn uniformly among the wrong ones, once an image.
        source: where the settings come from, and what of them is ours because the source is silent.
        arguments: the attack's own arguments, where they differ from its defaults.
    """

    name: str
    attack: str
    threat: ThreatModel
    source: str
    arguments: Mapping[str, int | float | str | bool] = field(default_factory=dict)


_SPARTA = ThreatModel("linf", 16 / 255, targeted=True)
_THESIS = ThreatModel("linf", 8 / 255)
_FROM_SPARTA = (
    "Guo et al. 2021, arXiv:2105.08269, after Xie et al. 2019, arXiv:1812.03411; error is against the true class; the "
    "first step starts at the image itself, so that 10 steps of 1/255 move a pixel by 10/255 at most"
)
_FROM_THESIS = "Saleh 2022, after Jia et al. 2021, arXiv:2110.05007"
_FROM_SAT = "Xie et al. 2020, arXiv:2006.14536"


def _pgd(name: str, threat: ThreatModel, source: str, steps: int, step_size: float, **more: bool) -> AttackPreset:
    return AttackPreset(name, "pgd", threat, source, {"steps": steps, "step_size": step_size, **more})


PRESETS: dict[str, AttackPreset] = {
    preset.name: preset
    for preset in (
        *(_pgd(f"sparta-pgd-{n}", _SPARTA, _FROM_SPARTA, n, 1 / 255, random_start=False) for n in (10, 30, 50)),
        *(_pgd(f"thesis-pgd-{steps}", _THESIS, _FROM_THESIS, steps, 2 / 255) for steps in (10, 20, 50)),
        AttackPreset(
            "thesis-cw", "cw_linf", _THESIS, f"{_FROM_THESIS}; 50 steps of 2/255 are ours, the table names no number",
            {"steps": 50, "step_size": 2 / 255},
        ),
        AttackPreset("thesis-apgd", "apgd", _THESIS, f"{_FROM_THESIS}; 100 steps are APGD's own", {"steps": 100}),
        AttackPreset("thesis-aa", "autoattack", _THESIS, _FROM_THESIS, {"version": "standard"}),
        _pgd("sat-pgd-200-imagenet", ThreatModel("linf", 4 / 255), _FROM_SAT, 200, 1 / 255),
        _pgd("sat-pgd-200-cifar", ThreatModel("linf", 8 / 255), _FROM_SAT, 200, 1 / 255),
    )
}  # fmt: skip


def attack_of(name: str) -> str:
    """The key in ``ATTACKS`` of what a preset runs; any other name stands for itself."""
    return PRESETS[name].attack if name in PRESETS else name


def run_preset(
    preset: AttackPreset,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    num_classes: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Attack ``x`` (B, C, H, W) as the preset says.

    Args:
        preset: a value of ``PRESETS``, or one's own.
        model: takes images in [0, 1], gives logits.
        x: images in [0, 1].
        y: the *true* classes (B,), also where the threat is targeted: the wanted ones are drawn here.
        num_classes: classes to draw from.
        generator: source of randomness, on the device of ``x``; by default a fresh one with seed 0.

    Returns:
        Attacked images (B, C, H, W), in the ball and the box.
    """
    if preset.attack not in ATTACKS:
        raise AttackError(f"attack is {preset.attack!r}; expected one of {', '.join(ATTACKS)}.")
    generator = randomness(generator, x)
    if preset.threat.targeted:
        y = uniform_wrong_class(y, num_classes, generator=generator)
    return ATTACKS[preset.attack](model, x, y, preset.threat, generator=generator, **preset.arguments)
