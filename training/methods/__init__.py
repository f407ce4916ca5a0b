"""Training methods, by name. A new one is a file here, a line in ``METHODS`` and a row in the tests."""

import inspect
from collections.abc import Mapping

import torch
from timm.layers.norm_act import convert_sync_batchnorm

from sparta_hub.activations import Argument
from training.errors import ConfigError
from training.methods._method import Batch, Criterion, Draws, Method
from training.methods.awp import Awp
from training.methods.fgsm_ckpt import FgsmCkpt
from training.methods.fgsm_ga import FgsmGa
from training.methods.fgsm_rs import FgsmRs
from training.methods.fgsm_sdi import FgsmSdi
from training.methods.free import Free
from training.methods.n_fgsm import NFgsm
from training.methods.pgd import Pgd
from training.methods.standard import Standard
from training.methods.trades import Trades

METHODS: dict[str, type[Method]] = {
    "standard": Standard,
    "pgd": Pgd,
    "free": Free,
    "fgsm_rs": FgsmRs,
    "fgsm_ga": FgsmGa,
    "fgsm_ckpt": FgsmCkpt,
    "fgsm_sdi": FgsmSdi,
    "n_fgsm": NFgsm,
    "trades": Trades,
}

__all__ = ["METHODS", "Awp", "Batch", "Criterion", "Draws", "Method", "build_method"]


def build_method(
    name: str, arguments: Mapping[str, Argument], *, awp: float, seed: int, synchronised: bool = False
) -> Method:
    """Make the method ``name``.

    Args:
        name: a key of ``METHODS``.
        arguments: the method's own, where they differ from its defaults.
        awp: γ of adversarial weight perturbation around it; 0 is without.
        seed: of the initial weights of a network of the method's own; the global random state is left as it is.
        synchronised: let BatchNorm of such a network take its statistics over all processes.

    Raises:
        ConfigError: for a method or an argument that does not exist, or a value that the method refuses.
    """
    if name not in METHODS:
        raise ConfigError(f"There is no training method {name!r}; the methods are {', '.join(METHODS)}.")
    known = [p.name for p in inspect.signature(METHODS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if unknown := sorted(set(arguments) - set(known)):
        raise ConfigError(
            f"{name} has no argument {', '.join(unknown)}; its arguments are: {', '.join(known) or 'none'}."
        )
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the accelerators too
        try:
            method = METHODS[name](**arguments)
            method = Awp(method, gamma=awp) if awp else method
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name} cannot be made with {dict(arguments)}, awp {awp}: {error}") from error
    if synchronised:
        convert_sync_batchnorm(method)  # in place, and with the same parameters
    return method
