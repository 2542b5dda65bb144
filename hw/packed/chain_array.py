"""A column-combining array whose weights stay: all those of a layer."""

from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib.data import View

from ..systolic.ws_rim import WsRim
from .chain_config import ChainArrayConfig
from .select_array import SelectArray

__all__ = ["ChainArray", "ResidentRim"]


class ResidentRim(WsRim):
    """Rim of an array that holds one tile: whatever is offered is taken.

    Every beat moves all chains on and brings what they hold into use, so that in the end the tile
    is; whoever loads it waits until no vector is under way. The first vector may be offered with
    the last beat.

    Parameters
    ----------
    rows : int
        Beats per weight tile.

    Members
    -------
    weights_valid : In(1)
        A weight beat is offered.
    weights_ready : Out(1)
        It is taken, always.
    shifts : Out(rows)
        Enable of each row's chain, a cycle later.
    acts_valid : In(1)
        A vector is offered.
    acts_end : In(1)
        Not looked at.
    acts_ready : Out(1)
        It is taken, always.
    moves : Out(1)
        The vector held moves into the array.
    start : Out(1)
        What the chains hold comes into use.

    Latency
        A cycle from what is offered to ``moves``, ``shifts`` and ``start``.
    Throughput
        One vector and one weight beat a cycle.
    Numerics
        None.
    Reference
        None.
    """

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [
            self.shifts.eq(self.weights_valid.replicate(self._rows)),
            self.start.eq(self.weights_valid),
            self.moves.eq(self.acts_valid),
        ]
        return m


class ChainArray(SelectArray):
    """Column-combining array that holds one tile, its packed columns each of its own size.

    Parameters
    ----------
    config : ChainArrayConfig
        See there.

    Members
    -------
    weights : In(stream.Signature(weight_beat_bits))
        One tile of ``rows`` beats, the last row first, while no vector is under way.
    acts : In(stream.Signature(act_beat(config)))
        Activation vectors.
    psums : Out(stream.Signature(psum_beat(config), always_ready=True))
        One beat per vector.

    Latency
        ``config.latency`` cycles.
    Throughput
        One vector a cycle.
    Numerics
        Exact.
    Reference
        Kung, McDanel, Zhang, Packing Sparse Convolutional Neural Networks for Efficient Systolic
        Array Implementations, ASPLOS 2019.
    """

    _config: ChainArrayConfig

    def _rim(self) -> WsRim:
        return ResidentRim(self._config.rows)

    def _lanes(self, m: Module, held: View) -> list[Value]:
        config, lanes, first = self._config, [], 0
        elements = held.data.as_value()
        for size in config.sizes:
            last = first + size * config.x_bits
            # Lines that a smaller packed column lacks are constant, and nothing is made of them.
            absent = Const(0, (config.lines - size) * config.x_bits)
            lanes.append(Cat(elements[first:last], absent))
            first = last
        return lanes
