"""Weight tiles whose form depends on a GEMM's mode."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from ...hw.engine.config import DatapathConfig

__all__ = ["for_mode", "tile_k"]


def for_mode(function: Callable[..., Any], mode: int) -> Callable[..., Any]:
    """Return a family's ``pack_tile`` or ``unpack_tile`` for ``mode``, if it asks for one."""
    asks = "mode" in inspect.signature(function).parameters
    return partial(function, mode=mode) if asks else function


def tile_k(config: DatapathConfig, mode: int) -> int:
    """Return how many of K a weight tile covers under ``mode``: those of a vector, or fewer."""
    return config.tile_k(mode) if hasattr(config, "tile_k") else config.act_lanes
