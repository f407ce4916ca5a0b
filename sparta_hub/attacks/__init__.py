"""Attacks: pure functions ``(model, x, y, threat, *, ..., generator) -> x_adv`` on any module.

Images and outputs lie in [0, 1]; normalisation belongs into the model, and the model gives logits. It is put into eval
mode for the attack and left as found. Where images are of half precision the attack computes in float32, the model does
not, and the output is rounded.
"""

from sparta_hub.attacks.apgd import apgd
from sparta_hub.attacks.apgd_targeted import apgd_targeted
from sparta_hub.attacks.autoattack import autoattack
from sparta_hub.attacks.cw import cw, cw_linf
from sparta_hub.attacks.fab import fab
from sparta_hub.attacks.fgsm import fgsm
from sparta_hub.attacks.losses import LOSSES
from sparta_hub.attacks.mpgd import mpgd
from sparta_hub.attacks.pgd import SCHEDULES, pgd
from sparta_hub.attacks.presets import ATTACKS, PRESETS, AttackPreset, attack_of, run_preset
from sparta_hub.attacks.square import square
from sparta_hub.attacks.targets import uniform_wrong_class

__all__ = [
    "ATTACKS",
    "LOSSES",
    "PRESETS",
    "SCHEDULES",
    "AttackPreset",
    "apgd",
    "apgd_targeted",
    "attack_of",
    "autoattack",
    "cw",
    "cw_linf",
    "fab",
    "fgsm",
    "mpgd",
    "pgd",
    "run_preset",
    "square",
    "uniform_wrong_class",
]
