"""Memory of keys and values: in block RAM, or behind Wishbone; both take the same requests."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..engine.buffer import Buffer
from ..engine.credit_fifo import CreditFifo
from ..engine.queue import Queue
from ..lib.component import Component
from .memory_config import MemoryConfig
from .storage_words import request_word, word_beat

__all__ = ["BlockMemory", "Wishbone", "WishboneInterface", "WishboneMemory"]

_READ_LATENCY = 2


class WishboneInterface(wiring.PureInterface):
    """The signals of a `Wishbone` bus."""

    cyc: Signal
    stb: Signal
    we: Signal
    adr: Signal
    sel: Signal
    dat_w: Signal
    stall: Signal
    ack: Signal
    err: Signal
    dat_r: Signal


class Wishbone(wiring.Signature):
    """Pipelined Wishbone B4, seen from the master; addresses are words.

    Parameters
    ----------
    address_bits, data_bits : int
        Widths.

    Operation
    ---------
    A request moves in a cycle with ``cyc`` and ``stb`` and without ``stall``, and holds until then.
    Each is answered once, in order, by ``ack`` or by ``err``, in the cycle in which it moves or
    later. ``cyc`` is up until all are answered.
    """

    def __init__(self, address_bits: int, data_bits: int):
        super().__init__(
            {
                "cyc": Out(1),
                "stb": Out(1),
                "we": Out(1),
                "adr": Out(address_bits),
                "sel": Out(data_bits // 8),
                "dat_w": Out(data_bits),
                "stall": In(1),
                "ack": In(1),
                "err": In(1),
                "dat_r": In(data_bits),
            }
        )

    def create(self, *, path=None, src_loc_at=0) -> WishboneInterface:
        """Return the bus as the member of a component."""
        return WishboneInterface(self, path=path, src_loc_at=1 + src_loc_at)


class BlockMemory(Component):
    """Keys and values in block RAM.

    Parameters
    ----------
    config : MemoryConfig
        See there for ranges; ``outstanding`` at least 8 for a word a cycle.

    Members
    -------
    requests : In(stream.Signature(request_word(config)))
        Words to read and write, done in order.
    words : Out(stream.Signature(word_beat(config)))
        Those that were read, in order.
    failed : Out(1)
        A request for a word that does not exist was taken.

    Latency
        3 cycles.
    Throughput
        A request a cycle.
    Numerics
        None.
    Reference
        None.
    """

    requests: stream.Interface
    words: stream.Interface
    failed: Signal

    def __init__(self, config: MemoryConfig):
        self._config = config
        self.buffer = Buffer(config.data_bits, config.words)
        self.outlet = CreditFifo(word_beat(config), config.outstanding)
        super().__init__(
            {
                "requests": In(stream.Signature(request_word(config))),
                "words": Out(stream.Signature(word_beat(config))),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, request = self._config, self.requests.payload
        buffer, outlet = self.buffer, self.outlet
        m.submodules.buffer, m.submodules.outlet = buffer, outlet
        wiring.connect(m, outlet.o, wiring.flipped(self.words))
        taken = Signal()
        exists = Signal()
        under_way = Signal(_READ_LATENCY)
        missing = Signal(_READ_LATENCY)
        m.d.comb += [
            taken.eq(self.requests.valid & outlet.room),
            exists.eq(request.address < config.words),
            self.requests.ready.eq(outlet.room),
            self.failed.eq(taken & ~exists),
            buffer.write.eq(taken & exists & request.write),
            buffer.write_at.eq(request.address),
            buffer.write_data.eq(request.data),
            buffer.read_at.eq(request.address),
            outlet.start.eq(taken & ~request.write),
            outlet.write.eq(under_way[-1]),
            outlet.data.data.eq(Mux(missing[-1], 0, buffer.read_data)),
            outlet.data.failed.eq(missing[-1]),
        ]
        m.d.sync += [
            under_way.eq(Cat(outlet.start, under_way)),
            missing.eq(Cat(~exists, missing)),
        ]
        return m


class WishboneMemory(Component):
    """Keys and values in a memory behind Wishbone.

    Parameters
    ----------
    config : MemoryConfig
        See there for ranges.

    Members
    -------
    requests : In(stream.Signature(request_word(config)))
        Words to read and write, done in order.
    words : Out(stream.Signature(word_beat(config)))
        Those that were read, in order; what the bus answered with ``err`` has ``failed``.
    failed : Out(1)
        The bus answered a request with ``err``.
    wb : Out(Wishbone(address_bits, data_bits))
        The bus.

    Latency
        2 cycles from a request to the bus, 1 from its answer to ``words``.
    Throughput
        A request a cycle, if the bus takes and answers as many and ``outstanding`` covers its
        latency.
    Numerics
        None.
    Reference
        Wishbone B4, sections 3.1 and 5; pipelined mode.
    """

    requests: stream.Interface
    words: stream.Interface
    failed: Signal
    wb: WishboneInterface

    def __init__(self, config: MemoryConfig):
        self._config = config
        self.waiting = Queue(request_word(config).size, 2)
        self.kinds = Queue(1, config.outstanding)
        self.outlet = CreditFifo(word_beat(config), config.outstanding)
        super().__init__(
            {
                "requests": In(stream.Signature(request_word(config))),
                "words": Out(stream.Signature(word_beat(config))),
                "failed": Out(1),
                "wb": Out(Wishbone(config.address_bits, config.data_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, wb = self._config, self.wb
        waiting, kinds, outlet = self.waiting, self.kinds, self.outlet
        m.submodules.waiting, m.submodules.kinds, m.submodules.outlet = waiting, kinds, outlet
        wiring.connect(m, outlet.o, wiring.flipped(self.words))
        request = request_word(config)(waiting.data)
        go = Signal()
        answered = Signal()
        m.d.comb += [
            self.requests.ready.eq(waiting.level != 2),
            waiting.write.eq(self.requests.valid & self.requests.ready),
            waiting.write_data.eq(self.requests.payload),
            go.eq(
                waiting.valid
                & ~(wb.stb & wb.stall)
                & (kinds.level != config.outstanding)
                & (request.write | outlet.room)
            ),
            waiting.take.eq(go),
            kinds.write.eq(go),
            kinds.write_data.eq(request.write),
            outlet.start.eq(go & ~request.write),
            # Whoever is asked is remembered from the cycle in which the bus is first asked.
            wb.cyc.eq(kinds.valid),
            wb.sel.eq(~0),
            answered.eq(kinds.valid & (wb.ack | wb.err)),
            kinds.take.eq(answered),
            outlet.write.eq(answered & ~kinds.data),
            outlet.data.data.eq(Mux(wb.err, 0, wb.dat_r)),
            outlet.data.failed.eq(wb.err),
            self.failed.eq(answered & wb.err),
        ]
        with m.If(go):
            m.d.sync += [
                wb.stb.eq(1),
                wb.we.eq(request.write),
                wb.adr.eq(request.address),
                wb.dat_w.eq(request.data),
            ]
        with m.Elif(~wb.stall):
            m.d.sync += wb.stb.eq(0)
        return m
