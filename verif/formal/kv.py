"""Proofs for the cache controller, by induction unless they say otherwise, for any input.

Each part is proved with what its neighbours promise: the scorer finds only victims that may go, the
placer takes only such victims. So no sink and no protected token is ever evicted, and no slot has
two owners. Input vectors are counted right, and all streams keep their rules.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...hw.engine.credit_fifo import CreditFifo
from ...hw.kv.config import KvConfig
from ...hw.kv.controller import KvController
from ...hw.kv.evictor import Evictor
from ...hw.kv.placer import Placer
from ...hw.kv.reader import Reader
from ...hw.kv.registers import kv_registers
from ...hw.kv.scorer import Scorer
from ...hw.kv.words import Evict, policy_word
from .axi_lite import bank_tasks
from .kv_pager import pager_tasks
from .kv_refresh import refresh_tasks
from .properties import constant, stream_assert, stream_cover
from .reset import stream_task
from .runner import Task
from .statements import Assert, Assume, Cover

__all__ = ["CreditFifoSpec", "EvictorSpec", "PlacerSpec", "ScorerSpec", "stream_tasks", "tasks"]


def credit_fifo_invariant(m: Module, outlet: CreditFifo, under_way) -> None:
    """Assert that an outlet counts its places: free, under way or full; pointers agree."""
    queue: Any = outlet.queue
    depth = len(queue.put.addr)
    m.d.comb += [
        Assert(outlet.free + under_way + queue.level == 1 << depth),
        Assert(outlet.room == (outlet.free != 0)),
        Assert((queue.put.addr - queue.get.addr - queue.level)[:depth] == 0),
        Assert(queue.valid == (queue.level != 0)),
    ]


class CreditFifoSpec(wiring.Component):
    """An outlet never overflows, and its stream keeps the rules.

    Assumed: beats start where there is room, and each is written once.

    Members
    -------
    start, write : In(1)
        When.
    data : In(4)
        What.
    o : Out(stream.Signature(4))
        The stream.
    """

    start: Signal
    write: Signal
    data: Signal
    o: stream.Interface

    def __init__(self):
        super().__init__(
            {"start": In(1), "write": In(1), "data": In(4), "o": Out(stream.Signature(4))}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.outlet = outlet = CreditFifo(4, depth=4)
        wiring.connect(m, outlet.o, wiring.flipped(self.o))
        owed = Signal(4)
        m.d.comb += [
            outlet.start.eq(self.start),
            outlet.write.eq(self.write),
            outlet.data.eq(self.data),
            Assume(~self.start | outlet.room),
            Assume(~self.write | (owed != 0)),
        ]
        m.d.sync += owed.eq(owed + self.start - self.write)
        credit_fifo_invariant(m, outlet, owed)
        stream_assert(m, self.o)
        stream_cover(m, self.o, 3)
        return m


class EvictorSpec(wiring.Component):
    """The victim is no worse than any slot seen since the first, and of equal ones the first.

    Parameters
    ----------
    config : KvConfig
        Of the evictor.

    Members
    -------
    valid, first, kept : In(1)
        Any.
    score : In(score_bits)
        Any.
    slot, marked : In(slot_bits)
        Any, ``marked`` constant: what holds for it holds for all.
    """

    valid: Signal
    first: Signal
    kept: Signal
    score: Signal
    slot: Signal
    marked: Signal

    def __init__(self, config: KvConfig):
        self._config = config
        super().__init__(
            {"valid": In(1), "first": In(1), "kept": In(1), "score": In(config.score_bits),
             "slot": In(config.slot_bits), "marked": In(config.slot_bits)}
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.evictor = evictor = Evictor(config)
        for name in ("valid", "first", "kept", "score", "slot"):
            m.d.comb += getattr(evictor, name).eq(getattr(self, name))
        marked = constant(m, self.marked)
        seen, was_kept, score = Signal(), Signal(), Signal(config.score_bits)
        least, begun = evictor.least, Signal()
        with m.If(self.valid):
            m.d.sync += begun.eq(begun | self.first)
            with m.If(self.first):
                m.d.sync += seen.eq(0)
            with m.If(self.slot == marked):
                m.d.sync += [seen.eq(1), was_kept.eq(self.kept), score.eq(self.score)]
        # A slot comes once in a pass.
        m.d.comb += Assume(~(self.valid & ~self.first & seen & (self.slot == marked)))
        m.d.comb += Assume(begun | self.first | ~self.valid)
        with m.If(seen & ~was_kept):
            m.d.comb += Assert(evictor.found & (least <= score))
        with m.If(begun & (evictor.victim == marked)):
            m.d.comb += [Assert(seen), Assert(evictor.found == ~was_kept), Assert(least == score)]
        m.d.comb += Cover(evictor.found & seen & was_kept & begun)
        return m


class ScorerSpec(wiring.Component):
    """A victim that the scorer finds may be evicted, and is one of the head's slots.

    Assumed: policy and position do not change, nor the tokens, while the scorer works.

    Parameters
    ----------
    config : KvConfig
        Of the scorer; with one head.

    Members
    -------
    policy : In(policy_word())
        Any, constant.
    position, marked_position : In(position_bits)
        Any, constant.
    marked : In(slot_bits)
        Any, constant: the slot of ``marked_position``.
    count : In(range(slots + 1))
        Any, constant, at least 1.
    load, choose, search : In(1)
        Any.
    other : In(position_bits)
        Positions of other slots.
    score : In(score_bits)
        Any.
    weights : In(stream.Signature(weight_bits))
        Any.
    """

    policy: data.View
    position: Signal
    marked_position: Signal
    marked: Signal
    count: Signal
    load: Signal
    choose: Signal
    search: Signal
    other: Signal
    score: Signal
    weights: stream.Interface

    def __init__(self, config: KvConfig):
        self._config = config
        position = In(config.position_bits)
        super().__init__(
            {
                "policy": In(policy_word()),
                "position": position,
                "marked_position": position,
                "marked": In(config.slot_bits),
                "count": In(range(config.slots + 1)),
                "load": In(1),
                "choose": In(1),
                "search": In(1),
                "other": position,
                "score": In(config.score_bits),
                "weights": In(stream.Signature(config.weight_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.scorer = scorer = Scorer(config)
        wiring.connect(m, wiring.flipped(self.weights), scorer.weights)
        policy = Signal(policy_word())
        m.d.comb += policy.eq(self.policy)
        constant(m, self.policy.as_value())
        for name in ("position", "marked_position", "marked", "count"):
            constant(m, getattr(self, name))
        at = Signal(2 * config.slot_bits)
        m.d.sync += at.eq((at << config.slot_bits) | scorer.check_at)
        m.d.comb += [
            scorer.policy.eq(policy),
            scorer.position.eq(self.position),
            scorer.load.eq(self.load),
            scorer.choose.eq(self.choose),
            scorer.search.eq(self.search),
            scorer.count.eq(self.count),
            scorer.score.eq(self.score),
            scorer.checked.position.eq(
                Mux(at[config.slot_bits :] == self.marked, self.marked_position, self.other)
            ),
            Assume((self.count != 0) & (self.count <= config.slots)),
            Assume(~self.load | scorer.ready),
        ]
        # What follows from policy and position stands a few cycles after reset.
        settled = Signal(range(4))
        m.d.sync += settled.eq(Mux(settled == 3, 3, settled + 1))
        m.d.comb += Assume((settled == 3) | ~self.load)
        position = self.marked_position
        kept = (position < policy.sinks) | (position + policy.window > self.position)
        m.d.comb += [
            Assert((scorer.left == 0) | (scorer.slot + scorer.left == self.count)),
            Assert(~scorer.found | (scorer.victim < self.count)),
            Assert(~scorer.found | (scorer.victim != self.marked) | ~kept),
        ]
        with m.If(scorer.done & scorer.found):
            m.d.comb += [
                Cover((scorer.victim == self.marked) & (policy.window == 2) & (policy.sinks == 1)),
            ]
        return m


class PlacerSpec(wiring.Component):
    """No slot has two owners, none that is pinned or protected is evicted, used slots are counted.

    Assumed, as the core and the scorer promise: one token after another, refused where the core
    refuses; victims that may go; a policy that can be followed.

    Parameters
    ----------
    config : KvConfig
        Of the placer; with one head.

    Members
    -------
    policy : In(policy_word())
        Any; counts with ``clear``.
    clear, go, refuse, keep : In(1)
        Any.
    victim_write : In(1)
        Any.
    victim : In(slot_bits)
        Any that may go.
    """

    policy: data.View
    clear: Signal
    go: Signal
    refuse: Signal
    keep: Signal
    victim_write: Signal
    victim: Signal

    def __init__(self, config: KvConfig):
        self._config = config
        super().__init__(
            {"policy": In(policy_word()), "clear": In(1), "go": In(1), "refuse": In(1),
             "keep": In(1), "victim_write": In(1), "victim": In(config.slot_bits)}
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.placer = placer = Placer(config)
        policy, begun = Signal(policy_word()), Signal()
        position = Signal(config.position_bits)
        with m.If(self.clear):
            m.d.sync += [policy.eq(self.policy), begun.eq(1), position.eq(0)]
        with m.If(self.go & ~self.refuse):
            m.d.sync += position.eq(position + 1)
        rows = [Signal(config.position_bits, name=f"row_{i}") for i in range(config.slots)]
        used = Signal(config.slots)
        evictable = Array(
            (row >= policy.sinks)
            & ((policy.evict == Evict.OLDEST) | (row + policy.window <= position))
            for row in rows
        )
        self._assume(m, placer, policy, begun, position, used, evictable)
        read = Signal(config.position_bits)
        m.d.sync += [read.eq(Array(rows)[placer.check_at]), placer.checked.position.eq(read)]
        gone = Array(rows)[placer.write_at]
        placed = placer.write_token.position
        with m.If(placer.write):
            m.d.sync += used.bit_select(placer.write_at, 1).eq(1)
            for i, row in enumerate(rows):
                with m.If(placer.write_at == i):
                    m.d.sync += row.eq(placed)
            m.d.comb += [
                Assert(placer.write_at < policy.budget),
                Assert(used.bit_select(placer.write_at, 1) == placer.evicted),
                Assert(~placer.evicted | (policy.evict != Evict.NEVER)),
                Assert(~placer.evicted | (gone >= policy.sinks)),
                Assert(~placer.evicted | (policy.evict != Evict.SCORE)
                       | (gone + policy.window <= placed)),
                Cover(placer.evicted & (policy.sinks == 1)),
            ]  # fmt: skip
        with m.If(self.clear):
            m.d.sync += used.eq(0)
        self._invariants(m, placer, policy, begun, position, rows, used, evictable)
        return m

    def _assume(self, m, placer, policy, begun, position, used, evictable):
        wanted = self.policy
        room = wanted.budget - wanted.sinks
        never = policy.evict == Evict.NEVER
        by_score = policy.evict == Evict.SCORE
        full = placer.full[0]
        m.d.comb += [
            placer.policy.eq(policy), placer.clear.eq(self.clear), placer.go.eq(self.go),
            placer.refuse.eq(self.refuse), placer.keep.eq(self.keep),
            placer.token.position.eq(position), placer.victim_write.eq(self.victim_write),
            placer.victim.eq(self.victim), placer.victim_found.eq(1), placer.places.ready.eq(1),
            Assume(~self.clear | ((wanted.budget != 0) & (wanted.budget <= self._config.slots))),
            Assume(~self.clear | (wanted.evict != Evict.OLDEST) | (room > 0)),
            Assume(~self.clear | (wanted.evict != Evict.SCORE)
                   | ((room > 0) & (room >= wanted.window))),
            Assume(~self.clear | (wanted.evict != 3)),
            Assume((self.clear + self.go + self.victim_write) <= 1),
            Assume(~placer.busy | ~(self.clear | self.go | self.victim_write)),
            Assume(begun | ~(self.go | self.victim_write)),
            Assume(~self.go | self.refuse | ~self.keep | ~full | ~never),
            Assume(~self.go | self.refuse | ~self.keep | ~full | ~by_score | placer.known[0]),
            Assume(~self.go | self.refuse | (position != self._config.most_tokens)),
            Assume(~self.victim_write | used.bit_select(self.victim, 1)),
            Assume(~self.victim_write | Array(evictable)[self.victim]),
        ]  # fmt: skip

    def _invariants(self, m, placer, policy, begun, position, rows, used, evictable):
        """State between two tokens, and the outlet's always."""
        config = self._config
        look, victim = (
            memory.read_port(domain="comb") for memory in (placer.heads, placer.victims)
        )
        m.d.comb += [look.addr.eq(0), victim.addr.eq(0)]
        head = look.data
        full, known = placer.full[0], placer.known[0]
        room = policy.budget - policy.sinks
        started, starts = Signal(4), placer.outlet.start
        m.d.sync += started.eq((started << 1) | starts)
        credit_fifo_invariant(m, placer.outlet, sum(started))
        with m.If(begun):
            m.d.comb += [
                Assert((policy.budget != 0) & (policy.budget <= config.slots)),
                Assert((policy.evict == Evict.NEVER) | (room > 0)),
                Assert((policy.evict != Evict.SCORE) | (room >= policy.window)),
                Assert(policy.evict != 3),
            ]
        with m.If(~placer.busy & ~begun):
            m.d.comb += [Assert(used == 0), Assert(~full & ~known)]
        with m.If(~placer.busy & begun):
            oldest = policy.evict == Evict.OLDEST
            m.d.comb += [
                Assert(head.fill <= policy.budget),
                Assert(used == ((Const(1, 1) << head.fill) - 1)[: config.slots]),
                Assert(sum(used) == head.fill),
                Assert(full == (head.fill == policy.budget)),
                Assert((head.pinned <= head.fill) & (head.fill <= position)),
                Assert((head.pinned == head.fill) | (position > policy.sinks)),
                Assert(~full | ~oldest | (head.next < policy.budget)),
                Assert(~full | ~oldest | (head.next >= head.pinned)),
                Assert(head.pinned <= policy.sinks),
                Assert(full | (head.next == head.fill) | (head.fill == 0)),
                # What is known of a head that is not full is forgotten when it fills up.
                Assert(~(full & known) | Array(evictable)[victim.data]),
                Assert(~(full & known) | used.bit_select(victim.data, 1)),
            ]
            for i, row in enumerate(rows):
                m.d.comb += [
                    Assert(~used[i] | (row < position)),
                    Assert(~oldest | ~used[i] | (i >= head.pinned) | (row < policy.sinks)),
                    Assert(~oldest | ~used[i] | (i < head.pinned) | (row >= policy.sinks)),
                ]


