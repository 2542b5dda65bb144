"""The contract between the engine and a datapath: beats and their flags.

A datapath is a component whose constructor takes its configuration (`DatapathConfig`) and whose
members are

- ``weights: In(stream.Signature(unsigned(weight_beat_bits)))``: tiles of ``weight_beats`` beats in
  the family's own order, see ``DatapathConfig.weight_order``;
- ``acts: In(stream.Signature(act_beat(config)))``: activation vectors;
- ``psums: Out(stream.Signature(psum_beat(config), always_ready=True))``: partial sums.

A *step* is one weight tile and one or more activation vectors; ``end`` marks the last of them. All
vectors of a step carry ``first`` where its K tile is the first of the sum and ``last`` where it is
the last one, and all carry the ``mode`` of their GEMM where ``mode_bits`` is not 0. The acts of a
step are held off until its weights are in. A datapath emits one psum beat per vector, with the
vector's flags; beats of the same row in successive steps come at least `ROW_DISTANCE` cycles apart.
A datapath that sums over K tiles itself emits beats only for the last step, with ``first`` and
``last`` set.
"""

from amaranth.hdl import Shape, signed
from amaranth.lib import data

from .config import DatapathConfig

__all__ = ["ROW_DISTANCE", "act_beat", "psum_beat"]

ROW_DISTANCE = 4
"""Cycles between partial sums for the same row: read, hold, add, write."""


def act_beat(config: DatapathConfig) -> data.StructLayout:
    """One activation vector, lane 0 in the least significant bits, and the flags of its step."""
    lanes = data.ArrayLayout(Shape(config.x_bits, config.x_signed), config.act_lanes)
    mode = {"mode": config.mode_bits} if config.mode_bits else {}
    return data.StructLayout({"data": lanes, "first": 1, "last": 1, "end": 1, **mode})


def psum_beat(config: DatapathConfig) -> data.StructLayout:
    """Partial sums of one row, column 0 in the least significant bits, and the flags."""
    lanes = data.ArrayLayout(signed(config.psum_width), config.cols)
    return data.StructLayout({"data": lanes, "first": 1, "last": 1, "end": 1})
