"""Seeds for everything random that a run draws: each belongs to what it is for, and none to what came before."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import torch


def derived_seed(*parts: int | str) -> int:
    """A seed of 63 bits that belongs to these values; others give one that has nothing to do with it."""
    return int.from_bytes(sha256(json.dumps(parts).encode()).digest()[:8]) >> 1


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """For attacks and models that draw from torch's global state, which is put back."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