def stream_tasks() -> list[Task]:
    """Return that the streams keep the rules; that it never hangs, where nothing is recomputed."""
    sizes = {"heads": 1, "slots": 2, "score_bits": 2, "weight_bits": 2, "position_bits": 4}
    pages = {"refresh_slack": 2, "sequences": 2, "blocks": 2, "block_tokens": 2, "table_blocks": 2}
    plain = KvConfig(**sizes | {"weight_bits": 1})
    small, paged = KvConfig(**sizes, inputs=2), KvConfig(**sizes, inputs=2, **pages)
    return [
        stream_task("plain", partial(KvController, plain), 40, bits=0),
        stream_task("small", partial(KvController, small)),
        stream_task("paged", partial(KvController, paged)),
    ]


def tasks() -> list[Task]:
    """Return what is to be proved."""
    one = KvConfig(heads=1, slots=3, score_bits=2, weight_bits=2, position_bits=4)
    specs: dict[str, tuple[Callable[[], wiring.Component], int, int]] = {
        "credit_fifo": (CreditFifoSpec, 3, 12),
        "evictor": (partial(EvictorSpec, one), 3, 6),
        "scorer": (partial(ScorerSpec, one), 9, 16),
        "placer": (partial(PlacerSpec, one), 10, 40),
    }
    found = []
    for name, (spec, step, reach) in specs.items():
        found.append(Task(name, spec, step, "prove"))
        found.append(Task(f"{name}_cover", spec, reach, "cover"))
    found.append(stream_task("reader", partial(Reader, one)))
    paged = KvConfig(sequences=2, blocks=2, refresh_slack=2)
    return found + pager_tasks() + refresh_tasks() + bank_tasks(kv_registers(paged))
