"""AutoAttack (Croce & Hein 2020, arXiv:2003.01690) through its own code, the optional package ``pyautoattack``."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import check_batch, check_counts, held_still, nothing_to_do, randomness
from sparta_hub.attacks.losses import check_logits
from sparta_hub.errors import AttackError
from sparta_hub.threat import ThreatModel

TARGETS = 9  # wrong classes that the standard version aims at


def autoattack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    version: str = "standard",
    batch_size: int = 250,
    generator: torch.Generator | None = None,
) -> Tensor:
    """APGD-CE, targeted APGD-DLR, targeted FAB and Square (5000 queries) in turn, each on the images that still hold.

    Its progress and its flags (randomised, zero gradients, dynamic, …) go to the logger ``auto-attack``. A model with
    fewer than 10 classes is attacked towards all its wrong ones.

    Args:
        model: takes images in [0, 1], gives logits; 4 classes or more.
        x: images (B, C, H, W) in [0, 1], float32.
        y: true classes (B,).
        threat: norm and radius; not targeted.
        version: ``"standard"``; also ``"plus"`` and ``"rand"`` as pyautoattack has them.
        batch_size: images at a time.
        generator: gives the seed, so it is on the device of ``x``; by default a fresh one with seed 0.

    Returns:
        Attacked images (B, C, H, W), in the ball and the box; the clean image where it failed.

    Raises:
        AttackError: pyautoattack is not installed, a targeted threat, or bad images or classes.
    """
    check_batch(x, y)
    check_counts(batch_size=batch_size)
    if threat.targeted:
        raise AttackError("The threat is targeted; AutoAttack takes the true classes and picks its targets itself.")
    if version not in ("standard", "plus", "rand"):
        raise AttackError(f"version is {version!r}; expected 'standard', 'plus' or 'rand'.")
    if x.dtype != torch.float32:
        raise AttackError(f"Images are {x.dtype}; AutoAttack computes in torch.float32: x.float().")
    package = _package()
    if nothing_to_do(x, threat):
        return x.clone()
    seed = int(torch.randint(2**31, (), generator=randomness(generator, x), device=x.device))
    with held_still(model), _global_state(x.device):
        with torch.no_grad():
            logits = model(x[:1])
        check_logits(logits, y[:1])
        classes = logits.shape[1]
        if not 0 <= int(y.amin()) <= int(y.amax()) < classes or classes < 4:
            raise AttackError(f"The model has {classes} classes and y goes up to {int(y.amax())}; expected 4 or more.")
        norm = {"linf": "Linf", "l2": "L2"}[threat.norm]
        run = package.AutoAttack(model, device=x.device, eps=threat.eps, norm=norm, seed=seed, version=version)
        run.apgd_targeted.n_target_classes = run.fab.n_target_classes = min(TARGETS, classes - 1)
        x_adv, _ = run.run_standard_evaluation(x, y, batch_size=batch_size)
    return threat.project(x_adv.detach(), x)


def _package() -> ModuleType:
    try:
        return importlib.import_module("pyautoattack")
    except ImportError:
        raise AttackError(
            'AutoAttack needs the package pyautoattack, which is not installed: pip install "sparta-hub[autoattack]".'
        ) from None


@contextmanager
def _global_state(device: torch.device) -> Iterator[None]:
    """Keep what pyautoattack moves: torch's global generators, which it seeds, and the trace function of a debugger."""
    trace = sys.gettrace()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        sys.settrace(trace)
