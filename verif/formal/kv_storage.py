"""Proofs for the memory behind Wishbone: the rules of the bus, and room for every answer."""

from functools import partial
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...hw.kv.memory import WishboneMemory
from ...hw.kv.memory_config import MemoryConfig
from ...hw.kv.rows import KvStorage
from ...hw.kv.storage_config import StorageConfig
from ...hw.kv.storage_words import request_word, word_beat
from .properties import stream_assert
from .reset import stream_task
from .runner import Task
from .statements import Assert, Assume, Cover

__all__ = ["MemorySpec", "stream_tasks", "tasks"]

_CONFIG = MemoryConfig(words=2, data_bits=8, outstanding=4)


class MemorySpec(wiring.Component):
    """A request holds until the bus takes it, and every answer finds room.

    Assumed: the bus answers only what it has taken.

    Members
    -------
    requests : In(stream.Signature(request_word))
        Any.
    words : Out(stream.Signature(word_beat))
        The stream, taken whenever.
    stall, ack, err : In(1)
        Of the bus.
    dat_r : In(8)
        Of the bus.
    """

    requests: stream.Interface
    words: stream.Interface
    stall: Signal
    ack: Signal
    err: Signal
    dat_r: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "requests": In(stream.Signature(request_word(_CONFIG))),
                "words": Out(stream.Signature(word_beat(_CONFIG))),
                "stall": In(1),
                "ack": In(1),
                "err": In(1),
                "dat_r": In(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = WishboneMemory(_CONFIG)
        wb, kinds, outlet, size = memory.wb, memory.kinds, memory.outlet, _CONFIG.outstanding
        wiring.connect(m, wiring.flipped(self.requests), memory.requests)
        wiring.connect(m, memory.words, wiring.flipped(self.words))
        m.d.comb += [getattr(wb, name).eq(getattr(self, name))
                     for name in ("stall", "ack", "err", "dat_r")]  # fmt: skip
        taken = kinds.level - (wb.stb & wb.stall)
        m.d.comb += Assume(~(wb.ack | wb.err) | (taken > 0))
        held = Signal()
        before = Signal(len(wb.adr) + len(wb.dat_w) + 1)
        asked = Signal.like(before)
        m.d.comb += asked.eq(wb.adr | wb.dat_w << len(wb.adr) | wb.we << len(before) - 1)
        m.d.sync += [held.eq(wb.stb & wb.stall), before.eq(asked)]
        reads = 0
        for place in range(size):
            port = kinds._storage.read_port(domain="comb")
            m.d.comb += port.addr.eq(kinds.get.addr + place)
            reads += Mux(place < kinds.level, ~port.data, 0)[0]
        queued: Any = outlet.queue
        depth = len(queued.put.addr)
        waiting = memory.waiting
        for queue, bits in ((queued, depth), (kinds, size.bit_length() - 1), (waiting, 1)):
            m.d.comb += [
                Assert((queue.put.addr - queue.get.addr - queue.level)[:bits] == 0),
                Assert(queue.valid == (queue.level != 0)),
                Assert(queue.level <= 1 << bits),
            ]
        last = kinds._storage.read_port(domain="comb")
        m.d.comb += [
            last.addr.eq(kinds.put.addr - 1),
            Assert(outlet.free + reads + queued.level == size),
            Assert(outlet.room == (outlet.free != 0)),
            Assert(~held | (wb.stb & (asked == before))),
            Assert(~wb.stb | wb.cyc),
            Assert(~wb.stb | (last.data == wb.we)),
            Cover((kinds.level == size) & (reads == size)),
            Cover(queued.level == size),
        ]
        stream_assert(m, self.words)
        return m


def stream_tasks() -> list[Task]:
    """Return that the storage's streams keep the rules and never hang; not that words stay.

    Two rows of one word each.
    """
    whole = StorageConfig(head_size=32, kv_bits=16, data_bits=512, rows=2)
    return [stream_task("whole", partial(KvStorage, whole), 12, bits=0)]


def tasks() -> list[Task]:
    """Return what is to be proved."""
    return [Task("memory", MemorySpec, 3, "prove"), Task("memory_cover", MemorySpec, 12, "cover")]
