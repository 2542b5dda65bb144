"""Loops of a GEMM over tiles, as its readers and the output stage run through them."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..arith.counts import PreviousCount
from ..lib.component import Component

__all__ = ["Loops"]


class Loops(Component):
    """A nest of loops: counters of which flags say whether an iteration is the first or the last.

    Flags are registers, and the carry from loop to loop runs through them only.

    Parameters
    ----------
    loops : int
        Number of loops; the outermost has index 0.
    fabric : str
        ``"portable"`` or ``"ecp5"``.

    Members
    -------
    start : In(1)
        Sets all loops to their first iteration.
    start_once : In(loops)
        Whether a loop has one iteration only, in the cycle of ``start``.
    advance : In(1)
        Goes to the next iteration of the innermost loop that is not in its last one and begins
        those inside it again; at most every second cycle, and from the second one after ``start``
        on. The outermost loop is never begun again.
    counts : In(ArrayLayout(16, loops))
        Iterations per loop, at least 1; stable from the cycle after ``start``.
    once : In(loops)
        Whether a loop has one iteration only; stable with ``counts``.
    first : Out(loops)
        Loop is in its first iteration.
    last : Out(loops)
        Loop is in its last iteration.
    """

    start: Signal
    start_once: Signal
    advance: Signal
    counts: data.View
    once: Signal
    first: Signal
    last: Signal

    def __init__(self, loops: int, fabric: str):
        self._fabric = fabric
        super().__init__(
            {
                "start": In(1),
                "start_once": In(loops),
                "advance": In(1),
                "counts": In(data.ArrayLayout(16, loops)),
                "once": In(loops),
                "first": Out(loops),
                "last": Out(loops),
            }
        )

    def elaborate(self, platform):
        m = Module()
        first, last = (
            [Signal(name=f"{part}_{i}", reset_less=True) for i in range(len(self.once))]
            for part in ("first", "last")
        )
        started = Signal()
        m.d.sync += started.eq(self.start)
        m.d.comb += [self.first.eq(Cat(first)), self.last.eq(Cat(last))]
        for i in range(len(self.once)):
            count = self.counts[i]
            # Iterations from this one on, loaded a cycle after the start.
            left = Signal(16, name=f"left_{i}", reset_less=True)
            # Whether all loops inside are in their last iteration, a cycle late.
            inner_last = Signal(name=f"inner_last_{i}", reset_less=True)
            m.d.sync += inner_last.eq(Cat(last[i + 1 :]).all())
            moves = self.advance & inner_last
            begins = self.start | (moves & last[i]) if i else self.start
            m.submodules[f"next_{i}"] = count_down = PreviousCount(16, self._fabric)
            m.d.comb += [
                count_down.count.eq(left),
                count_down.loaded.eq(count),
                count_down.load.eq(started | (last[i] if i else 0)),
            ]
            with m.If(started | moves):
                m.d.sync += left.eq(count_down.following)
            with m.If(self.start | moves):
                m.d.sync += [
                    first[i].eq(begins),
                    last[i].eq(Mux(
                        self.start, self.start_once[i],
                        Mux(last[i], self.once[i], left == 2),
                    )),
                ]  # fmt: skip
        return m
