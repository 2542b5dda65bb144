"""What the parts of the output stage hand to each other, and the beats of results."""

from amaranth.hdl import signed
from amaranth.lib import data

from ..config import EngineConfig

__all__ = ["group_tag", "result_beat"]


def result_beat(config: EngineConfig) -> data.StructLayout:
    """One beat of results: ``drain_lanes`` numbers, a bit for each that counts, end of GEMM.

    Who writes packets to memory expects beats that are full but for the last one: a row whose
    channels do not fill its last beat is filled up with zeros, of which only those that would end
    the packet are left out of ``keep``.
    """
    lanes = config.drain_lanes
    return data.StructLayout(
        {"data": data.ArrayLayout(signed(config.lane_bits), lanes), "keep": lanes, "last": 1}
    )


def group_tag(config: EngineConfig) -> data.StructLayout:
    """What is known of a group of channels of a row.

    ``valid``: there is one. ``emit``: its window of rows ends with it. ``window_first``: its window
    begins with it. ``group_first``: it is the first group of its row. ``tile_first``: it is the
    first of a tile. ``n_first``: the tile is the first tile of channels. ``end``: the GEMM ends
    with it. ``group``: which group of the row it is. ``mask``: lanes that hold a channel.
    """
    flags = ("valid", "emit", "window_first", "group_first", "tile_first", "n_first", "end")
    return data.StructLayout(
        dict.fromkeys(flags, 1) | {"group": range(config.groups), "mask": config.drain_lanes}
    )
