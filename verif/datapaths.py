"""What benches, judges and tests of all datapaths have in common."""

from collections.abc import Iterable

import numpy as np

from ..hw.config import ConfigError
from ..hw.engine.config import DatapathConfig, Run
from ..sw.families.base import Family

__all__ = ["cycles_of", "random_mode", "sums_inside"]


def sums_inside(config: DatapathConfig) -> bool:
    """Return whether a datapath sums over K tiles itself."""
    return config.max_tile_rows is not None


def random_mode(family: Family, rng: np.random.Generator) -> int:
    """Return a legal mode, in one of two cases that of the plain product."""
    bits = family.config.mode_bits
    mode = 0
    while bits and (mode or rng.integers(2)):
        mode = int(rng.integers(1 << bits))
        try:
            family.operands(mode)
        except ConfigError:
            mode = mode or 1
            continue
        break
    return mode


def cycles_of(runs: Iterable[Run]) -> list[int]:
    """Return the cycles in which the beats of some runs move."""
    return [cycle + i for cycle, count in runs for i in range(count)]
