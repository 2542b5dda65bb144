"""Memories that map to block RAM and nothing else."""

from amaranth.hdl import ShapeLike
from amaranth.lib import memory

__all__ = ["buffer_memory"]


def buffer_memory(shape: ShapeLike, depth: int) -> memory.Memory:
    """Return a memory whose reads never meet a write to the same word in the same cycle.

    The engine orders reads after writes, so what a collision would return does not matter. Saying
    so spares the comparators and bypass registers that synthesis would add around block RAM.
    """
    return memory.Memory(shape=shape, depth=depth, init=[], attrs={"no_rw_check": 1})
