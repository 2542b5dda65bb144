"""Proofs for places and for the pager, by induction, for any input."""

from collections.abc import Callable
from functools import partial
from itertools import combinations, product

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...hw.kv.pager import PageOp, Pager, page_beat, page_command
from ...hw.kv.pager_config import STATUSES, PagerConfig
from ...hw.kv.places import Places
from .properties import stream_assert, stream_assume
from .runner import Task
from .statements import Assert, Assume, Cover

__all__ = ["PagerSpec", "PlacesSpec", "pager_tasks"]


def peek(m: Module, memory, row) -> Value:
    """Return what a row of a memory holds."""
    port = memory.read_port(domain="comb")
    m.d.comb += port.addr.eq(row)
    return port.data


def places_invariant(m: Module, store: Places) -> list[Value]:
    """Assert that free plus used is all and no place is given twice; return each one's holders."""
    size = store.size
    counts = [peek(m, store.counts, place) for place in range(size)]
    queue = [peek(m, store.returned, place) for place in range(size)]
    queued = []
    for place in range(size):
        at = Mux(store.get.addr > place, place + size - store.get.addr, place - store.get.addr)
        inside = Signal(name=f"queued_{place}")
        m.d.comb += inside.eq(at < store.level)
        queued.append(inside)
    holders = [Mux(place < store.fresh, counts[place], 0) for place in range(size)]
    used = [count != 0 for count in holders]
    total = store.get.addr + store.level
    m.d.comb += [
        Assert(sum(used) + store.level == store.fresh),
        Assert(store.fresh <= size),
        Assert(~store.room == (sum(used) == size)),
        Assert(~store.room | ~Array(used)[store.place]),
        Assert((store.put.addr < size) & (store.get.addr < size)),
        Assert(store.put.addr == Mux(total >= size, total - size, total)),
    ]
    for i in range(size):
        m.d.comb += [
            Assert(~queued[i] | ((queue[i] < store.fresh) & ~Array(used)[queue[i]])),
            *(Assert(~queued[i] | ~queued[j] | (queue[i] != queue[j])) for j in range(i)),
        ]
    return holders


