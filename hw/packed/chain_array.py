"""A column-combining array whose weights stay: all those of a layer."""

from dataclasses import dataclass, replace

from amaranth.hdl import Module, Value
from amaranth.lib.data import View

from ..systolic.row import RowConfig
from ..systolic.ws_rim import WsRim
from .cell import SelectCell, SelectCellConfig
from .chain_config import ChainArrayConfig
from .select_array import SelectArray
from .select_config import select_stages

__all__ = ["ChainArray", "ChainCellConfig", "ResidentRim"]


@dataclass(frozen=True, kw_only=True)
class ChainCellConfig(SelectCellConfig):
    """Parameters of a `SelectCell` among others that have more lines.

    Attributes
    ----------
    index_bits : int
        Bits of a choice on its way, enough for those with the most.
    """

    index_bits: int

    @property
    def stages(self) -> int:
        """Cycles that selecting takes."""
        return select_stages(self.index_bits)

    @property
    def word_bits(self) -> int:
        """Bits of a weight, and above it which line it is for."""
        return self.product.w_bits + self.index_bits


class ResidentRim(WsRim):
    """Rim of an array that holds one tile: whatever is offered is taken.

    A tile comes into use with the vector that is offered with its last beat, or whichever comes
    next; whoever loads it waits until no vector is under way.

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
        The tile is complete.

    Latency
        A cycle from what is offered to ``moves`` and ``start``.
    Throughput
        One vector and one weight beat a cycle.
    Numerics
        None.
    Reference
        None.
    """

    def elaborate(self, platform):
        m = Module()
        complete = self._tile(m, self.weights_valid)
        m.d.sync += [self.start.eq(complete), self.moves.eq(self.acts_valid)]
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

    def _row(self, row: int) -> RowConfig:
        config = self._config
        plain = super()._row(row)
        (cell,) = set(plain.pes)
        fields = {name: getattr(cell, name) for name in ("kind", "product", "psum_width", "first")}
        cell = ChainCellConfig(**fields, lines=config.sizes[row], index_bits=config.index_bits)
        return replace(plain, pes=(cell,) * config.cols, cell=SelectCell)

    def _lanes(self, m: Module, held: View) -> list[Value]:
        config, lanes, first = self._config, [], 0
        elements = held.data.as_value()
        for size in config.sizes:
            last = first + size * config.x_bits
            lanes.append(elements[first:last])
            first = last
        return lanes
