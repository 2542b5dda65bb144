"""The placer: a slot in each head for a new token."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay
from ..engine.credit_fifo import CreditFifo
from ..lib.component import Component
from .config import KvConfig
from .words import Evict, place_beat, policy_word, token_entry

__all__ = ["Placer", "head_entry"]


def head_entry(config: KvConfig) -> data.StructLayout:
    """Return what is known of a head: its tokens, how many are sinks, the slot that follows."""
    count = range(config.slots + 1)
    return data.StructLayout({"fill": count, "pinned": count, "next": config.slot_bits})


class Placer(Component):
    """Gives a new token a slot in each head that keeps it: an empty one, or a victim's.

    It walks over the heads, one a cycle. Slots fill in order, so the number of a head's tokens says
    which slots are valid. The oldest token that is no sink is always in the slot that follows the
    one given last, around a ring that leaves the sinks out.

    Parameters
    ----------
    config : KvConfig
        See there for ranges.

    Members
    -------
    policy : In(policy_word())
        Constant while busy.
    clear : In(1)
        Empties all heads.
    go : In(1)
        A token is placed, in a cycle in which not ``busy``.
    refuse : In(1)
        With ``go``: nothing changes, one beat says so.
    keep : In(heads)
        With ``go``: the heads that keep it.
    token : In(token_entry(config))
        With ``go``: what it is.
    busy : Out(1)
        A walk is not over.
    look_at : In(head_bits)
        A head.
    fill : Out(range(slots + 1))
        Its tokens.
    full : Out(heads)
        Heads in which the budget is used.
    known : Out(heads)
        Heads whose victim is known.
    victim_write : In(1)
        A victim has been looked for, while not ``busy``.
    victim_head : In(head_bits)
        In this head.
    victim : In(slot_bits)
        It.
    victim_found : In(1)
        There is one.
    check_at : Out(range(rows))
        Row whose token is looked up.
    checked : In(token_entry(config))
        It, 2 cycles later.
    write : Out(1)
        A row is to be written, with a score of 0.
    write_at : Out(range(rows))
        Which.
    write_token : Out(token_entry(config))
        With what.
    drop : Out(1)
        A head drops a token with an input vector.
    drop_at : Out(input_bits)
        Where that is.
    freed : In(1)
        No other head keeps it.
    evicted : Out(1)
        A token is overwritten.
    places : Out(stream.Signature(place_beat(config)))
        What was done, a beat for each head.

    Latency
        From ``go`` to the first beat: 6 cycles.
    Throughput
        One head a cycle.
    Numerics
        None.
    Reference
        StreamingLLM, ICLR 2024: sinks and a rolling window; Kelle, MICRO 2025, section 4.1:
        overwriting in place.
    """

    policy: data.View
    clear: Signal
    go: Signal
    refuse: Signal
    keep: Signal
    token: data.View
    busy: Signal
    look_at: Signal
    fill: Signal
    full: Signal
    known: Signal
    victim_write: Signal
    victim_head: Signal
    victim: Signal
    victim_found: Signal
    check_at: Signal
    checked: data.View
    write: Signal
    write_at: Signal
    write_token: data.View
    drop: Signal
    drop_at: Signal
    freed: Signal
    evicted: Signal
    places: stream.Interface
    heads: memory.Memory
    victims: memory.Memory

    def __init__(self, config: KvConfig):
        self._config = config
        self.heads = memory.Memory(shape=head_entry(config), depth=config.heads, init=[])
        self.victims = memory.Memory(shape=config.slot_bits, depth=config.heads, init=[])
        self.outlet = CreditFifo(place_beat(config))
        self.looks = Signal()
        entry, row = token_entry(config), range(config.rows)
        super().__init__(
            {
                "policy": In(policy_word()),
                "clear": In(1),
                "go": In(1),
                "refuse": In(1),
                "keep": In(config.heads),
                "token": In(entry),
                "busy": Out(1),
                "look_at": In(config.head_bits),
                "fill": Out(range(config.slots + 1)),
                "full": Out(config.heads),
                "known": Out(config.heads),
                "victim_write": In(1),
                "victim_head": In(config.head_bits),
                "victim": In(config.slot_bits),
                "victim_found": In(1),
                "check_at": Out(row),
                "checked": In(entry),
                "write": Out(1),
                "write_at": Out(row),
                "write_token": Out(entry),
                "drop": Out(1),
                "drop_at": Out(config.input_bits),
                "freed": In(1),
                "evicted": Out(1),
                "places": Out(stream.Signature(place_beat(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.heads, m.submodules.victims = self.heads, self.victims
        m.submodules.outlet = outlet = self.outlet
        wiring.connect(m, outlet.o, wiring.flipped(self.places))
        look = self.heads.read_port(domain="comb")
        m.d.comb += [look.addr.eq(self.look_at), self.fill.eq(look.data.fill)]
        token = Signal(token_entry(config), reset_less=True)
        clearing = Signal()
        step = self._elaborate_walk(m, outlet, token, clearing)
        at, slot = self._elaborate_slot(m, step, token, clearing)
        # The row is read, and written when what was there is known.
        chosen = Signal(data.StructLayout({"step": step.shape(), "slot": config.slot_bits}))
        m.d.comb += [
            self.looks.eq(at.valid & at.full),
            chosen.step.eq(at),
            chosen.slot.eq(slot),
            self.check_at.eq(Cat(slot, at.head)),
        ]
        last = data.View(chosen.shape(), delay(m, chosen.as_value(), 2, "chosen"))
        under_way = Signal(4)
        m.d.sync += under_way.eq(Cat(step.valid, under_way))
        with m.If(under_way.any()):
            m.d.comb += self.busy.eq(1)
        done, beat, old = last.step, outlet.data, self.checked
        valid, gone = under_way[-1], last.step.full
        m.d.comb += self.evicted.eq(valid & gone)
        m.d.comb += [
            self.write.eq(valid & done.kept),
            self.write_at.eq(Cat(last.slot, done.head)),
            self.write_token.eq(token),
            outlet.write.eq(valid),
            beat.head.eq(done.head),
            beat.slot.eq(Mux(done.kept, last.slot, 0)),
            beat.kept.eq(done.kept),
            beat.evicted.eq(gone),
            beat.old.eq(Mux(gone, old.position, 0)),
            beat.refused.eq(done.refused),
            beat.last.eq(done.last),
        ]
        # Who refuses takes no place for an input.
        for name in token_entry(config).members:
            m.d.comb += beat[name].eq(token[name])
        with m.If(done.refused):
            m.d.comb += beat.position.eq(0)
        if config.inputs:
            m.d.comb += [
                self.drop_at.eq(old.input),
                self.drop.eq(valid & gone & old.has_input),
                beat.old_input.eq(Mux(self.drop, old.input, 0)),
                beat.freed.eq(self.drop & self.freed),
            ]
        return m

    def _elaborate_walk(self, m, outlet, token, clearing):
        """Walk over the heads; return the step that is made in this cycle."""
        config = self._config
        layout = data.StructLayout(
            {"valid": 1, "head": config.head_bits, "kept": 1, "full": 1, "refused": 1, "last": 1}
        )
        step = Signal(layout)
        active = Signal()
        refused = Signal(reset_less=True)
        head = Signal(config.head_bits, reset_less=True)
        keep = Signal(config.heads, reset_less=True)
        full = Signal(config.heads, reset_less=True)
        m.d.comb += [
            step.valid.eq(active & outlet.room),
            step.head.eq(head),
            step.kept.eq(keep[0]),
            step.full.eq(full[0]),
            step.refused.eq(refused),
            step.last.eq(refused | (head == config.heads - 1)),
            outlet.start.eq(step.valid),
            self.busy.eq(active | clearing),
        ]
        with m.If(step.valid | clearing):
            m.d.sync += [
                head.eq(head + 1),
                keep.eq(keep >> 1),
                full.eq(full >> 1),
            ]
            with m.If(step.last):
                m.d.sync += [active.eq(0), clearing.eq(0)]
        with m.If(self.go):
            kept = self.keep & (~self.refuse).replicate(config.heads)
            m.d.sync += [
                active.eq(1),
                refused.eq(self.refuse),
                token.eq(self.token),
                head.eq(0),
                keep.eq(kept),
                full.eq(kept & self.full),
                self.known.eq(self.known & ~kept),
            ]
        with m.If(self.clear):
            m.d.sync += [
                clearing.eq(1),
                refused.eq(0),
                head.eq(0),
                self.full.eq(0),
            ]
        return step

    def _elaborate_slot(self, m, step, token, clearing):
        """Choose a slot, a cycle and another after its step; return the step, and the slot."""
        config, policy = self._config, self.policy
        read = self.heads.read_port(domain="comb")
        write = self.heads.write_port()
        victim = self.victims.read_port(domain="comb")
        found = self.victims.write_port()
        m.d.comb += [
            read.addr.eq(step.head),
            victim.addr.eq(step.head),
            found.en.eq(self.victim_write),
            found.addr.eq(self.victim_head),
            found.data.eq(self.victim),
        ]
        with m.If(self.victim_write & self.victim_found):
            m.d.sync += self.known.bit_select(self.victim_head, 1).eq(1)
        head = Signal(head_entry(config), reset_less=True)
        given = Signal(config.slot_bits, reset_less=True)
        first = Signal.like(step)
        m.d.sync += [head.eq(read.data), given.eq(victim.data), first.eq(step)]
        slot = Mux(policy.evict == Evict.OLDEST, head.next, given)
        slot = Mux(first.full, slot, head.fill)
        pinned = Signal.like(head.pinned)
        after = Signal(head_entry(config), reset_less=True)
        ends = Signal()
        top = Signal(config.slot_bits, reset_less=True)
        m.d.sync += top.eq(policy.budget - 1)
        m.d.comb += [
            # The position of a token that finds its head full is beyond all sinks.
            pinned.eq(head.pinned + (token.position < policy.sinks)),
            ends.eq(slot == top),
        ]
        second = Signal.like(step)
        chosen = Signal(config.slot_bits, reset_less=True)
        m.d.sync += [
            second.eq(first),
            chosen.eq(slot),
            after.fill.eq(head.fill + ~first.full),
            after.pinned.eq(pinned),
            after.next.eq(Mux(ends, pinned, slot + 1)),
        ]
        used = second.valid & second.kept
        m.d.comb += [
            write.en.eq(clearing | used),
            write.addr.eq(Mux(clearing, step.head, second.head)),
            write.data.eq(Mux(clearing, 0, after.as_value())),
        ]
        # No policy has a budget of more tokens than there are slots.
        with m.If(used & (after.fill == policy.budget[: len(after.fill)])):
            m.d.sync += self.full.bit_select(second.head, 1).eq(1)
        return second, chosen
