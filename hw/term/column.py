"""A column of PEs and the gathering of its sums."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .config import TermConfig
from .plane import PlanePe
from .tmac import TmacPe
from .words import feed_layout, gathered, slot_layout

__all__ = ["TermColumn"]


class TermColumn(Component):
    """A column of ``rows`` PEs, which all see the same slots, one cycle after the other.

    Parameters
    ----------
    config : TermConfig
        See there.

    Members
    -------
    feeds : In(ArrayLayout(feed_layout(config), rows))
        Data values, one for each row.
    slot : In(slot_layout(config))
        Term for row 0.
    feeds_next : Out(ArrayLayout(feed_layout(config), rows))
        To the next column, a cycle later.
    sums : Out(psum_width)
        Sums of the rows, a cycle after each other; 0 where there is none.

    Latency
        That of the PE, and a cycle for every factor of 4 in ``rows``.
    Throughput
        One term a cycle and row.
    Numerics
        Exact.
    Reference
        None.
    """

    feeds: data.View
    slot: data.View
    feeds_next: data.View
    sums: Signal

    def __init__(self, config: TermConfig):
        self._config = config
        feeds = data.ArrayLayout(feed_layout(config), config.rows)
        super().__init__(
            {
                "feeds": In(feeds),
                "slot": In(slot_layout(config)),
                "feeds_next": Out(feeds),
                "sums": Out(config.psum_width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        kind = PlanePe if config.pe == "plane" else TmacPe
        slot, sums = self.slot, []
        for row in range(config.rows):
            m.submodules[f"pe_{row}"] = pe = kind(config)
            m.d.comb += [
                pe.feed.eq(self.feeds[row]),
                self.feeds_next[row].eq(pe.feed_next),
                pe.slot.eq(slot),
            ]
            slot = pe.slot_next
            sums.append(pe.sums)
        m.d.comb += self.sums.eq(gathered(m, sums, "sums"))
        return m
