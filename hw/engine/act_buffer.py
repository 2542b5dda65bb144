"""The activation buffer: one bank per lane, read and written at any element."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .buffer import Buffer
from .config import EngineConfig
from .position import Position

__all__ = ["ActBuffer"]


class ActBuffer(Component):
    """Vectors of activations that can be read from any element on, not only from lane 0.

    Lane ``i`` of every vector lives in bank ``i``. A read at (vector, lane) returns the
    ``act_lanes`` elements from there on: banks below ``lane`` are read one vector further and the
    result is rotated. Behind the last vector comes the first one. A store writes up to
    ``drain_lanes`` elements from any element on and goes before a load of a whole vector. A read in
    the cycle of a write to the same word may return either value.

    Parameters
    ----------
    config : EngineConfig
        See there for ranges.

    Members
    -------
    read_at : In(Position)
        First element to read.
    outside : Out(1)
        The position of the cycle before lay beyond the buffer; vector 0 is read in its place.
    read_data : Out(ArrayLayout(x_bits, act_lanes))
        The elements, ``config.read_latency`` cycles later.
    load : In(1)
        Write a whole vector; takes effect only while ``load_ready``.
    load_ready : Out(1)
        No store is in the way.
    load_at : In(16)
        Vector to write.
    load_data : In(ArrayLayout(x_bits, act_lanes))
        Its elements.
    storing : In(1)
        Set with any ``store``; holds up loads.
    store : In(drain_lanes)
        Write strobe per element of a store.
    store_at : In(Position)
        Where element 0 of the store goes.
    store_data : In(ArrayLayout(x_bits, drain_lanes))
        Elements of the store.

    Latency
        Reads ``config.read_latency`` cycles, 6 up to 32 lanes and then 7; a write is seen by reads
        given 2 cycles later.
    Throughput
        One read and one write a cycle.
    Numerics
        None; a write beyond the depth is the caller's mistake.
    Reference
        Unaligned vector access by banking and rotation.
    """

    def __init__(self, config: EngineConfig):
        self._config = config
        d = config.datapath
        super().__init__(
            {
                "read_at": In(Position),
                "outside": Out(1),
                "read_data": Out(data.ArrayLayout(d.x_bits, d.act_lanes)),
                "load": In(1),
                "load_ready": Out(1),
                "load_at": In(16),
                "load_data": In(data.ArrayLayout(d.x_bits, d.act_lanes)),
                "storing": In(1),
                "store": In(config.drain_lanes),
                "store_at": In(Position),
                "store_data": In(data.ArrayLayout(d.x_bits, config.drain_lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        lanes = config.datapath.act_lanes
        depth = config.act_depth
        address_bits = (depth - 1).bit_length()
        # Banks lie far apart: what they have in common is registered before it goes there.
        read = self._elaborate_ends(m, "read", self.read_at, address_bits)
        outside = self.read_at.vector >= depth
        m.d.sync += self.outside.eq(outside)
        with m.If(self.read_at.vector == depth - 1):
            m.d.sync += read.following.eq(0)
        with m.If(outside):
            m.d.sync += [read.vector.eq(0), read.following.eq(1)]
        written = Signal(2)
        write = self._elaborate_ends(m, "store", self.store_at, address_bits)
        load_at = Signal(address_bits)
        load_data = Signal.like(self.load_data)
        stored = Signal.like(self.store_data)
        m.d.comb += self.load_ready.eq(~self.storing)
        m.d.sync += [
            load_at.eq(self.load_at), load_data.eq(self.load_data), stored.eq(self.store_data),
            written.eq(Cat(self.load & self.load_ready, ~self.load_ready)),
        ]
        banks = []
        for i in range(lanes):
            m.submodules[f"bank_{i}"] = bank = Buffer(config.datapath.x_bits, depth)
            self._elaborate_write(m, i, bank, write, written, (load_at, load_data[i]), stored)
            here = Signal(address_bits, name=f"read_address_{i}")
            m.d.sync += here.eq(Mux(read.further[i], read.following, read.vector))
            m.d.comb += bank.read_at.eq(here)
            banks.append(bank.read_data)
        self._elaborate_rotation(m, banks)
        return m

    def _elaborate_ends(self, m, name, at, address_bits):
        """Register an unaligned position: its vector, the next one, and the banks that need it."""
        lanes = self._config.datapath.act_lanes
        ends = Signal(
            data.StructLayout(
                {"vector": address_bits, "following": address_bits, "further": lanes}
            ),
            name=name,
        )
        m.d.sync += [
            ends.vector.eq(at.vector), ends.following.eq(at.vector + 1),
            ends.further.eq(Cat(i < at.lane for i in range(lanes))),
        ]
        return ends

    def _elaborate_write(self, m, bank, buffer, at, written, load, stored):
        """Register what bank ``bank`` writes: a store's element, or a load's lane."""
        config = self._config
        lanes = config.datapath.act_lanes
        address = Signal.like(buffer.write_at)
        word = Signal.like(buffer.write_data)
        enable = Signal()
        hits = Signal(config.drain_lanes)
        # Element j of a store at lane l belongs to bank (l + j) mod lanes.
        m.d.sync += hits.eq(Cat(
            self.store[j] & (self.store_at.lane == (bank - j) % lanes)
            for j in range(config.drain_lanes)
        ))
        element = Const(0, config.datapath.x_bits)
        for j in range(config.drain_lanes):
            element = element | Mux(hits[j], stored[j], 0)
        loads, stores = written
        m.d.sync += enable.eq(hits.any() | loads)
        with m.If(stores):
            m.d.sync += address.eq(Mux(at.further[bank], at.following, at.vector))
            m.d.sync += word.eq(element)
        with m.Else():
            m.d.sync += [address.eq(load[0]), word.eq(load[1])]
        m.d.comb += [
            buffer.write_at.eq(address), buffer.write_data.eq(word), buffer.write.eq(enable)
        ]

    def _elaborate_rotation(self, m, banks):
        """Rotate the banks' words so that the element at the read position comes first."""
        lanes = len(banks)
        lane = self.read_at.lane[: sum(self._config.rotation)]
        for i in range(3):
            lane = self._delayed(m, lane, i)
        words, first = banks, 0
        for stage, bits in enumerate(self._config.rotation):
            lane = self._delayed(m, lane, 3 + stage)
            for bit in range(first, first + bits):
                turned = [words[(i + (1 << bit)) % lanes] for i in range(lanes)]
                words = [
                    Mux(lane[bit], further, word)
                    for word, further in zip(words, turned, strict=True)
                ]
            registered = [
                Signal.like(bank, name=f"rotated_{stage}_{i}", reset_less=True)
                for i, bank in enumerate(banks)
            ]
            m.d.sync += [r.eq(w) for r, w in zip(registered, words, strict=True)]
            words = registered
            first += bits
        m.d.comb += [self.read_data[i].eq(words[i]) for i in range(lanes)]

    @staticmethod
    def _delayed(m, lane, number):
        delayed = Signal.like(lane, name=f"lane_{number}")
        m.d.sync += delayed.eq(lane)
        return delayed
