"""A weight-stationary cell that selects its activation."""

from dataclasses import dataclass

from amaranth.hdl import Module, Shape, Signal, Value, unsigned

from ..arith.select import selected
from ..systolic.pe import PeConfig, WsPe

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
    multiplexer works on registers a cycle later; so its lookup tables have a cycle of their own and
    the multiplier does only useful work.

    Parameters
    ----------
    config : SelectCellConfig
        See there.

    Members
    -------
    x : In(lines * x_bits)
        Lines, line 0 in the least significant bits.
    swap : In(1)
        From these activations on use the word in the chain.
    shift : In(1)
        Move the chain.
    w : In(word_bits)
        Chain: weight, and above it its line; beyond the last line means the last line.
    psums : In(sums_bits)
        Partial sums, ``product.latency`` + 1 cycles after ``x``; absent in the first row.
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
        ``product.latency`` + 2 cycles from ``x`` to ``psums_next``.
    Throughput
        One product a cycle.
    Numerics
        Exact, ``psum_width`` bits hold every sum of the rows so far.
    Reference
        Kung, McDanel, Zhang, Packing Sparse Convolutional Neural Networks for Efficient Systolic
        Array Implementations, ASPLOS 2019.
    """

    _config: SelectCellConfig

    def _operands(
        self, m: Module, x: Value, w: Value, swap: Value
    ) -> tuple[Value, Value, Value]:
        config, product = self._config, self._config.product
        held = Signal.like(self.w, reset_less=True)
        with m.If(self.swap):
            m.d.sync += held.eq(w)
        lines = [x[product.x_bits * i : product.x_bits * (i + 1)] for i in range(config.lines)]
        line = selected(m, lines, held[product.w_bits :], "line")
        chosen = Signal(product.x_shape)
        weight = Signal(product.w_shape)
        m.d.comb += [chosen.eq(line), weight.eq(held[: product.w_bits])]
        return chosen, weight, swap
