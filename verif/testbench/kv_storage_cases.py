"""Rows of keys and values that are hard to quantise."""

import numpy as np
from numpy.typing import NDArray

from ...hw.kv.storage_config import ELEMENT_BITS, StorageConfig

__all__ = ["KINDS", "draw_group"]

KINDS = ("zeros", "small", "any", "edges", "powers", "lowest")
"""Of groups: ``"edges"`` has elements where the code changes, ``"powers"`` too, and its scale is a
power of two; ``"lowest"`` has the lowest element there is."""

_LOWEST = -(1 << ELEMENT_BITS - 1)


def draw_group(config: StorageConfig, kind: str, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return elements that share a scale, of one of `KINDS`."""
    size = config.elements
    if kind in ("edges", "powers"):
        levels = config.highest + 1
        most = int(rng.integers(1, -_LOWEST))
        if kind == "powers":
            most = max(1, (1 << int(rng.integers(16))) * config.highest // levels)
        scale = -(-most * levels // config.highest)
        halves = 2 * rng.integers(0, config.highest, size) + 1
        found = np.minimum(halves * scale // (2 * levels) + rng.integers(0, 2, size), most)
        found[rng.integers(size)] = most
        return found * rng.choice((-1, 1), size)
    top = {"zeros": 0, "small": 20}.get(kind, int(2 ** rng.uniform(0, ELEMENT_BITS - 1)))
    found = rng.integers(-top, top + 1, size)
    if kind == "lowest":
        found[rng.integers(size)] = _LOWEST
    return found
