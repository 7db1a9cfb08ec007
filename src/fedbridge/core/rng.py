"""Randomness as a function of (seed, role, client, task, round), never of call order."""

import hashlib

import numpy as np


def seed_for(seed: int, *path: str | int) -> int:
    """Return the 63-bit seed of one place in the experiment, equal on every machine."""
    text = "/".join([str(seed), *(str(part) for part in path)])
    # not hash(), which differs between processes; 63 bits, since torch's seeds have a sign
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng_for(seed: int, *path: str | int) -> np.random.Generator:
    """Return the NumPy generator of one place, such as ``rng_for(0, "learn", "a", 2, 1)``."""
    return np.random.default_rng(seed_for(seed, *path))
