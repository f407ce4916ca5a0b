"""The registry of families, a visible dict, and the one place that makes a module from a name."""

import difflib
from collections.abc import Mapping
from sys import float_info
from typing import Any

from torch import nn

from sparta_hub.activations._dynamic_relu import dynamic_relu_b, dynamic_relu_c
from sparta_hub.activations._family import Argument, Family
from sparta_hub.activations._feature_denoising import FeatureDenoising
from sparta_hub.activations._gated_relu import CbamGatedRelu, SeGatedRelu
from sparta_hub.activations._maxout import Maxout
from sparta_hub.activations._parametric_softplus import ParametricSoftplus
from sparta_hub.activations._relu_smooth_backward import ReluSmoothBackward
from sparta_hub.activations._smooth_relu import SmoothRelu
from sparta_hub.activations._sparta import Sparta
from sparta_hub.activations._swish_relu import SwishRelu
from sparta_hub.errors import SpecError, first_words, short

_SAT = "Xie et al. 2020, arXiv:2006.14536"
_DYNAMIC = "Chen et al. 2020, arXiv:2003.10027"


def _gelu(approximate: str = "none") -> nn.GELU:
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate is {approximate!r}; expected 'none' or 'tanh'.")
    return nn.GELU(approximate)


FAMILIES: dict[str, Family] = {
    "sparta": Family(
        Sparta,
        "Guo et al. 2021, arXiv:2105.08269",
        {"kernel_size": 1, "hidden": None, "dynamic": True, "neighborhood": 1},
        per_channel=True,
    ),
    "relu": Family(nn.ReLU, "Nair & Hinton 2010"),
    "leaky_relu": Family(nn.LeakyReLU, "Maas et al. 2013", {"negative_slope": 0.01}),
    "prelu": Family(nn.PReLU, "He et al. 2015, arXiv:1502.01852", {"init": 0.25}, per_channel=True),
    "elu": Family(nn.ELU, "Clevert et al. 2016, arXiv:1511.07289", {"alpha": 1.0}),
    "celu": Family(nn.CELU, "Barron 2017, arXiv:1704.07483", {"alpha": 1.0}, positive=("alpha",)),
    "gelu": Family(_gelu, "Hendrycks & Gimpel 2016, arXiv:1606.08415", {"approximate": "none"}),
    "silu": Family(nn.SiLU, "Elfwing et al. 2017, arXiv:1702.03118; Ramachandran et al. 2017, arXiv:1710.05941"),
    "softplus": Family(nn.Softplus, "Dugas et al. 2001", {"beta": 1.0, "threshold": 20.0}, positive=("beta",)),
    "parametric_softplus": Family(ParametricSoftplus, _SAT, {"alpha": 10.0}),
    "swish_relu": Family(SwishRelu, "Guo et al. 2021, arXiv:2105.08269"),
    "smooth_relu": Family(SmoothRelu, _SAT, {"alpha": 400.0}),
    "relu_smooth_backward": Family(ReluSmoothBackward, _SAT, {"alpha": 10.0, "smooth": "both"}),
    "dynamic_relu_b": Family(dynamic_relu_b, _DYNAMIC, {"reduction": 4, "pieces": 2}, per_channel=True),
    "dynamic_relu_c": Family(
        dynamic_relu_c, _DYNAMIC, {"reduction": 4, "pieces": 2, "temperature": 10.0}, per_channel=True
    ),
    "feature_denoising": Family(
        FeatureDenoising, "Xie et al. 2019, arXiv:1812.03411", {"operation": "softmax"}, per_channel=True
    ),
    "se_gated_relu": Family(SeGatedRelu, "Hu et al. 2018, arXiv:1709.01507", {"hidden": None}, per_channel=True),
    "cbam_gated_relu": Family(CbamGatedRelu, "Woo et al. 2018, arXiv:1807.06521", {"hidden": None}, per_channel=True),
    "maxout": Family(Maxout, "Goodfellow et al. 2013, arXiv:1302.4389", {"pieces": 2}, per_channel=True),
}


def build(name: str, channels: int | None = None, arguments: Mapping[str, Argument] | None = None) -> nn.Module:
    """Make one activation module of the family ``name``.

    Args:
        name: a key of ``FAMILIES``.
        channels: channels of the map it will see; only families with ``per_channel`` ask for it.
        arguments: the family's own arguments, where they differ from its defaults.

    Raises:
        SpecError: for a family or an argument that does not exist, or a value that the family refuses.
    """
    family, arguments = find_family(name), dict(arguments or {})
    check_arguments(name, arguments)
    if family.per_channel and (not isinstance(channels, int) or channels < 1):
        raise SpecError(f"{name} needs the number of channels, an integer from 1 on, and got {channels!r}.")
    try:
        return family.make(channels, **arguments) if family.per_channel else family.make(**arguments)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise SpecError(f"{name} cannot be made with {str(arguments)[:200]}: {first_words(error)}") from error


def check_arguments(name: str, arguments: Mapping[str, Argument]) -> None:
    """Refuse arguments that the family ``name`` has not, or of another type than their defaults.

    Raises:
        SpecError: it says which, and what was expected.
    """
    family = find_family(name)
    if unknown := set(arguments) - set(family.defaults):
        known = ", ".join(family.defaults) or "none"
        raise SpecError(f"{name} has no argument {', '.join(sorted(unknown))}; its arguments are: {known}.")
    for key, value in arguments.items():
        default = family.defaults[key]
        if not _is_like(value, default):
            expected = {bool: "true or false", int: "an integer", float: "a finite number", str: "a text"}
            what = expected.get(type(default), "an integer, or null for the family's own")
            raise SpecError(f"{name} has {key} {short(value)}; expected {what}, such as {default!r}.")
        if key in family.positive and not value > 0:  # pyright: ignore[reportOperatorIssue]  a number by now
            raise SpecError(f"{name} has {key} {value}; expected a positive number, such as {default!r}.")


def find_family(name: str) -> Family:
    """Look a family up; an unknown name is answered with all known ones, and the nearest."""
    if not isinstance(name, str) or name not in FAMILIES:
        words = name if isinstance(name, str) else str(getattr(name, "__name__", type(name).__name__))  # nn.SiLU()
        near = difflib.get_close_matches(words.lower(), FAMILIES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SpecError(f"There is no activation family {short(name)}; the families are {', '.join(FAMILIES)}.{hint}")
    return FAMILIES[name]


def _is_like(value: Any, default: Argument) -> bool:
    """Whether ``value`` is of the type of ``default``; an integer is a float too, and None stands for an integer."""
    if default is None:
        return value is None or type(value) is int
    if isinstance(default, float):
        return type(value) in (int, float) and abs(value) <= float_info.max
    return type(value) is type(default)
