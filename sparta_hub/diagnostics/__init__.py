"""Diagnostics: is a model robust, or is its gradient hidden? And what papers draw: loss curves, landscapes, maps."""

from sparta_hub.diagnostics._checks import CHECKS
from sparta_hub.diagnostics._denoising import SiteDenoising, denoising, feature_maps
from sparta_hub.diagnostics._diagnose import diagnose
from sparta_hub.diagnostics._diagnosis import Diagnosis
from sparta_hub.diagnostics._evidence import Evidence, Finding
from sparta_hub.diagnostics._landscape import LossLandscape, loss_landscape
from sparta_hub.diagnostics._loss_curve import LossCurve, attack_loss_curve
from sparta_hub.diagnostics._plan import QUICK
from sparta_hub.diagnostics._plot import plot
from sparta_hub.diagnostics._probes import Probes

__all__ = [
    "CHECKS",
    "QUICK",
    "Diagnosis",
    "Evidence",
    "Finding",
    "LossCurve",
    "LossLandscape",
    "Probes",
    "SiteDenoising",
    "attack_loss_curve",
    "denoising",
    "diagnose",
    "feature_maps",
    "loss_landscape",
    "plot",
]
