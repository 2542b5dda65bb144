"""What the manifest of an engine says of its streams: operands, parameters, results, arithmetic.

Counts, places and formulas are expressions in Python's syntax over the fields of the GEMM, the
manifest's own numbers and the loops' names, so that a program can evaluate them.
"""

from typing import Any

from ..hw.engine.config import EngineConfig
from ..hw.engine.requantise_config import MULT_BITS, SHIFT_BITS

__all__ = ["operands", "parameters", "requantisation", "results"]


def operands(config: EngineConfig) -> dict[str, Any]:
    """Return how an engine's operands lie in the beats of its streams.

    The order within a weight tile is the datapath's own.
    """
    d = config.datapath
    return {
        "x": {
            "stream": "s_axis_x",
            "elements": d.act_lanes,
            "stride": d.x_bits,
            "signed": d.x_signed,
            "order": "one vector of consecutive elements of K per beat, element 0 at bit 0",
        },
        "w": {
            "stream": "s_axis_w",
            "tile_rows": d.act_lanes,
            "tile_columns": d.cols,
            "beats_per_tile": d.weight_beats,
            "width": d.w_bits,
            "signed": d.w_signed,
            "order": d.weight_order,
        },
    }


def parameters(config: EngineConfig) -> dict[str, Any]:
    """Return how the body of ``PARAM`` holds the parameters of output channels."""
    return {
        "lanes": config.drain_lanes,
        "rows_per_tile": config.groups,
        "words_per_lane": 1 + config.bias_words,
        "row": "p_base + n_tile * rows_per_tile + channel_of_tile // lanes",
        "lane": "channel_of_tile % lanes",
        "order": "row by row, and in a row lane by lane; every row has the words of all its lanes, "
        "also where a tile has fewer channels: these are ignored",
        "words": [
            {
                "word": 0,
                "fields": [
                    {"name": "mult", "lsb": 0, "width": MULT_BITS, "signed": False},
                    {"name": "shift", "lsb": MULT_BITS, "width": SHIFT_BITS, "signed": False},
                ],
            },
            *(
                {
                    "word": 1 + i,
                    "fields": [
                        {
                            "name": f"bias[{min(32 * i + 31, config.acc_width - 1)}:{32 * i}]",
                            "lsb": 0,
                            "width": min(32, config.acc_width - 32 * i),
                            "signed": i == config.bias_words - 1,
                        }
                    ],
                }
                for i in range(config.bias_words)
            ),
        ],
    }


def results(config: EngineConfig) -> dict[str, Any]:
    """Return in what order results leave, and what a packet of them is."""
    return {
        "stream": "m_axis_y",
        "elements": config.drain_lanes,
        "stride": config.lane_bits,
        "signed": True,
        "packet": "one for each GEMM with neither store nor keep; all beats are full but for the "
        "last; elements beyond a tile's channels are 0, and in the last beat left out of tkeep",
        "loops": [
            {"name": "m_tile", "count": "m_tiles"},
            {"name": "n_tile", "count": "n_tiles"},
            {"name": "window", "count": "-(-rows // pool)"},
            {"name": "group", "count": "-(-channels // elements)"},
        ],
        "rows": "last_rows if m_tile == m_tiles - 1 else tile_rows",
        "channels": f"n_last if n_tile == n_tiles - 1 else {config.datapath.cols}",
        "channel_of_tile": "group * elements + element",
        "row_of_tile": "window * pool, and up to pool - 1 further ones, whose maximum is emitted",
        "value": "the sum with raw, plus the bias with bias; else as requantised",
    }


def requantisation(config: EngineConfig) -> dict[str, Any]:
    """Return what is computed of a sum where a GEMM is not raw, exactly."""
    out = {"bits": config.datapath.x_bits, "signed": config.datapath.x_signed}
    return {
        "formula": "min(max(round((sum + bias) * mult / 2**shift) + zero_point, low), high)",
        "rounding": config.rounding,
        "exact": "no intermediate value overflows or is rounded but where the formula says so",
        "operands": {
            "sum": {"bits": config.acc_width, "signed": True},
            "bias": {"bits": config.acc_width, "signed": True},
            "mult": {"bits": MULT_BITS, "signed": False},
            "shift": {"bits": SHIFT_BITS, "signed": False},
            "zero_point": out,
            "low": out,
            "high": out,
        },
        "ranges": "zero_point, low and high stand in 16 bits, sign-extended where signed; low is "
        "at most high",
    }
