"""A weight-stationary cell that selects its activation."""

from dataclasses import dataclass

from amaranth.hdl import Module, Shape, Signal, Value, unsigned

from ..arith.delay import delay, registered
from ..arith.select import selected
from ..systolic.pe import PeConfig, WsPe
from .select_config import select_stages

__all__ = ["SelectCell", "SelectCellConfig"]


@dataclass(frozen=True, kw_only=True)
class SelectCellConfig(PeConfig):
    """Parameters of a `SelectCell`: those of a PE, and its lines.

    Attributes
    ----------
    lines : int
        Activations that it selects from.
    """

    lines: int = 1

    @property
    def stages(self) -> int:
        """Cycles that selecting takes."""
        return select_stages((self.lines - 1).bit_length())

    @property
    def x_shape(self) -> Shape:
        """Shape of all lines."""
        return unsigned(self.lines * self.product.x_bits)

    @property
    def word_bits(self) -> int:
        """Bits of a weight, and above it which line it is for."""
        return self.product.w_bits + (self.lines - 1).bit_length()


class SelectCell(WsPe):
    """MX cell in word-parallel form: ``psums_out = psums_in + x[index] * w`` with held w and index.

    What is held is loaded in the cycle of the activations that ``swap`` travels with, and the
    multiplexers work on registers from the next cycle on, one of four in each. So lookup tables and
    the way to the multiplier have cycles of their own, and it does only useful work.

    Parameters
    ----------
    config : SelectCellConfig
        See there.

    Members
    -------
    x : In(lines * x_bits)
        Lines, line 0 in the least significant bits.
    swap : In(1)
        From these activations on use the word in the chain; again after ``stages`` cycles or more.
    shift : In(1)
        Move the chain.
    w : In(word_bits)
        Chain: weight, and above it its line; beyond the last line means the last line.
    psums : In(sums_bits)
        Partial sums, ``product.latency + stages + 1`` cycles after ``x``; absent in the first row.
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
        ``product.latency + stages + 2`` cycles from ``x`` to ``psums_next``.
    Throughput
        One product a cycle.
    Numerics
        Exact, ``psum_width`` bits hold every sum of the rows so far.
    Reference
        Kung, McDanel, Zhang, Packing Sparse Convolutional Neural Networks for Efficient Systolic
        Array Implementations, ASPLOS 2019.
    """

    _config: SelectCellConfig

    def _operands(self, m: Module, x: Value, w: Value, swap: Value) -> tuple[Value, Value, Value]:
        config, product = self._config, self._config.product
        held = self._held(m, w)
        lines = [x[product.x_bits * i : product.x_bits * (i + 1)] for i in range(config.lines)]
        index = held[product.w_bits :]
        lines += [lines[-1]] * ((1 << len(index)) - len(lines))
        for stage in range(config.stages):
            parts = [lines[i : i + 4] for i in range(0, len(lines), 4)]
            found = [
                selected(m, part, index[:2], f"choice_{stage}_{i}") for i, part in enumerate(parts)
            ]
            lines = [registered(m, line, 1, f"line_{stage}_{i}") for i, line in enumerate(found)]
            # The choice goes along: the next tile may replace what is held meanwhile.
            index = registered(m, index[2:], 1, f"index_{stage}")
        swap = delay(m, swap, config.stages, "swap_selected")
        chosen = Signal(product.x_shape)
        weight = Signal(product.w_shape)
        m.d.comb += [chosen.eq(lines[0]), weight.eq(held[: product.w_bits])]
        return chosen, weight, swap

    def _held(self, m: Module, w: Value) -> Value:
        """Return the word that is computed with, given the chain's."""
        held = Signal.like(self.w, reset_less=True)
        with m.If(self.swap):
            m.d.sync += held.eq(w)
        return held
