"""Where a number comes from, so that it can be made again: checksums, versions, hardware, interval."""

import hashlib
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from math import sqrt
from pathlib import Path

import torch
from torch import Tensor, nn

from sparta_hub import __version__

Z95 = 1.959964  # of the normal distribution, for 95 %: of every interval
_PACKAGES = ("timm", "numpy")


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Wilson interval of a proportion in percent at 95 %, two decimals."""
    share, square = correct / count, Z95 * Z95 / count
    middle = (share + square / 2) / (1 + square)
    half = Z95 * sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    low, high = round(100 * (middle - half), 2), round(100 * (middle + half), 2)
    return max(0.0, low), min(100.0, high)  # at 0 and 100 % rounding can step out


def state_sha256(model: nn.Module) -> str:
    """Checksum of a model's parameters and statistics: names, types, shapes and bits, in the order of the names."""
    return tensors_sha256(sorted(model.state_dict().items()))


def modules_sha256(model: nn.Module) -> str:
    """Checksum of what a model is made of: path, class and plain attributes of every module.

    Weights alone do not tell ReLU from GELU, nor a normalisation by one mean from that by another. Attributes that are
    numbers, texts, tensors, or tuples, lists and dictionaries of such count, but for private ones and the mode.
    """
    digest = hashlib.sha256()
    for path, module in model.named_modules():
        plain = [(name, words) for name, value in sorted(vars(module).items()) if (words := _plain(name, value))]
        digest.update(f"{path} {type(module).__module__}.{type(module).__qualname__} {plain}\n".encode())
    return digest.hexdigest()


def _plain(name: str, value: object) -> str:
    """An attribute in words if it is plain data; else nothing."""
    if name.startswith("_") or name == "training":
        return ""
    if isinstance(value, Tensor):
        return tensors_sha256([("", value)])
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, list | tuple):
        inner = [_plain("", item) for item in value]
        return f"({', '.join(inner)})" if all(inner) else ""
    return repr(value) if value is None or isinstance(value, bool | int | float | str) else ""


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


def provenance(device: torch.device, processes: int = 1) -> dict[str, str | int]:
    """Commit, versions and hardware of this process."""
    versions = {name: found for name in _PACKAGES if (found := _version(name))}
    return {
        "sparta_hub": __version__,
        "commit": commit(),
        "torch": str(torch.__version__),
        **versions,
        "python": platform.python_version(),
        "hardware": hardware(device),
        "processes": processes,
    }


def hardware(device: torch.device) -> str:
    """The accelerator, or the processor and the number of threads, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    threads = torch.get_num_threads()
    return f"{threads} CPU thread{'' if threads == 1 else 's'} of {names[0] if names else platform.machine()}"


def commit() -> str:
    """The commit of this package's own checkout; ``unknown`` if it is installed without one.

    ``+changes`` says that code was changed since. Records, cards and weights do not count: a measurement writes some,
    and has the checksum of others.
    """
    if _git("ls-files", "__init__.py") != "__init__.py":  # a repository around it, perhaps, but of another project
        return "unknown"
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ":(top)*.py")
    return _git("rev-parse", "HEAD") + ("+changes" if changes else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:  # no git
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
