"""An output stream for a pipeline that cannot stop: it starts only what there is room for."""

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..engine.queue import Queue

__all__ = ["Outlet"]


class Outlet(wiring.Component):
    """A queue before a stream, and a count of the places that nothing under way will need.

    Parameters
    ----------
    shape : ShapeLike
        Of a beat.
    depth : int
        Places, a power of two: more than the cycles from ``start`` to ``write``, plus 2, keep one
        beat a cycle going.

    Members
    -------
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
        From ``write`` to ``o.valid``: 1 cycle.
    Throughput
        One beat a cycle.
    Numerics
        None.
    Reference
        None.
    """

    def __init__(self, shape: ShapeLike, depth: int = 8):
        self._shape, self._depth = shape, depth
        super().__init__(
            {
                "room": Out(1, init=1),
                "start": In(1),
                "write": In(1),
                "data": In(shape),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layout = data.Layout.cast(self._shape)
        m.submodules.queue = queue = Queue(layout.size, self._depth)
        free = Signal(range(self._depth + 1), init=self._depth)
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
