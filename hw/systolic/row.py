"""A row of processing elements, the unit that an array repeats."""

from dataclasses import dataclass

from amaranth.hdl import Module, Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.product_config import ProductConfig
from ..lib.component import Component
from .config import SystolicConfig
from .pe import OsPe, PeConfig, WsPe

__all__ = ["OsRow", "RowConfig", "WsRow", "row_config"]


@dataclass(frozen=True, kw_only=True)
class RowConfig:
    """Parameters of a row.

    Attributes
    ----------
    pes : tuple of PeConfig
        The PEs, left to right.
    cell : type
        What makes them where weights stay.
    """

    pes: tuple[PeConfig, ...]
    cell: type[wiring.Component] = WsPe

    @property
    def x_shape(self) -> Shape:
        """Shape of the activation."""
        return self.pes[0].x_shape

    @property
    def word_bits(self) -> int:
        """Bits of all PEs' weights on their way."""
        return sum(pe.word_bits for pe in self.pes)

    @property
    def first(self) -> bool:
        """There are no partial sums to add to."""
        return self.pes[0].first

    @property
    def psum_width(self) -> int:
        """Bits of a sum."""
        return self.pes[0].psum_width

    @property
    def sums_bits(self) -> int:
        """Bits of the sums of all columns."""
        return sum(pe.sums_bits for pe in self.pes)


def row_config(config: SystolicConfig, row: int) -> RowConfig:
    """Return the configuration of a row; rows that are equal share one module."""
    ws = config.dataflow == "ws"
    product = ProductConfig(
        x_bits=config.x_bits,
        x_signed=config.x_signed,
        w_bits=config.w_bits,
        w_signed=config.w_signed,
        latency=config.pe_latency,
        fabric=config.fabric,
    )
    pes = []
    col = 0
    for columns in config.groups:
        pes.append(
            PeConfig(
                kind=config.kinds[row][col : col + columns],
                product=product,
                psum_width=config.sum_width(row + 1) if ws else config.psum_width,
                first=ws and row == 0,
            )
        )
        col += columns
    return RowConfig(pes=tuple(pes))


class WsRow(Component):
    """Row of weight-stationary cells, each a cycle behind its neighbour to the left.

    Parameters
    ----------
    config : RowConfig
        See there.

    Members
    -------
    x : In(x_shape)
        Activation.
    swap : In(1)
        From this activation on use the weights in the chains.
    shift : In(1)
        Move the chains.
    w : In(word_bits)
        Chains, group ``g`` ``g`` cycles behind ``shift``.
    psums : In(sums_bits)
        Partial sums, skewed likewise; absent in the first row.
    w_next : Out(word_bits)
        Chains.
    psums_next : Out(sums_bits)
        Partial sums.

    Latency
        See `WsPe`.
    Throughput
        One activation a cycle.
    Numerics
        Exact.
    Reference
        None.
    """

    def __init__(self, config: RowConfig):
        self._config = config
        members = {
            "x": In(config.x_shape),
            "swap": In(1),
            "shift": In(1),
            "w": In(config.word_bits),
            "w_next": Out(config.word_bits),
            "psums_next": Out(config.sums_bits),
        }
        if not config.first:
            members["psums"] = In(config.sums_bits)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        x, swap, shift = self.x, self.swap, self.shift
        w_bit = sum_bit = 0
        for i, config in enumerate(self._config.pes):
            m.submodules[f"pe_{i}"] = pe = self._config.cell(config)
            word = slice(w_bit, w_bit + config.word_bits)
            sums = slice(sum_bit, sum_bit + config.sums_bits)
            m.d.comb += [
                pe.x.eq(x),
                pe.swap.eq(swap),
                pe.shift.eq(shift),
                pe.w.eq(self.w[word]),
                self.w_next[word].eq(pe.w_next),
                self.psums_next[sums].eq(pe.psums_next),
            ]
            if not config.first:
                m.d.comb += pe.psums.eq(self.psums[sums])
            x, swap, shift = pe.x_next, pe.swap_next, pe.shift_next
            w_bit, sum_bit = word.stop, sums.stop
        return m


class OsRow(Component):
    """Row of output-stationary PEs, each a cycle behind its neighbour to the left.

    Parameters
    ----------
    config : RowConfig
        See there.

    Members
    -------
    x : In(x_shape)
        Activation.
    clear : In(1)
        Starts sums, `OsPe` says when.
    w : In(word_bits)
        Weights, group ``g`` ``g`` cycles behind ``x``.
    w_next : Out(word_bits)
        Weights, a cycle later.
    sums : Out(sums_bits)
        Accumulators, skewed likewise.

    Latency
        See `OsPe`.
    Throughput
        One activation a cycle.
    Numerics
        Exact.
    Reference
        None.
    """

    def __init__(self, config: RowConfig):
        self._config = config
        super().__init__(
            {
                "x": In(config.x_shape),
                "clear": In(1),
                "w": In(config.word_bits),
                "w_next": Out(config.word_bits),
                "sums": Out(config.sums_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        x, clear = self.x, self.clear
        w_bit = sum_bit = 0
        for i, config in enumerate(self._config.pes):
            m.submodules[f"pe_{i}"] = pe = OsPe(config)
            word = slice(w_bit, w_bit + config.word_bits)
            sums = slice(sum_bit, sum_bit + config.sums_bits)
            m.d.comb += [
                pe.x.eq(x),
                pe.clear.eq(clear),
                pe.w.eq(self.w[word]),
                self.w_next[word].eq(pe.w_next),
                self.sums[sums].eq(pe.sums),
            ]
            x, clear = pe.x_next, pe.clear_next
            w_bit, sum_bit = word.stop, sums.stop
        return m
