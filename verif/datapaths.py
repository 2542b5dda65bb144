"""What benches, judges and tests of all datapaths have in common."""

from typing import Any

import numpy as np

from ..hw.config import ConfigError
from ..hw.engine.config import DatapathConfig

__all__ = ["formats", "psum_cycles", "random_mode", "sums_inside"]

Format = tuple[int, bool]
"""Bits and signedness of an operand."""


def sums_inside(config: DatapathConfig) -> bool:
    """Return whether a datapath sums over K tiles itself."""
    return config.max_tile_rows is not None


def formats(config: DatapathConfig, mode: int) -> tuple[Format, Format]:
    """Return the formats of activations and weights."""
    if config.mode_bits:
        return config.operand_formats(mode)
    return (config.x_bits, config.x_signed), (config.w_bits, config.w_signed)


def random_mode(config: DatapathConfig, rng: np.random.Generator) -> int:
    """Return a legal mode, in one of two cases that of the plain product."""
    mode = 0
    while config.mode_bits and (mode or rng.integers(2)):
        mode = int(rng.integers(1 << config.mode_bits))
        try:
            config.operand_formats(mode)
        except ConfigError:
            mode = mode or 1
            continue
        break
    return mode


def psum_cycles(timing: Any, vectors: int) -> list[int]:
    """Return when the psum beats of the last step come: back to back, if not said otherwise."""
    end = timing.last_psum
    runs = getattr(timing, "psums", ((end - vectors + 1, vectors),))
    return [cycle + i for cycle, count in runs for i in range(count)]
