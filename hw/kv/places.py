"""Places that several holders share: given out, counted, and taken back."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from ..lib.component import Component

__all__ = ["Places"]


class Places(Component):
    """Gives out places, counts the holders of each, and takes back those that have none.

    Places come from a counter until each has been out once, then from a queue of those that came
    back. So nothing has to walk over them to begin.

    Parameters
    ----------
    places : int
        How many, at least 1.
    most : int
        Most holders of one.

    Members
    -------
    clear : In(1)
        All places are free.
    room : Out(1)
        One is free.
    place : Out(range(places))
        It.
    take : In(1)
        It is taken, in a cycle with ``room``.
    holders : In(range(most + 1))
        By so many, at least 1.
    at : In(range(places))
        A place.
    count : Out(range(most + 1))
        Its holders; of a place that was never taken since ``clear``, any number.
    view_at : In(range(places))
        Another place.
    view_count : Out(range(most + 1))
        Its holders, as ``count``.
    fresh : Out(range(places + 1))
        Places that were out at least once since ``clear``.
    level : Out(range(places + 1))
        Places that came back and were not taken again.
    hold : In(1)
        It gets one more; not in a cycle with ``take`` or ``drop``.
    drop : In(1)
        It loses one, in a cycle in which it has some and without ``take``.

    Latency
        ``room``, ``place`` and counts follow a cycle later.
    Throughput
        One place a cycle.
    Numerics
        None.
    Reference
        None.
    """

    clear: Signal
    room: Signal
    place: Signal
    take: Signal
    holders: Signal
    at: Signal
    count: Signal
    view_at: Signal
    view_count: Signal
    fresh: Signal
    level: Signal
    hold: Signal
    drop: Signal

    def __init__(self, places: int, most: int):
        self.size = places
        place = max(1, (places - 1).bit_length())
        self.counts: memory.Memory = memory.Memory(shape=range(most + 1), depth=places, init=[])
        self.returned: memory.Memory = memory.Memory(shape=place, depth=places, init=[])
        self.put = self.returned.write_port()
        self.get = self.returned.read_port(domain="comb")
        super().__init__(
            {
                "clear": In(1),
                "room": Out(1),
                "place": Out(place),
                "take": In(1),
                "holders": In(range(most + 1)),
                "at": In(place),
                "count": Out(range(most + 1)),
                "view_at": In(place),
                "view_count": Out(range(most + 1)),
                "fresh": Out(range(places + 1)),
                "level": Out(range(places + 1)),
                "hold": In(1),
                "drop": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.counts, m.submodules.returned = self.counts, self.returned
        write = self.counts.write_port()
        read = self.counts.read_port(domain="comb")
        view = self.counts.read_port(domain="comb")
        put, get, fresh, level = self.put, self.get, self.fresh, self.level
        unused = Signal()
        m.d.comb += [
            unused.eq(fresh != self.size),
            self.room.eq(unused | (level != 0)),
            self.place.eq(Mux(unused, fresh, get.data)),
            read.addr.eq(self.at),
            self.count.eq(read.data),
            view.addr.eq(self.view_at),
            self.view_count.eq(view.data),
            write.en.eq(self.take | self.hold | self.drop),
            write.addr.eq(Mux(self.take, self.place, self.at)),
            write.data.eq(
                Mux(self.take, self.holders, Mux(self.hold, read.data + 1, read.data - 1))
            ),
            put.en.eq(self.drop & (self.count == 1)),
            put.data.eq(self.at),
        ]

        def following(address):
            return Mux(address == self.size - 1, 0, address + 1)

        with m.If(self.take & unused):
            m.d.sync += fresh.eq(fresh + 1)
        with m.If(self.take & ~unused):
            m.d.sync += get.addr.eq(following(get.addr))
        with m.If(put.en):
            m.d.sync += put.addr.eq(following(put.addr))
        m.d.sync += level.eq(level + put.en - (self.take & ~unused))
        with m.If(self.clear):
            m.d.sync += [fresh.eq(0), level.eq(0), get.addr.eq(0), put.addr.eq(0)]
        return m
