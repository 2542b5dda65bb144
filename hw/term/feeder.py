"""From vectors to data values one after the other: the way into a row of PEs."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay
from ..lib.component import Component
from .config import TermConfig
from .words import feed_layout, gathered

__all__ = ["TermFeeder"]


class TermFeeder(Component):
    """Takes a vector from skewed lanes, element ``j`` when lane ``j`` has it, and hands it on.

    Every lane is gated into registers of its own, in one cycle only, so that ORs gather them.

    Parameters
    ----------
    config : TermConfig
        See there.

    Members
    -------
    lanes : In(rows * x_stored_bits)
        Lane ``j`` is ``j`` cycles late.
    load : In(1)
        Lane 0 has the first element of the row's vector in the next cycle.
    half : In(1)
        Half of the stores that the vector goes to, in the next cycle too.
    feed : Out(feed_layout(config))
        Data values.

    Latency
        2 + ``levels`` cycles from ``load`` to the first element.
    Throughput
        A vector in ``rows`` cycles.
    Numerics
        None.
    Reference
        None.
    """

    lanes: Signal
    load: Signal
    half: Signal
    feed: data.View

    def __init__(self, config: TermConfig):
        self._config = config
        super().__init__(
            {
                "lanes": In(config.rows * config.x_stored_bits),
                "load": In(1),
                "half": In(1),
                "feed": Out(feed_layout(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        rows, bits = config.rows, config.x_stored_bits
        # Low when a lane is due: as it is, this clears a register.
        idle = Signal(rows, init=-1)
        m.d.sync += idle.eq(Cat(~self.load, idle))
        gated = []
        for j in range(rows):
            value = Signal(bits, name=f"gated_{j}", reset_less=True)
            m.d.sync += value.eq(Mux(idle[j], 0, self.lanes[bits * j : bits * (j + 1)]))
            gated.append(value)

        wait = config.levels + 1
        begins = delay(m, self.load, wait, "begins")
        half = delay(m, self.half, wait, "halves")
        element = Signal(config.owner_bits, reset_less=True)
        held = Signal(reset_less=True)
        write = Signal(reset_less=True)
        final = element == rows - 1
        with m.If(begins):
            m.d.sync += [element.eq(0), held.eq(half), write.eq(1)]
        with m.Else():
            m.d.sync += [element.eq(element + 1), write.eq(write & ~final)]
        m.d.comb += [
            self.feed.x.eq(gathered(m, gated, "element")),
            self.feed.place.eq(Cat(element, held)),
            self.feed.write.eq(write),
        ]
        return m
