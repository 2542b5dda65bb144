"""Flow control of activation vectors: frames of vectors that share their weights."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay
from ..lib.component import Component
from .config import SerialConfig

__all__ = ["FrameScheduler"]


class FrameScheduler(Component):
    """Says when vectors are taken and frames start; the rule is that of `SerialTiming`.

    A frame starts with a vector that is taken while no frame is under way, and takes one more in
    each of the next ``vectors - 1`` cycles, unless the step ends. Vectors that are not there in
    their cycle leave their unit idle.

    Parameters
    ----------
    config : SerialConfig
        See there for ranges.

    Members
    -------
    valid : In(1)
        A vector is offered.
    end : In(1)
        It is the last of its step.
    ready : Out(1)
        It is taken; a register.
    loaded : In(1)
        The next step's tile is there.
    near : In(1)
        Of the frame's passes at most three are left, this one included.
    opened : Out(1)
        The first vector of a step is being taken.
    closed : Out(1)
        In the next cycle a frame after the last one of the step could start.
    slots : Out(vectors)
        The cycle after unit ``u``'s turn to take a vector.
    full : Out(1)
        The cycle after a vector was taken.

    Latency
        See `SerialTiming`.
    Throughput
        A frame every ``max(passes, vectors, 4)`` cycles.
    Numerics
        None.
    Reference
        None.
    """

    valid: Signal
    end: Signal
    ready: Signal
    loaded: Signal
    near: Signal
    opened: Signal
    closed: Signal
    slots: Signal
    full: Signal

    def __init__(self, config: SerialConfig):
        self._config = config
        super().__init__(
            {
                "valid": In(1),
                "end": In(1),
                "ready": Out(1),
                "loaded": In(1),
                "near": In(1),
                "opened": Out(1),
                "closed": Out(1),
                "slots": Out(config.vectors),
                "full": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        vectors, least = config.vectors, config.frame_min
        taken = Signal()
        start = Signal()
        between = Signal(init=1)
        busy = Signal()
        m.d.comb += [taken.eq(self.valid & self.ready), start.eq(taken & ~busy)]
        m.d.comb += self.opened.eq(taken & between)
        m.d.comb += self.full.eq(delay(m, taken, 1, "was_taken"))
        with m.If(taken):
            m.d.sync += between.eq(self.end)

        # Bit i: i + 1 cycles after the start of a frame.
        since = Signal(least - 1)
        m.d.sync += since.eq(Cat(start, since))
        m.d.comb += self.slots.eq(Cat(since, 0)[:vectors] if vectors < least else 0)
        if vectors == least:
            beyond = Signal(reset_less=True)
            m.d.sync += beyond.eq(since[-1])
            m.d.comb += self.slots.eq(Cat(since, beyond))

        over = Signal()
        long_enough = Signal(reset_less=True)
        m.d.comb += over.eq(busy & (since[-1] | long_enough) & self.near)
        m.d.comb += self.closed.eq(over & Mux(taken, self.end, between))
        with m.If(since[-1]):
            m.d.sync += long_enough.eq(1)
        with m.If(start):
            m.d.sync += long_enough.eq(0)
        m.d.sync += busy.eq(start | (busy & ~over))

        rest = Signal(config.step_gap, reset_less=True)
        rested = Signal(init=1)
        m.d.sync += rest.eq(Cat(over, rest))
        with m.If(rest[-1]):
            m.d.sync += rested.eq(1)
        with m.If(start):
            m.d.sync += [rest.eq(0), rested.eq(0)]

        turn = Signal()
        m.d.comb += turn.eq(Cat(start, since)[: vectors - 1].any() if vectors > 1 else 0)
        with m.If(between & ~taken):
            m.d.sync += self.ready.eq(self.loaded & (rest[-1] | rested))
        with m.Else():
            m.d.sync += self.ready.eq((turn | over | (~busy & ~taken)) & ~(taken & self.end))
        return m
