"""The reader: the tokens of a head, one a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay
from ..engine.credit_fifo import CreditFifo
from ..lib.component import Component
from .config import KvConfig
from .store import STORE_LATENCY
from .words import token_beat, token_entry

__all__ = ["Reader"]


class Reader(Component):
    """Looks up the slots of a head in order and gives their tokens.

    Parameters
    ----------
    config : KvConfig
        See there for ranges.

    Members
    -------
    load : In(1)
        Begins a head, in a cycle with ``ready``.
    head : In(head_bits)
        Which.
    count : In(range(slots + 1))
        Its tokens; with 0, one beat says ``none``.
    ready : Out(1)
        The slots of the last head have all been asked for.
    busy : Out(1)
        Some lookup has not come back.
    find_at : Out(range(rows))
        Row to look up.
    found : In(token_entry(config))
        What is there, 2 cycles later.
    tokens : Out(stream.Signature(token_beat(config)))
        The tokens.

    Latency
        From ``load`` to the first token: 4 cycles.
    Throughput
        One token a cycle, from one head to the next too.
    Numerics
        None.
    Reference
        None.
    """

    load: Signal
    head: Signal
    count: Signal
    ready: Signal
    busy: Signal
    find_at: Signal
    found: data.View
    tokens: stream.Interface

    def __init__(self, config: KvConfig):
        self._config = config
        self.ask = Signal()
        super().__init__(
            {
                "load": In(1),
                "head": In(config.head_bits),
                "count": In(range(config.slots + 1)),
                "ready": Out(1),
                "busy": Out(1),
                "find_at": Out(range(config.rows)),
                "found": In(token_entry(config)),
                "tokens": Out(stream.Signature(token_beat(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.outlet = outlet = CreditFifo(token_beat(config))
        wiring.connect(m, outlet.o, wiring.flipped(self.tokens))
        active = Signal()
        none = Signal(reset_less=True)
        last = Signal()
        head = Signal(config.head_bits, reset_less=True)
        slot = Signal(config.slot_bits, reset_less=True)
        left = Signal(range(config.slots), reset_less=True)
        ask = self.ask
        m.d.comb += [
            ask.eq(active & outlet.room),
            last.eq(left == 0),
            self.ready.eq(~active | (ask & last)),
            outlet.start.eq(ask),
            self.find_at.eq(Cat(slot, head)),
        ]
        with m.If(ask):
            m.d.sync += [slot.eq(slot + 1), left.eq(left - 1), active.eq(~last)]
        with m.If(self.load):
            m.d.sync += [
                active.eq(1),
                none.eq(self.count == 0),
                head.eq(self.head),
                slot.eq(0),
                left.eq(self.count - (self.count != 0)),
            ]
        asked = Signal(
            data.StructLayout(
                {"head": config.head_bits, "slot": config.slot_bits, "none": 1, "last": 1}
            )
        )
        m.d.comb += [
            asked.head.eq(head),
            asked.slot.eq(slot),
            asked.none.eq(none),
            asked.last.eq(last),
        ]
        answered = data.View(asked.shape(), delay(m, asked.as_value(), STORE_LATENCY, "answered"))
        under_way = Signal(STORE_LATENCY)
        m.d.sync += under_way.eq(Cat(ask, under_way))
        m.d.comb += [outlet.write.eq(under_way[-1]), self.busy.eq(active | under_way.any())]
        for name in token_beat(config).members:
            if name in asked.shape().members:
                m.d.comb += outlet.data[name].eq(answered[name])
            else:
                m.d.comb += outlet.data[name].eq(Mux(answered.none, 0, self.found[name]))
        return m
