"""Taking finished sums out of an output-stationary array."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from ..lib.component import Component

__all__ = ["Pick", "PickConfig"]


@dataclass(frozen=True, kw_only=True)
class PickConfig:
    """Parameters of a `Pick`.

    Attributes
    ----------
    groups : tuple of int
        Columns in each group.
    width : int
        Bits of a sum.
    """

    groups: tuple[int, ...]
    width: int

    @property
    def sums_bits(self) -> int:
        """Bits of a row of sums."""
        return self.width * sum(self.groups)


class Pick(Component):
    """One of two rows of sums, chosen anew every cycle, column group by column group.

    Parameters
    ----------
    config : PickConfig
        See there.

    Members
    -------
    upper : In(config.sums_bits)
        Taken where ``select`` is low.
    lower : In(config.sums_bits)
        Taken where ``select`` is high.
    select : In(1)
        For group 0; group ``g`` follows ``g`` cycles later, as its sums do.
    picked : Out(config.sums_bits)
        The choice, a cycle later.

    Latency
        1 cycle.
    Throughput
        One row a cycle.
    Numerics
        None.
    Reference
        None.
    """

    upper: Signal
    lower: Signal
    select: Signal
    picked: Signal

    def __init__(self, config: PickConfig):
        self._config = config
        super().__init__(
            {
                "upper": In(config.sums_bits),
                "lower": In(config.sums_bits),
                "select": In(1),
                "picked": Out(config.sums_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        groups = self._config.groups
        picked = Signal(self._config.sums_bits, reset_less=True)
        selects = Signal(len(groups), reset_less=True)
        every = Cat(self.select, selects)
        m.d.sync += selects.eq(every)
        m.d.comb += self.picked.eq(picked)
        low = 0
        for g, columns in enumerate(groups):
            bits = slice(low, low + columns * self._config.width)
            m.d.sync += picked[bits].eq(Mux(every[g], self.lower[bits], self.upper[bits]))
            low = bits.stop
        return m
