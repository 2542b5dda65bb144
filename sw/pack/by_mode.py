"""Weight tiles whose form depends on a GEMM's mode."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.config import DatapathConfig

__all__ = ["for_mode", "tile_k", "useful_products", "utilisation"]


def for_mode(function: Callable[..., Any], mode: int) -> Callable[..., Any]:
    """Return a family's ``pack_tile`` or ``unpack_tile`` for ``mode``, if it asks for one."""
    asks = "mode" in inspect.signature(function).parameters
    return partial(function, mode=mode) if asks else function


def tile_k(config: DatapathConfig, mode: int) -> int:
    """Return how many of K a weight tile covers under ``mode``: those of a vector, or fewer."""
    return config.tile_k(mode) if hasattr(config, "tile_k") else config.act_lanes


def useful_products(config: DatapathConfig, weights: NDArray[np.integer], mode: int) -> int:
    """Return how many of the products with ``weights`` [K, N] are useful, for a row of activations.

    All K * N of them on an array that computes them all. Where its cells select, a weight tile
    covers more of K than there are rows of cells: there products with a zero weight are left out
    or fill a cell that has nothing to do, and only those with a weight count.
    """
    selects = tile_k(config, mode) > config.rows
    return int(np.count_nonzero(weights)) if selects else weights.size


def utilisation(config: DatapathConfig, useful: int, cycles: int) -> float:
    """Return useful products per multiply-accumulate slot: each cell has one slot a cycle."""
    return useful / (config.rows * config.cols * cycles)
