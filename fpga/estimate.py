"""What an engine needs of an ECP5, estimated from its configuration at once.

The figures are fitted to netlists after synthesis of 8-bit arrays and engines. A test holds the
estimate against such netlists: LUTs are within a fifth, DSPs are exact.
"""

from typing import Any

from ..hw.config import ConfigError
from ..hw.engine.config import EngineConfig

__all__ = ["estimate_area", "estimate_array"]

_FAMILIES = ("systolic", "serial", "term", "packed", "nm")
_LANE = 320
"""LUT4-equivalents of a lane of the drain."""
_AROUND = 3400
"""Of the sequencer, loops, readers and buffers of any engine."""
_ACROSS = 160
"""Of the buffers and the accumulators, for each element of a vector and each column."""
_PORTABLE = 1.35
"""How much larger serial arrays are that are not made from the part's own cells."""


def estimate_area(config: EngineConfig) -> dict[str, int]:
    """Return about how many LUT4-equivalents an engine needs, and how many DSPs."""
    d = config.datapath
    around = _AROUND + _ACROSS * (d.act_lanes + d.cols) + _LANE * config.drain_lanes
    return {
        "lut4_equivalents": round(estimate_array(d) + around),
        "dsps": getattr(d, "multipliers", 0) + config.drain_lanes * config.lane.pieces,
    }


def estimate_array(d: Any) -> float:
    """Return about how many LUT4-equivalents the array of a datapath needs.

    Raises
    ------
    ConfigError
        Nothing is known of its family.
    """
    if d.family not in _FAMILIES:
        raise ConfigError(
            f"the area of {d.family!r} cannot be estimated, only that of {', '.join(_FAMILIES)}; "
            "synthesise it"
        )
    if d.family == "term":
        return _term(d)
    if d.family == "serial" or d.pe == "bit_mac":
        array = _serial(d)
    else:
        array = _parallel(d)
    # Cells that choose among channels: a multiplexer of as many inputs for each bit.
    choices = getattr(d, "alpha", getattr(d, "m", 1))
    return array + 1.15 * d.rows * d.cols * d.x_bits * (choices - 1)


def _parallel(d: Any) -> float:
    """Count adders of partial sums, and products that are made from LUTs."""
    if getattr(d, "dataflow", "ws") == "os":
        sums = 2.2 * d.rows * d.cols * d.psum_width
    else:
        sums = (d.rows - 1) * d.cols * d.psum_width
    kinds = getattr(d, "kinds", None)
    from_luts = "".join(kinds).count("L") if kinds else (d.pe == "lut") * d.rows * d.cols
    return 25 + sums + from_luts * (1.13 if d.fabric == "ecp5" else 2.13) * d.x_bits * d.w_bits


def _serial(d: Any) -> float:
    """Count lanes and sums, both for each vector in flight."""
    lanes, sums = d.rows * d.cols * d.vectors, d.cols * d.vectors * d.psum_width
    if d.pe == "bit_mac":
        return 1.7 * lanes * d.psum_width
    array = {
        "planes": 230 + 5 * lanes + 1.8 * sums,
        "digits": 260 + 3 * lanes * d.x_bits + 0.4 * sums,
        "tables": 250 + 0.73 * lanes * (d.w_bits + 2) + sums + 6 * d.rows * d.vectors,
    }[d.pe]
    return array if d.fabric == "ecp5" else _PORTABLE * array


def _term(d: Any) -> float:
    """Count PEs, and a row's encoder where data values become terms."""
    if d.pe == "tmac":
        return 150 * d.rows + 97 * d.rows * d.cols
    memories = -(-d.tile_terms // 16)
    return 180 + 73 * d.rows * (d.data_terms > 0) + (17 + 30 * memories) * d.rows * d.cols
