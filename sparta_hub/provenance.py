"""Where a number comes from, so that it can be made again, and how sure it is: commit, versions, hardware, interval."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from math import sqrt
from pathlib import Path

import torch

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
