"""Places for input vectors that are kept in place of keys and values."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..engine.credit_fifo import CreditFifo
from ..lib.component import Component
from .config import KvConfig
from .places import Places
from .words import recall_beat

__all__ = ["InputStore"]


class InputStore(Component):
    """Gives out places for input vectors, and lists those that are kept; see `Places`.

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

    clear: Signal
    room: Signal
    place: Signal
    take: Signal
    holders: Signal
    drop: Signal
    drop_at: Signal
    freed: Signal
    walk: Signal
    busy: Signal
    recalls: stream.Interface

    def __init__(self, config: KvConfig):
        self._config = config
        self.places = Places(config.inputs, config.heads)
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
        m.submodules.places = places = self.places
        m.d.comb += [
            places.clear.eq(self.clear),
            self.room.eq(places.room),
            self.place.eq(places.place),
            places.take.eq(self.take),
            places.holders.eq(self.holders),
            places.drop.eq(self.drop),
            places.at.eq(self.drop_at),
            self.freed.eq(places.count == 1),
        ]
        self._elaborate_walk(m, places)
        return m

    def _elaborate_walk(self, m, places):
        """List places; each waits until the next is found, so that the last can say so."""
        config = self._config
        m.submodules.outlet = outlet = CreditFifo(recall_beat(config), depth=2)
        wiring.connect(m, outlet.o, wiring.flipped(self.recalls))
        found = Signal(config.input_bits, reset_less=True)
        waiting = Signal(reset_less=True)
        at = Signal(range(config.inputs + 1), reset_less=True)
        over = Signal()
        alive = Signal()
        m.d.comb += [
            places.view_at.eq(at),
            over.eq(at == places.fresh),
            alive.eq(~over & (places.view_count != 0)),
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
