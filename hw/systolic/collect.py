"""Taking finished sums out of an output-stationary array."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

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
    def sums(self) -> data.ArrayLayout:
        """Layout of a row of sums."""
        return data.ArrayLayout(signed(self.width), sum(self.groups))


class Pick(wiring.Component):
    """One of two rows of sums, chosen anew every cycle, column group by column group.

    Parameters
    ----------
    config : PickConfig
        See there.

    Members
    -------
    upper : In(config.sums)
        Taken where ``select`` is low.
    lower : In(config.sums)
        Taken where ``select`` is high.
    select : In(1)
        For group 0; group ``g`` follows ``g`` cycles later, as its sums do.
    picked : Out(config.sums)
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

    def __init__(self, config: PickConfig):
        self._config = config
        super().__init__(
            {
                "upper": In(config.sums),
                "lower": In(config.sums),
                "select": In(1),
                "picked": Out(config.sums),
            }
        )

    def elaborate(self, platform):
        m = Module()
        groups = self._config.groups
        picked = Signal(self._config.sums, reset_less=True)
        selects = Signal(len(groups), reset_less=True)
        every = Cat(self.select, selects)
        m.d.sync += selects.eq(every)
        m.d.comb += self.picked.eq(picked)
        col = 0
        for g, columns in enumerate(groups):
            for c in range(col, col + columns):
                m.d.sync += picked[c].eq(Mux(every[g], self.lower[c], self.upper[c]))
            col += columns
        return m
