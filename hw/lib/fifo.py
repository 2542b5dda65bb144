"""First in, first out."""

from typing import Any

from amaranth.hdl import Signal
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .component import Component

__all__ = ["Fifo"]


class Fifo(Component):
    """First in, first out; Amaranth's FIFO as a module with declared ports.

    Parameters
    ----------
    width : int
        Bits per word.
    depth : int
        Words.
    buffered : bool
        The oldest word stands in a register, so that the memory can be block RAM.

    Members
    -------
    w_data : In(width)
        Word to queue.
    w_rdy : Out(1)
        There is room.
    w_en : In(1)
        Queues ``w_data``, if there is room.
    r_data : Out(width)
        The oldest word.
    r_rdy : Out(1)
        There is a word.
    r_en : In(1)
        Drops the oldest word, if there is one.
    level : Out(range(depth + 1))
        Words queued.

    Latency
        A word is seen 1 cycle after it was written, 2 with ``buffered``.
    Throughput
        One write and one read a cycle.
    """

    w_data: Signal
    w_rdy: Signal
    w_en: Signal
    r_data: Signal
    r_rdy: Signal
    r_en: Signal
    level: Signal

    def __init__(self, width: int, depth: int, buffered: bool = True):
        # Any: the type stubs know neither its level nor that it elaborates to a Module.
        self._fifo: Any = (SyncFIFOBuffered if buffered else SyncFIFO)(width=width, depth=depth)
        super().__init__(
            {
                "w_data": In(width),
                "w_rdy": Out(1),
                "w_en": In(1),
                "r_data": Out(width),
                "r_rdy": Out(1),
                "r_en": In(1),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform):
        fifo = self._fifo
        fifo._MustUse__used = True
        m = fifo.elaborate(platform)  # its contents, not a module inside this one
        m.d.comb += [
            fifo.w_data.eq(self.w_data),
            fifo.w_en.eq(self.w_en),
            fifo.r_en.eq(self.r_en),
            self.w_rdy.eq(fifo.w_rdy),
            self.r_data.eq(fifo.r_data),
            self.r_rdy.eq(fifo.r_rdy),
            self.level.eq(fifo.level),
        ]
        return m
