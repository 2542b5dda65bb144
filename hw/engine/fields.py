"""What units get of a command: its fields, each as wide as the configuration makes it."""

from collections.abc import Sequence

from amaranth.hdl import Signal
from amaranth.lib import data

from .commands import COMMANDS
from .config import EngineConfig

__all__ = [
    "field_bits", "field_bounds", "gemm_acts_layout", "gemm_output_layout", "gemm_weights_layout",
    "named", "parameter_layout", "word_beat",
]  # fmt: skip

word_beat = data.StructLayout({"data": 32, "last": 1})


def parameter_layout(config: EngineConfig) -> data.StructLayout:
    """Requantisation parameters of one channel."""
    return data.StructLayout(
        {"mult": 16, "shift": 6, "bias": data.ArrayLayout(32, config.bias_words)}
    )


def field_bounds(config: EngineConfig) -> dict[str, tuple[int, int]]:
    """Least and greatest legal value of the fields of a GEMM that have more than flags' bits."""
    top = 0xFFFF
    bounds = {
        "w_base": (0, config.weight_depth - 1),
        "p_base": (0, config.param_depth - 1),
        "tile_rows": (1, config.tile_rows_max),
        "last_rows": (1, config.tile_rows_max),
        "n_last": (1, config.datapath.cols),
    }
    loops = ("n_tiles", "k_chunks", "k_rows", "m_tiles", "pool")
    bounds |= dict.fromkeys((*loops, *(f"m{i}_count" for i in range(5))), (1, top))
    lanes = (f.name for f in COMMANDS["GEMM"].fields if f.name.endswith("_lane"))
    return bounds | dict.fromkeys(lanes, (0, config.datapath.act_lanes - 1))


def field_bits(config: EngineConfig, command: str, name: str) -> int:
    """Return how many bits of a field any unit looks at in a good command."""
    depths = {
        "LOAD_X": config.act_depth, "LOAD_W": config.weight_depth, "PARAM": config.param_depth,
    }  # fmt: skip
    if name in ("base", "count"):
        return depths[command].bit_length()
    bounds = field_bounds(config)
    if name in bounds:
        return bounds[name][1].bit_length()
    if name in ("zero_point", "low", "high", "value"):
        return config.datapath.x_bits
    if name == "mode":
        return config.datapath.mode_bits
    return COMMANDS[command].field(name).width


def _gemm_layout(
    config: EngineConfig, fields: Sequence[str], once: Sequence[str]
) -> data.StructLayout:
    """Return a layout of fields, and of flags ``NAME_once``: the field is 1."""
    return data.StructLayout(
        {name: field_bits(config, "GEMM", name) for name in fields}
        | {f"{name}_once": 1 for name in once}
    )


_TILES = ("m_tiles", "n_tiles", "k_rows", "k_chunks")
_ROWS = ("tile_rows", "last_rows")


def gemm_acts_layout(config: EngineConfig) -> data.StructLayout:
    """Return what the activation reader gets of a GEMM."""
    counts = tuple(f"m{i}_count" for i in range(1, 5))
    loops = (*_TILES, *_ROWS, *counts)
    return _gemm_layout(config, ("accumulate", "keep", "mode", *loops), loops)


def gemm_weights_layout(config: EngineConfig) -> data.StructLayout:
    """Return what the weight reader gets of a GEMM."""
    return _gemm_layout(config, ("w_base", *_TILES), _TILES)


def gemm_output_layout(config: EngineConfig) -> data.StructLayout:
    """Return what the output stage gets of a GEMM."""
    counts = ("m1_count", "m2_count")
    loops = ("m_tiles", "n_tiles", *_ROWS, "pool", *counts)
    flags = ("keep", "raw", "bias", "store")
    others = ("n_last", "p_base", "zero_point", "low", "high")
    return _gemm_layout(config, (*flags, *others, *loops), loops)


def named(layout: data.StructLayout, prefix: str) -> dict[str, Signal]:
    """Return a register for each field of a layout, called ``PREFIX_FIELD``."""
    return {
        name: Signal(shape, name=f"{prefix}_{name}", reset_less=True)
        for name, shape in layout.members.items()
    }
