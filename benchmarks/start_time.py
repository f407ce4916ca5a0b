"""Time that a user waits for ``import sparta_hub`` and the first ``load``: ``python benchmarks/start_time.py``."""

import argparse
import json
import statistics
import subprocess
import sys

import torch

from sparta_hub.cli.options import new_file, whole
from sparta_hub.provenance import provenance

IMPORT = """
import time, torch
start = time.perf_counter()
import sparta_hub
from sparta_hub import ThreatModel
print(time.perf_counter() - start)
"""

LOAD = """
import os, time, torch
os.environ["HF_HUB_OFFLINE"] = "1"
start = time.perf_counter()
import timm
between = time.perf_counter()
import sparta_hub
sparta_hub.load("sparta-res18-cifar", model="resnet18_cifar")
print(between - start, time.perf_counter() - between)
"""


def measure(code: str, repeats: int) -> list[float]:
    """Medians of the numbers that ``code`` prints, each time in a new process."""
    rows = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        rows.append([float(number) for number in done.stdout.split()])
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=whole(1), default=5)
    parser.add_argument("--json", type=new_file, metavar="FILE")
    options = parser.parse_args()
    (first,) = measure(IMPORT, options.repeats)
    timm_import, load = measure(LOAD, options.repeats)
    rows = {
        "import sparta_hub, after torch": first,
        "import timm, after torch (not ours; load needs it)": timm_import,
        'load("sparta-res18-cifar", model="resnet18_cifar"), offline, after timm': load,
        "both of these": timm_import + load,
    }
    for name, seconds in rows.items():
        print(f"{seconds:7.3f} s  {name}")
    if options.json:
        record = {"machine": provenance(torch.device("cpu")), "repeats": options.repeats, "seconds": rows}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
