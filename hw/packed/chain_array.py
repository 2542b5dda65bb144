"""A column-combining array whose weights stay: all those of a layer."""

from dataclasses import dataclass, replace

from amaranth.hdl import Const, Module, Value
from amaranth.lib.data import View

from ..systolic.row import RowConfig
from ..systolic.ws_rim import WsRim
from .cell import SelectCell, SelectCellConfig
from .chain_config import ChainArrayConfig
from .select_array import SelectArray
from .select_config import select_stages

__all__ = ["ChainArray", "ChainCellConfig", "ResidentCell", "ResidentRim"]


@dataclass(frozen=True, kw_only=True)
class ChainCellConfig(SelectCellConfig):
    """Parameters of a cell among others that have more lines, and that it keeps step with.

    Attributes
    ----------
    index_bits : int
        Bits of a choice, enough for those with the most lines.
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


class ResidentCell(SelectCell):
    """MX cell that computes with what its chain holds: ``psums_out = psums_in + x[index] * w``.

    Parameters
    ----------
    config : ChainCellConfig
        See there.

    Members
    -------
    x : In(lines * x_bits)
        Lines, line 0 in the least significant bits.
    swap : In(1)
        Not looked at.
    shift : In(1)
        Move the chain; not while vectors are under way.
    w : In(word_bits)
        Chain: weight, and above it its line; beyond the last line means the last line.
    psums : In(sums_bits)
        Partial sums, when `SelectCell` has them; absent in the first row.
    x_next : Out(lines * x_bits)
        Lines, a cycle later.
    swap_next : Out(1)
        ``swap``, a cycle later.
    shift_next : Out(1)
        ``shift``, a cycle later.
    w_next : Out(word_bits)
        Chain.
    psums_next : Out(sums_bits)
        Partial sums, a cycle later.

    Latency
        That of `SelectCell`.
    Throughput
        One product a cycle.
    Numerics
        Exact, ``psum_width`` bits hold every sum of the rows so far.
    Reference
        That of `SelectCell`.
    """

    def _held(self, m: Module, w: Value) -> Value:
        return w

    def _operands(self, m: Module, x: Value, w: Value, swap: Value) -> tuple[Value, Value, Value]:
        chosen, weight, _ = super()._operands(m, x, w, swap)
        return chosen, weight, Const(1, 1)


class ResidentRim(WsRim):
    """Rim of an array that holds one tile: whatever is offered is taken.

    Whoever loads the tile waits until no vector is under way. The first vector may be offered with
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
        A beat has come; cells that compute with what their chains hold do not look at it.

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

    _config: ChainArrayConfig  # type: ignore[assignment]  # never assigned again

    def _rim(self) -> WsRim:
        return ResidentRim(self._config.rows)

    def _row(self, row: int) -> RowConfig:
        config, plain = self._config, super()._row(row)
        (cell,) = set(plain.pes)
        fields = {name: getattr(cell, name) for name in ("kind", "product", "psum_width", "first")}
        cell = ChainCellConfig(**fields, lines=config.sizes[row], index_bits=config.index_bits)
        return replace(plain, pes=(cell,) * config.cols, cell=ResidentCell)

    def _lanes(self, m: Module, held: View) -> list[Value]:
        config, lanes, first = self._config, [], 0
        elements = held.data.as_value()
        for size in config.sizes:
            last = first + size * config.x_bits
            lanes.append(elements[first:last])
            first = last
        return lanes
