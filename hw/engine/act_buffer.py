"""The activation buffer: one bank per lane, read and written at any element."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from ..arith.compare import above
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
    load_at : In(range(act_depth))
        Vector to write.
    load_data : In(ArrayLayout(x_bits, act_lanes))
        Its elements.
    load_fill : In(1)
        All of its elements are ``load_value`` instead.
    load_value : In(x_bits)
        See there.
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
        A write beyond the depth is the caller's mistake.
    Reference
        Unaligned vector access by banking and rotation.
    """

    read_at: data.View
    outside: Signal
    read_data: data.View
    load: Signal
    load_ready: Signal
    load_at: Signal
    load_data: data.View
    load_fill: Signal
    load_value: Signal
    storing: Signal
    store: Signal
    store_at: data.View
    store_data: data.View

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
                "load_at": In(range(config.act_depth)),
                "load_data": In(data.ArrayLayout(d.x_bits, d.act_lanes)),
                "load_fill": In(1),
                "load_value": In(d.x_bits),
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
        # Banks lie far apart: what they have in common is registered before it goes there.
        outside = self.read_at.vector >= depth
        m.d.sync += self.outside.eq(outside)
        read = self._elaborate_ends(m, "read", self.read_at.vector, self.read_at.lane)
        with m.If(self.read_at.vector == depth - 1):
            m.d.sync += read.following.eq(0)
        with m.If(outside):
            m.d.sync += [read.vector.eq(0), read.following.eq(1)]
        m.d.comb += self.load_ready.eq(~self.storing)
        write = self._elaborate_ends(m, "write", self.store_at.vector, self.store_at.lane)
        with m.If(~self.storing):
            m.d.sync += write.vector.eq(self.load_at)
        stores = Signal()
        m.d.sync += stores.eq(self.storing)
        elements, enables = self._elaborate_store(m, stores, write.further)
        banks = []
        for i in range(lanes):
            m.submodules[f"bank_{i}"] = bank = Buffer(config.datapath.x_bits, depth)
            # A store that begins in a later lane reaches the next vector in the first banks only.
            wraps = stores & write.further[i] if i < config.drain_lanes - 1 else 0
            m.d.sync += [
                bank.write_at.eq(Mux(wraps, write.following, write.vector)),
                bank.write_data.eq(elements[i]),
                bank.write.eq(enables[i]),
                bank.read_at.eq(Mux(read.further[i], read.following, read.vector)),
            ]
            banks.append(bank.read_data)
        self._elaborate_rotation(m, banks)
        return m

    def _elaborate_ends(self, m, name, vector, lane):
        """Register an unaligned position: its vector, the next one, and the banks that need it."""
        lanes, bits = self._config.datapath.act_lanes, len(self.load_at)
        lane_bits = max(1, (lanes - 1).bit_length())
        ends = Signal(
            data.StructLayout({"vector": bits, "following": bits, "further": lanes}), name=name
        )
        m.d.sync += [
            ends.vector.eq(vector),
            ends.following.eq(vector + 1),
            ends.further.eq(Cat(above(lane[:lane_bits], i) for i in range(lanes))),
        ]
        return ends

    def _elaborate_store(self, m, stores, further):
        """Return what each bank writes two cycles later, a store's element or a load's, and if."""
        config = self._config
        lanes, width = config.datapath.act_lanes, config.drain_lanes
        lane = self.store_at.lane
        loads = Signal()
        # One of the two is 0, so that no choice stands between them.
        load_data = Signal.like(self.load_data, reset_less=True)
        load_value = Signal.like(self.load_value, reset_less=True)
        strobes = Signal(width)
        m.d.sync += [
            loads.eq(self.load & self.load_ready),
            strobes.eq(self.store),
            *(load_data[i].eq(Mux(self.load_fill, 0, self.load_data[i])) for i in range(lanes)),
            load_value.eq(Mux(self.load_fill, self.load_value, 0)),
        ]
        # Element j of a store at lane l belongs to bank (l + j) mod lanes. So a bank needs element
        # (bank - l) mod lanes: those from l on find it after one turn of the elements, those before
        # l after another, which is the same where all the elements of a store divide a vector.
        low = lane[: (width - 1).bit_length()]

        def turned(by, name):
            elements = Signal.like(self.store_data, name=name, reset_less=True)
            for i in range(width):
                m.d.sync += elements[i].eq(self.store_data[(i - low + by)[: len(low)]])
            return elements

        behind = ahead = turned(0, "turned")
        if lanes % width:
            ahead = turned(lanes % width, "turned_before_lane")
        begins = Signal(lanes)
        m.d.sync += begins.eq(Cat(lane == i for i in range(lanes)))
        elements, enables = [], []
        for i in range(lanes):
            stored = behind[i % width]
            if i < width - 1:
                stored = Mux(further[i], ahead[i % width], stored)
            elements.append(Mux(stores, stored, load_data[i] | load_value))
            hits = Cat(strobes[j] & begins[(i - j) % lanes] for j in range(width))
            enables.append(hits.any() | loads)
        return elements, enables

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
