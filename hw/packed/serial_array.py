"""Bit-serial cells that select: the arrays of the authors' FPGA design."""

from amaranth.hdl import Module, Value
from amaranth.lib.data import View

from ..serial.array import SerialArray
from .select_array import row_lines
from .select_config import SelectSerialConfig

__all__ = ["SelectSerialArray"]


class SelectSerialArray(SerialArray):
    """Bit-serial array whose cells select: ``psums[c] = sum of acts[at[r, c]] * w[r, c]``.

    The MX cell as published: lines of one bit, one weight that several MACs share, each for a
    vector of its own, and sums as serial streams from cell to cell, a bit later each.

    Parameters
    ----------
    config : SelectSerialConfig
        See there.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        Tiles of ``rows`` beats, the first row first.
    acts : In(stream.Signature(act_beat(config)))
        Activation vectors, of which the first ``tile_k(mode)`` elements are read.
    psums : Out(stream.Signature(psum_beat(config), always_ready=True))
        One beat per vector.

    Latency
        See `SerialTiming`.
    Throughput
        ``vectors`` vectors every max(psum_width, vectors, 4) cycles, and ``step_gap`` cycles a
        step.
    Numerics
        Exact.
    Reference
        Kung, McDanel, Zhang, Packing Sparse Convolutional Neural Networks for Efficient Systolic
        Array Implementations, ASPLOS 2019; the authors' Verilog, j_MX_cell.
    """

    _config: SelectSerialConfig

    def _lanes(self, m: Module, beat: View) -> list[Value]:
        bits = self._config.x_bits
        rows = row_lines(m, self._config.select, beat)
        return [row[i : i + bits] for row in rows for i in range(0, len(row), bits)]
