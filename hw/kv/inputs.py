"""Places for input vectors that are kept in place of keys and values."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import KvConfig
from .outlet import Outlet
from .words import recall_beat

__all__ = ["InputStore"]


class InputStore(wiring.Component):
    """Gives out places, counts the heads that keep each, and takes back those that none does.

    Places come from a counter until each has been out once, then from a queue of those that came
    back. So a new sequence needs no walk over them.

    Parameters
    ----------
    config : KvConfig
        See there for ranges; ``inputs`` at least 1.

    Members
    -------
    clear : In(1)
        All places are free.
    room : Out(1)
        One is free.
    place : Out(input_bits)
        It.
    take : In(1)
        It is taken, in a cycle with ``room``.
    holders : In(range(heads + 1))
        By so many heads, at least 1.
    drop : In(1)
        A head no longer keeps a place.
    drop_at : In(input_bits)
        Which.
    freed : Out(1)
        That was the last that did.
    walk : In(1)
        Lists the places that are taken, in a cycle in which not ``busy``; nothing is taken or
        dropped meanwhile.
    busy : Out(1)
        The list is not complete.
    recalls : Out(stream.Signature(recall_beat(config)))
        The list, in the order of places; if it is empty, one beat says ``none``.

    Latency
        ``room`` and ``place`` follow a cycle later.
    Throughput
        One place taken or dropped a cycle; a walk takes a cycle a place.
    Numerics
        None.
    Reference
        Kelle, MICRO 2025, section 4.1.2; where the vectors are kept is left open there.
    """

    def __init__(self, config: KvConfig):
        self._config = config
        self.counts = memory.Memory(shape=range(config.heads + 1), depth=config.inputs, init=[])
        self.returned = memory.Memory(shape=config.input_bits, depth=config.inputs, init=[])
        self.put, self.get = self.returned.write_port(), self.returned.read_port(domain="comb")
        self.fresh = Signal(range(config.inputs + 1))
        self.level = Signal(range(config.inputs + 1))
        super().__init__(
            {
                "clear": In(1),
                "room": Out(1),
                "place": Out(config.input_bits),
                "take": In(1),
                "holders": In(range(config.heads + 1)),
                "drop": In(1),
                "drop_at": In(config.input_bits),
                "freed": Out(1),
                "walk": In(1),
                "busy": Out(1),
                "recalls": Out(stream.Signature(recall_beat(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.counts = self.counts
        write, read = self.counts.write_port(), self.counts.read_port(domain="comb")
        m.submodules.returned = self.returned
        put, get, fresh, level = self.put, self.get, self.fresh, self.level
        unused = Signal()
        m.d.comb += [
            unused.eq(fresh != config.inputs),
            self.room.eq(unused | (level != 0)),
            self.place.eq(Mux(unused, fresh, get.data)),
            read.addr.eq(self.drop_at),
            self.freed.eq(read.data == 1),
            write.en.eq(self.take | self.drop),
            write.addr.eq(Mux(self.take, self.place, self.drop_at)),
            write.data.eq(Mux(self.take, self.holders, read.data - 1)),
            put.en.eq(self.drop & self.freed),
            put.data.eq(self.drop_at),
        ]

        def following(address):
            return Mux(address == config.inputs - 1, 0, address + 1)

        with m.If(self.take & unused):
            m.d.sync += fresh.eq(fresh + 1)
        with m.If(self.take & ~unused):
            m.d.sync += [get.addr.eq(following(get.addr)), level.eq(level - 1)]
        with m.If(put.en):
            m.d.sync += [put.addr.eq(following(put.addr)), level.eq(level + 1)]
        with m.If(self.clear):
            m.d.sync += [fresh.eq(0), level.eq(0), get.addr.eq(0), put.addr.eq(0)]
        self._elaborate_walk(m, fresh)
        return m

    def _elaborate_walk(self, m, fresh):
        """List places; each waits until the next is found, so that the last can say so."""
        config = self._config
        m.submodules.outlet = outlet = Outlet(recall_beat(config), depth=2)
        wiring.connect(m, outlet.o, wiring.flipped(self.recalls))
        look = self.counts.read_port(domain="comb")
        found, waiting = Signal(config.input_bits), Signal()
        at = Signal(range(config.inputs + 1))
        over, alive = Signal(), Signal()
        m.d.comb += [
            look.addr.eq(at),
            over.eq(at == fresh),
            alive.eq(~over & (look.data != 0)),
            outlet.data.input.eq(Mux(waiting, found, 0)),
            outlet.data.none.eq(~waiting),
            outlet.data.last.eq(over),
            outlet.start.eq(outlet.write),
        ]
        with m.If(self.busy & outlet.room):
            m.d.comb += outlet.write.eq(over | (alive & waiting))
            m.d.sync += at.eq(at + 1)
            with m.If(alive):
                m.d.sync += [found.eq(at), waiting.eq(1)]
            with m.If(over):
                m.d.sync += self.busy.eq(0)
        with m.Elif(self.walk):
            m.d.sync += [self.busy.eq(1), at.eq(0), waiting.eq(0)]
