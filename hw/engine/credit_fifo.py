"""An output stream for a pipeline that cannot stop: it starts only what there is room for."""

from typing import Any

from amaranth.hdl import Module, Shape, ShapeLike, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .queue import BlockQueue, Queue

__all__ = ["CreditFifo"]


class CreditFifo(Component):
    """A queue before a stream, and a count of the places that nothing under way will need.

    Parameters
    ----------
    shape : ShapeLike
        Of a beat.
    depth : int
        Places, a power of two in a `Queue`: more than the cycles from ``start`` to ``write``, and
        from there to ``o.valid`` and one, keep one beat a cycle going.
    queue : type
        `Queue` or `BlockQueue`.

    Members
    -------
    free : Out(range(depth + 1))
        Places that no beat holds or will need.
    room : Out(1)
        A beat may be started.
    start : In(1)
        One is started, in a cycle with ``room``.
    write : In(1)
        It is there.
    data : In(shape)
        What it is.
    o : Out(stream.Signature(shape))
        The beats, in order.

    Latency
        From ``write`` to ``o.valid``: that of the queue, 1 or 2 cycles.
    Throughput
        One beat a cycle.
    Numerics
        None.
    Reference
        None.
    """

    free: Signal
    room: Signal
    start: Signal
    write: Signal
    data: Any
    o: stream.Interface

    def __init__(self, shape: ShapeLike, depth: int = 8, queue: type[Queue | BlockQueue] = Queue):
        self.queue = queue(Shape.cast(shape).width, depth)
        super().__init__(
            {
                "free": Out(range(depth + 1), init=depth),  # type: ignore[call-arg]  # stubs lack it
                "room": Out(1, init=1),  # type: ignore[call-arg]  # stubs lack it
                "start": In(1),
                "write": In(1),
                "data": In(shape),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = self.queue
        free = self.free
        taken = self.o.valid & self.o.ready
        m.d.comb += [
            queue.write.eq(self.write),
            queue.write_data.eq(self.data),
            self.o.payload.eq(queue.data),
            self.o.valid.eq(queue.valid),
            queue.take.eq(self.o.ready),
        ]
        with m.If(self.start & ~taken):
            m.d.sync += [free.eq(free - 1), self.room.eq(free != 1)]
        with m.Elif(~self.start & taken):
            m.d.sync += [free.eq(free + 1), self.room.eq(1)]
        return m
