"""Attacks: pure functions ``(model, x, y, threat, *, ...) -> x_adv`` on any module that takes images in [0, 1]."""

from sparta_hub.attacks.fgsm import fgsm
from sparta_hub.attacks.pgd import pgd

__all__ = ["fgsm", "pgd"]
