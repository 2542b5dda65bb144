"""Queues for writers that know that there is room."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from ..lib.fifo import Fifo

__all__ = ["BlockQueue", "Queue"]


class Queue(Component):
    """First in, first out; the writer counts what is under way and so never finds it full.

    Without a test for room, a write goes straight to the memory: flip-flops of the writer may be
    far from those that count.

    Parameters
    ----------
    width : int
        Bits per word.
    depth : int
        Words, a power of two.

    Members
    -------
    write : In(1)
        Takes ``write_data``; never while ``level`` is ``depth``.
    write_data : In(width)
        Word to queue.
    level : Out(range(depth + 1))
        Words queued.
    valid : Out(1)
        There is a word.
    data : Out(width)
        The oldest word.
    take : In(1)
        Drops the oldest word, if there is one.

    Latency
        A word is seen in the cycle after it was written.
    Throughput
        One write and one read a cycle.
    Numerics
        None.
    Reference
        None.
    """

    write: Signal
    write_data: Signal
    level: Signal
    valid: Signal
    data: Signal
    take: Signal

    def __init__(self, width: int, depth: int):
        if depth & (depth - 1):
            raise ValueError(f"depth must be a power of two, not {depth}")
        self._storage: memory.Memory = memory.Memory(shape=width, depth=depth, init=[])
        self.put = self._storage.write_port()
        self.get = self._storage.read_port(domain="comb")
        super().__init__(
            {
                "write": In(1),
                "write_data": In(width),
                "level": Out(range(depth + 1)),
                "valid": Out(1),
                "data": Out(width),
                "take": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = self._storage
        write, read = self.put, self.get
        taken = self.valid & self.take
        m.d.comb += [
            write.en.eq(self.write),
            write.data.eq(self.write_data),
            self.data.eq(read.data),
        ]
        with m.If(self.write):
            m.d.sync += write.addr.eq(write.addr + 1)
        with m.If(taken):
            m.d.sync += read.addr.eq(read.addr + 1)
        with m.If(self.write & ~taken):
            m.d.sync += [self.level.eq(self.level + 1), self.valid.eq(1)]
        with m.Elif(~self.write & taken):
            m.d.sync += [self.level.eq(self.level - 1), self.valid.eq(self.level != 1)]
        return m


class BlockQueue(Component):
    """First in, first out, in block RAM; the writer counts what is under way, as for `Queue`.

    Parameters
    ----------
    width : int
        Bits per word.
    depth : int
        Words.

    Members
    -------
    write : In(1)
        Takes ``write_data``; never where ``depth`` words are queued.
    write_data : In(width)
        Word to queue.
    valid : Out(1)
        There is a word.
    data : Out(width)
        The oldest word.
    take : In(1)
        Drops the oldest word, if there is one.

    Latency
        A word is seen 2 cycles after it was written.
    Throughput
        One write and one read a cycle.
    Numerics
        None.
    Reference
        None.
    """

    write: Signal
    write_data: Signal
    valid: Signal
    data: Signal
    take: Signal

    def __init__(self, width: int, depth: int):
        self.fifo = Fifo(width, depth)
        super().__init__(
            {
                "write": In(1),
                "write_data": In(width),
                "valid": Out(1),
                "data": Out(width),
                "take": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = self.fifo
        m.d.comb += [
            fifo.w_en.eq(self.write),
            fifo.w_data.eq(self.write_data),
            self.valid.eq(fifo.r_rdy),
            self.data.eq(fifo.r_data),
            fifo.r_en.eq(self.take),
        ]
        return m
