"""What tells a network, an attack or images from others: checksums of values, and of what computes with them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType

import torch
from torch import Tensor, nn

_PLAIN = bool | int | float | complex | str | bytes | torch.dtype


def state_sha256(model: nn.Module) -> str:
    """Checksum of a model's parameters and statistics: names, types, shapes and bits, in the order of the names."""
    return tensors_sha256(sorted(model.state_dict().items()))


def modules_sha256(model: nn.Module) -> str:
    """Checksum of what a model is made of: path, class, plain attributes and unsaved buffers of every module.

    Weights alone do not tell ReLU from GELU, nor a normalisation by one mean from that by another. What ``in_words``
    knows counts, but for private attributes and the mode.
    """
    digest = hashlib.sha256()
    for path, module in model.named_modules():
        unsaved = {name: module._buffers[name] for name in module._non_persistent_buffers_set}
        own = {k: v for k, v in vars(module).items() if not k.startswith("_") and k != "training"} | unsaved
        plain = [(name, words) for name, value in sorted(own.items()) if (words := in_words(value))]
        digest.update(f"{path} {type(module).__module__}.{type(module).__qualname__} {plain}\n".encode())
    return digest.hexdigest()


def in_words(value: object) -> str:
    """What tells a value from others, the same in every process; empty if that cannot be said.

    It can of numbers, texts, tensors, types, functions, and tuples, lists, dictionaries, data classes and partial calls
    of such. A function that was made inside another one counts with its code and with what it holds.
    """
    if isinstance(value, Tensor):
        return tensors_sha256([("", value)])
    if isinstance(value, partial):
        return _all_in_words("partial", (value.func, value.args, value.keywords))
    if is_dataclass(value) and not isinstance(value, type):
        return _all_in_words(type(value).__qualname__, [getattr(value, field.name) for field in fields(value)])
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, frozenset | set):
        value = sorted(map(repr, value))
    if isinstance(value, list | tuple):
        return _all_in_words("", value)
    if isinstance(value, FunctionType) and "<" in value.__qualname__:
        return _all_in_words(f"{value.__module__}.{value.__qualname__}", made_of(value))
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    return repr(value) if value is None or value is ... or isinstance(value, _PLAIN) else ""


def made_of(function: FunctionType) -> list[object]:
    """Code, defaults and outer variables of a function; of functions among those, the names alone."""
    code, held = function.__code__, []
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a variable that has no value yet
            held.append(cell.cell_contents)
    defaults = (function.__defaults__, tuple((function.__kwdefaults__ or {}).items()))
    parts = [*code.co_consts, *defaults, *held]
    return [code.co_code.hex(), code.co_names, *map(_name_if_code, parts)]


def _name_if_code(value: object) -> object:
    """A function may hold itself: there its name is enough."""
    if isinstance(value, CodeType):
        return value.co_qualname + value.co_code.hex()
    return value.__qualname__ if isinstance(value, FunctionType) else value


def _all_in_words(name: str, values: Iterable[object]) -> str:
    inner = [in_words(value) for value in values]
    return f"{name}({', '.join(inner)})" if all(inner) else ""


def tensors_sha256(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Checksum of named tensors, wherever they live and however their memory is laid out."""
    return parts_sha256((name, tensor.dtype, tensor.shape, [tensor]) for name, tensor in tensors)


def parts_sha256(tensors: Iterable[tuple[str, torch.dtype, Sequence[int], Iterable[Tensor]]]) -> str:
    """The same of tensors that come one part of their rows after the other: name, type, shape of the whole, parts."""
    digest = hashlib.sha256()
    for name, dtype, shape, parts in tensors:
        digest.update(f"{name} {dtype} {tuple(shape)}\n".encode())
        for part in parts:
            digest.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
