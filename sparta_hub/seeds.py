"""Seeds for everything random that a run draws: each belongs to what it is for, and none to what came before."""

import json
from hashlib import sha256


def derived_seed(*parts: int | str) -> int:
    """A seed of 63 bits that belongs to these values; others give one that has nothing to do with it."""
    return int.from_bytes(sha256(json.dumps(parts).encode()).digest()[:8]) >> 1
