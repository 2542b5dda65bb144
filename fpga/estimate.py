"""What an engine needs of an ECP5, estimated from its configuration at once.

The figures are fitted to netlists after synthesis of 8-bit arrays and engines. A test holds the
estimate against such netlists: LUTs are within a fifth, DSPs are exact.
"""

from ..hw.engine.config import EngineConfig
from ..sw.families.base import family_of

__all__ = ["estimate_area"]

_LANE = 350
"""LUT4-equivalents of a lane of the output stage."""
_AROUND = 2080
"""Of the sequencer, loops, readers and buffers of any engine."""
_ACROSS = 103
"""Of the buffers and the accumulators, for each element of a vector and each column."""


def estimate_area(config: EngineConfig) -> dict[str, int]:
    """Return about how many LUT4-equivalents an engine needs, and how many DSPs."""
    d = config.datapath
    around = _AROUND + _ACROSS * (d.act_lanes + d.cols) + _LANE * config.drain_lanes
    return {
        "lut4_equivalents": round(family_of(d).cost.lut4_equivalents + around),
        "dsps": config.multipliers,
    }
