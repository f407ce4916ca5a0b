"""Training methods: how the images of one step are attacked. One a file, one line here."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sparta_hub.threat import ThreatModel
from training.methods.n_fgsm import n_fgsm

Method = Callable[[nn.Module, Tensor, Tensor, ThreatModel, torch.Generator], Tensor]

METHODS: dict[str, Method] = {"n_fgsm": n_fgsm}

__all__ = ["METHODS", "Method"]
