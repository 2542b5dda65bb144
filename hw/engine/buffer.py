"""Memories that map to block RAM and nothing else."""

from typing import Any

from amaranth.hdl import Cat, Module, ShapeLike, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .config import block_width

__all__ = ["Buffer", "buffer_memory"]


def buffer_memory(shape: ShapeLike, depth: int) -> memory.Memory:
    """Return a memory of which nobody needs what is read in the cycle of a write to the same word.

    Saying so spares the comparators and bypass registers that synthesis would add around block RAM.
    Whoever says so is in `tilewright.verif.formal.collisions`, where it is proved.
    """
    attrs: Any = {"no_rw_check": 1}  # the stubs know only text
    row: Any = shape
    return memory.Memory(shape=row, depth=depth, init=[], attrs=attrs)


class Buffer(Component):
    """A memory with one write and one registered read side, cut to the shape of RAM blocks.

    Slices are as narrow as a block of the depth allows, so that no multiplexer stands between
    blocks and the output register; the register can be the block's own.

    Parameters
    ----------
    width : int
        Bits per word.
    depth : int
        Words.

    Members
    -------
    write : In(1)
        Write strobe.
    write_at : In(range(depth))
        Address to write.
    write_data : In(width)
        Word to write.
    read_at : In(range(depth))
        Address to read.
    read_data : Out(width)
        Word, 2 cycles later.

    Latency
        2 cycles.
    Throughput
        One read and one write a cycle.
    Numerics
        None; a read in the cycle of a write to the same word returns any value.
    Reference
        None.
    """

    write: Signal
    write_at: Signal
    write_data: Signal
    read_at: Signal
    read_data: Signal

    def __init__(self, width: int, depth: int):
        self._width, self._depth = width, depth
        super().__init__(
            {
                "write": In(1),
                "write_at": In(range(depth)),
                "write_data": In(width),
                "read_at": In(range(depth)),
                "read_data": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        step = block_width(self._depth)
        words = []
        for first in range(0, self._width, step):
            last = min(first + step, self._width)
            store = buffer_memory(last - first, self._depth)
            m.submodules[f"bits_{first}"] = store
            write = store.write_port()
            read = store.read_port()
            word = Signal(last - first, name=f"word_{first}", reset_less=True)
            m.d.sync += word.eq(read.data)
            m.d.comb += [
                write.en.eq(self.write),
                write.addr.eq(self.write_at),
                write.data.eq(self.write_data[first:last]),
                read.en.eq(1),
                read.addr.eq(self.read_at),
            ]
            words.append(word)
        m.d.comb += self.read_data.eq(Cat(words))
        return m
