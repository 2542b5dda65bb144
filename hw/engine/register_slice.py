"""Register slices: from a reader's queue to the datapath, which is far away."""

from amaranth.hdl import Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .pipeline import QUEUE_DEPTH, QUEUE_REGISTERS

__all__ = ["AlternatingSlice", "RegisterSlice", "count_credit"]


class RegisterSlice(Component):
    """Two registers between two streams: nothing else drives ``o`` or ``i.ready``.

    Parameters
    ----------
    shape : ShapeLike
        Of a beat.

    Members
    -------
    i : In(stream.Signature(shape))
        Beats.
    o : Out(stream.Signature(shape))
        The same beats.

    Latency
        1 cycle.
    Throughput
        One beat a cycle.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        offered, payload = Value.cast(self.i.payload), Value.cast(self.o.payload)
        spare = Signal.like(payload, name="spare", reset_less=True)
        spare_full = Signal()
        m.d.comb += self.i.ready.eq(~spare_full)
        with m.If(~spare_full):
            m.d.sync += spare.eq(offered)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [
                payload.eq(Mux(spare_full, spare, offered)),
                self.o.valid.eq(spare_full | self.i.valid),
                spare_full.eq(0),
            ]
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += spare_full.eq(1)
        return m


class AlternatingSlice(Component):
    """A `RegisterSlice` for a stream whose taker registers all that is offered.

    Two registers take turns. So ``o.ready``, from far away, decides over single flags and not over
    every bit of a wide word; but a multiplexer stands between the registers and the stream.

    Parameters
    ----------
    shape : ShapeLike
        Of a beat.

    Members
    -------
    i : In(stream.Signature(shape))
        Beats.
    o : Out(stream.Signature(shape))
        The same beats.

    Latency
        1 cycle.
    Throughput
        One beat a cycle.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeLike):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        offered, payload = Value.cast(self.i.payload), Value.cast(self.o.payload)
        words = [
            Signal.like(offered, name=f"word_{i}", reset_less=True) for i in range(QUEUE_REGISTERS)
        ]
        full = Signal()
        filling = Signal()
        leaving = Signal()
        taken = Signal()
        gone = Signal()
        m.d.comb += [
            taken.eq(self.i.valid & ~full),
            self.i.ready.eq(~full),
            gone.eq(self.o.valid & self.o.ready),
            payload.eq(Mux(leaving, words[1], words[0])),
        ]
        for i, word in enumerate(words):
            with m.If(~full & (filling == i)):
                m.d.sync += word.eq(offered)
        m.d.sync += [
            full.eq(~gone & (full | (self.o.valid & taken))),
            self.o.valid.eq(full | taken | (self.o.valid & ~gone)),
            filling.eq(filling ^ taken),
            leaving.eq(leaving ^ gone),
        ]
        return m


def count_credit(m: Module, credit: Signal, issue: Value, taken: Value) -> None:
    """Keep ``credit`` high while fewer than `QUEUE_DEPTH` beats are in flight or queued."""
    held = Signal(range(QUEUE_DEPTH + 1))
    # The number after this cycle is compared without waiting for it.
    with m.If(issue & ~taken):
        m.d.sync += [held.eq(held + 1), credit.eq(held < QUEUE_DEPTH - 1)]
    with m.Elif(~issue & taken):
        m.d.sync += [held.eq(held - 1), credit.eq(1)]