class PlacesSpec(wiring.Component):
    """Free plus used is all, no place is given twice, no count goes below 0.

    Assumed: places are taken where there is room, and held and dropped by holders.

    Parameters
    ----------
    size : int
        Places.
    most : int
        Most holders.

    Members
    -------
    clear, take, hold, drop : In(1)
        Any, one at a time.
    holders : In(range(most + 1))
        Any, at least 1.
    at : In(range(size))
        Any place that is held.
    """

    clear: Signal
    take: Signal
    holders: Signal
    hold: Signal
    drop: Signal
    at: Signal

    def __init__(self, size: int, most: int):
        self._size, self._most = size, most
        super().__init__(
            {"clear": In(1), "take": In(1), "holders": In(range(most + 1)), "hold": In(1),
             "drop": In(1), "at": In(range(size))}
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        size = self._size
        m.submodules.places = store = Places(size, self._most)
        for name in ("clear", "take", "holders", "hold", "drop", "at"):
            m.d.comb += getattr(store, name).eq(getattr(self, name))
        used = [count != 0 for count in places_invariant(m, store)]
        m.d.comb += [
            Assume(~self.take | store.room),
            Assume((self.holders != 0) & (self.holders <= self._most)),
            Assume(self.take + self.hold + self.drop + self.clear <= 1),
            Assume(~(self.drop | self.hold) | ((self.at < size) & Array(used)[self.at])),
            Assume(~self.hold | (store.count < self._most)),
            Assert(~self.drop | (store.count != 0)),
            Cover((store.level == 2) & (sum(used) == 1)),
        ]
        return m


class PagerSpec(wiring.Component):
    """Tables and counts agree, what is written is its sequence's own, and refusals change nothing.

    A block has as many holders as sequences whose tables name it; no sequence names one twice. So
    none that somebody holds is given out or freed. A token goes to a block that no other sequence
    holds; a sequence changes by commands about it only.

    Parameters
    ----------
    config : PagerConfig
        Small.

    Members
    -------
    commands : In(stream.Signature(page_command(config)))
        Any.
    answers : Out(stream.Signature(page_beat(config)))
        With any pauses.
    """

    commands: stream.Interface
    answers: stream.Interface

    def __init__(self, config: PagerConfig):
        self._config = config
        super().__init__(
            {
                "commands": In(stream.Signature(page_command(config))),
                "answers": Out(stream.Signature(page_beat(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.pager = pager = Pager(config)
        wiring.connect(m, wiring.flipped(self.commands), pager.commands)
        wiring.connect(m, pager.answers, wiring.flipped(self.answers))
        stream_assume(m, self.commands)
        stream_assert(m, self.answers)
        places, command, now = pager.places, pager.command, pager.current
        op, bits = command.op, config.offset_bits
        acting = now["Entry"] | now["Act"]
        forks, frees = (acting & (op == kind) for kind in (PageOp.FORK, PageOp.FREE))
        sequences, rows = range(config.sequences), range(config.table_blocks)
        lengths = [Mux(pager.begun[s], peek(m, pager.lengths, s), Const(0)) for s in sequences]
        table = [[peek(m, pager.table, Cat(Const(k, config.logical_bits), s)) for k in rows]
                 for s in sequences]  # fmt: skip
        filled = [(length + config.block_tokens - 1) >> bits for length in lengths]

        owned = {}
        for s, k in product(sequences, rows):
            begun = (k < filled[s]) & ~(frees & (command.sequence == s) & (k < pager.block))
            copied = forks & (command.other == s) & (k < pager.block)
            owned[s, k] = Signal(name=f"owned_{s}_{k}")
            m.d.comb += owned[s, k].eq(begun | copied)
        holders = places_invariant(m, places)
        for block, count in enumerate(holders):
            names = [owned[s, k] & (table[s][k] == block) for s, k in owned]
            # Between copying a block and dropping it, the one who copied still counts.
            names.append(now["Drop"] & (pager.entry.data == block))
            m.d.comb += Assert(sum(names) == count)
        for s in sequences:
            m.d.comb += Assert(lengths[s] <= config.most_tokens)
            m.d.comb += [Assert(~owned[s, k] | (table[s][k] < config.blocks)) for k in rows]
            m.d.comb += [
                Assert(~owned[s, i] | ~owned[s, j] | (table[s][i] != table[s][j]))
                for i, j in combinations(rows, 2)
            ]
        self._elaborate_command(m, pager, Array(lengths), Array(filled))
        self._elaborate_table(m, pager, Array(Array(row) for row in table), owned, forks)
        self._elaborate_changes(m, pager, lengths, table, owned)
        return m

    def _elaborate_command(self, m, pager, lengths, filled):
        """Assert what holds of a command while it is carried out."""
        command, now, config = pager.command, pager.current, self._config
        op, length, bits = command.op, pager.length, config.offset_bits
        acting = now["Entry"] | now["Act"]
        answered = pager.answers.valid
        walks = (op == PageOp.LIST) | (op == PageOp.FORK) | (op == PageOp.FREE)
        fresh = length[:bits] == 0
        m.d.comb += [
            Assert(sum(now.values()) == 1),
            Assert(~(now["Length"] | now["Check"]) | ~answered),
            Assert(~acting | ~answered | (op == PageOp.LIST)),
            Assert(~now["Drop"] | (op == PageOp.APPEND)),
            Assert(~(now["Check"] | acting) | (length == lengths[command.sequence])),
            Assert(~(now["Check"] | acting) | (pager.other == lengths[command.other])),
            Assert(~acting | (op <= PageOp.FREE.value)),
            Assert(~acting | (op != PageOp.FORK) | (pager.other == 0)),
            Assert(~acting | ~walks | (pager.block < filled[command.sequence])),
            Assert(~acting | (op != PageOp.READ) | (command.position < length)),
            Assert(~acting | (op != PageOp.READ) | (pager.block == command.position >> bits)),
            Assert(~acting | (op != PageOp.APPEND) | (length < config.most_tokens)),
            Assert(~acting | (op != PageOp.APPEND) | (pager.block == length >> bits)),
            Assert(~acting | (op != PageOp.APPEND) | ~fresh | pager.places.room),
            Cover(answered & pager.answers.payload.copied),
        ]

    def _elaborate_table(self, m, pager, table, owned, forks):
        """Assert what holds of the entry that a command is at, and of a table being copied."""
        command, now, places = pager.command, pager.current, pager.places
        m.d.comb += [
            Assert(~now["Act"] | (pager.entry.data == table[command.sequence][pager.block])),
            Assert(~places.take | places.room),
            Assert(~places.hold | (places.count < self._config.sequences)),
            Assert(~places.drop | (places.count != 0)),
        ]
        for k in range(self._config.table_blocks):
            same = table[command.other][k] == table[command.sequence][k]
            m.d.comb += Assert(~forks | (k >= pager.block) | same)

    def _elaborate_changes(self, m, pager, lengths, table, owned):
        """Assert who may change, and where a token goes."""
        command, now = pager.command, pager.current
        op, answer = command.op, pager.answers.payload
        state = [Cat(lengths[s], *(Mux(owned[s, k], table[s][k], 0) for k in range(len(table[s]))))
                 for s in range(len(lengths))]  # fmt: skip
        begun, idle, target = Signal(), Signal(), Signal.like(command.sequence)
        m.d.sync += [
            begun.eq(1),
            target.eq(Mux(op == PageOp.FORK, command.other, command.sequence)),
            idle.eq(~now["Act"] | (op == PageOp.READ) | (op == PageOp.LIST)),
        ]
        appends = now["Act"] & (op == PageOp.APPEND)
        appended, owner = Signal(), Signal.like(command.sequence)
        m.d.sync += [appended.eq(appends), owner.eq(command.sequence)]
        for s, held in enumerate(state):
            before = Signal(len(held), name=f"before_{s}")
            m.d.sync += before.eq(held)
            m.d.comb += Assert(~begun | (held == before) | (~idle & (target == s)))
            refused = answer.status != STATUSES.index("done")
            m.d.comb += Assert(~appended | ~refused | (held == before))
            m.d.comb += [
                Assert(~appended | refused | (owner == s) | ~owned[s, k]
                       | (table[s][k] != answer.block))
                for k in range(len(table[s]))
            ]  # fmt: skip


def pager_tasks() -> list[Task]:
    """Return what is to be proved."""
    small = PagerConfig(sequences=2, blocks=3, block_tokens=2, table_blocks=2)
    specs: dict[str, tuple[Callable[[], wiring.Component], int, int]] = {
        "places": (partial(PlacesSpec, 3, 2), 3, 12),
        "pager": (partial(PagerSpec, small), 2, 30),
    }
    found = []
    for name, (spec, step, reach) in specs.items():
        found.append(Task(name, spec, step, "prove"))
        found.append(Task(f"{name}_cover", spec, reach, "cover"))
    return found
