"""Provenance: where a number comes from, so that it can be made again."""

import platform
import subprocess
from math import sqrt
from pathlib import Path
from typing import Any

import torch


def provenance() -> dict[str, Any]:
    """Commit, versions and hardware of this process."""
    return {
        "commit": _git("rev-parse", "HEAD")
        + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else ""),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "hardware": hardware(),
    }


def hardware() -> str:
    """The accelerator, or the processor and the number of threads, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{torch.get_num_threads()} CPU threads of {names[0] if names else platform.machine()}"


def wilson(correct: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson interval of a proportion, in percent."""
    share, square = correct / count, z * z / count
    middle = (share + square / 2) / (1 + square)
    half = z * sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return round(100 * (middle - half), 2), round(100 * (middle + half), 2)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
