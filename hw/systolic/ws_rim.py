"""Flow control at the rim of a weight-stationary array."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from ..engine.datapath import ROW_DISTANCE
from ..lib.component import Component

__all__ = ["WsRim"]


class WsRim(Component):
    """Says when beats are taken and steps start; the rule is that of `WsTiming`.

    One vector is held outside. Only the first one of a step ever waits there, for its weights and
    for the distance to the step before. What the streams and the array see are registers, computed
    a cycle ahead, so that no path leads through from one side to the other.

    Parameters
    ----------
    rows : int
        Beats per weight tile.

    Members
    -------
    weights_valid : In(1)
        A weight beat is offered.
    weights_ready : Out(1)
        It is taken.
    shifts : Out(rows)
        Enable of each row's chain, a cycle later. Row ``r`` leaves the first ``r`` beats of a tile
        to the rows above it, which keeps it behind the wavefront of the tile before.
    acts_valid : In(1)
        A vector is offered.
    acts_end : In(1)
        It is the last of its step.
    acts_ready : Out(1)
        It is taken; the vector that was held moves on.
    moves : Out(1)
        The vector held moves into the array.
    start : Out(1)
        It is the first of a step.

    Latency
        See `WsTiming`.
    Throughput
        A step of T vectors takes max(T, rows, 4) cycles.
    Numerics
        None.
    Reference
        None.
    """

    weights_valid: Signal
    weights_ready: Signal
    shifts: Signal
    acts_valid: Signal
    acts_end: Signal
    acts_ready: Signal
    moves: Signal
    start: Signal

    def __init__(self, rows: int):
        self._rows = rows
        super().__init__(
            {
                "weights_valid": In(1),
                "weights_ready": Out(1, init=1),  # type: ignore[call-arg]  # stubs lack it
                "shifts": Out(rows),
                "acts_valid": In(1),
                "acts_end": In(1),
                "acts_ready": Out(1, init=1),  # type: ignore[call-arg]  # stubs lack it
                "moves": Out(1),
                "start": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rows = self._rows
        # Weights: bit r of `reached` says that beat r of the tile, or a later one, is due.
        reached = Signal(rows, init=1)
        full = Signal()
        filled = Signal()
        taken = Signal()
        m.d.comb += [
            taken.eq(self.weights_valid & self.weights_ready),
            filled.eq((taken & reached[-1]) | (full & ~self.start)),
        ]
        m.d.sync += [full.eq(filled), self.shifts.eq(reached & taken.replicate(rows))]
        with m.If(taken):
            m.d.sync += reached.eq(Cat(1, reached))
            with m.If(reached[-1]):
                m.d.sync += reached.eq(1)

        # The distance between steps: `pause` has as many ones as cycles left, at most 3 - k after
        # vector k of a step; `following` has those that the next vector brings.
        pause = Signal(ROW_DISTANCE - 1)
        following = Signal(ROW_DISTANCE - 2)
        paused = Signal.like(pause)
        m.d.comb += paused.eq(pause >> 1 | following & self.moves.replicate(len(following)))
        with m.If(self.moves):
            m.d.sync += following.eq(following >> 1)
        with m.If(self.start):
            m.d.comb += paused.eq(~0)
            m.d.sync += following.eq(~0)
        m.d.sync += pause.eq(paused)

        # The vector held in the next cycle, whether it opens a step, and whether that may start.
        opening = Signal(init=1)
        held = Signal()
        opens = Signal()
        free = Signal()
        m.d.comb += [
            held.eq(self.acts_valid | ~self.acts_ready),
            opens.eq((self.acts_valid & opening) | ~self.acts_ready),
            free.eq(filled & ~paused[0]),
        ]
        with m.If(self.acts_valid & self.acts_ready):
            m.d.sync += opening.eq(self.acts_end)
        m.d.sync += [
            self.start.eq(opens & free),
            self.moves.eq(held & (~opens | free)),
            self.acts_ready.eq(~opens | free),
            self.weights_ready.eq(~filled | (opens & free)),
        ]
        return m
