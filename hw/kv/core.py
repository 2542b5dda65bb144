"""The cache controller without its memories and registers: commands to reader, scorer, placer."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..lib.component import Component
from .config import KvConfig
from .inputs import InputStore
from .placer import Placer
from .reader import Reader
from .scorer import Scorer
from .store import StoreBus, StoreInterface
from .words import Evict, Op, command_word, place_beat, policy_word, recall_beat, token_beat

__all__ = ["STATUS", "KvCore"]

STATUS = data.StructLayout(
    {
        "busy": 1,
        "bad_command": 1,
        "bad_policy": 1,
        "no_room": 1,
        "too_long": 1,
        "no_tokens": 1,
        "placed": 1,
        "evicted": 1,
        "searching": 1,
    }
)
"""What the registers show: ``busy``, and events, each a cycle long."""


class KvCore(Component):
    """Takes commands in order, and lets those run side by side that do not meet.

    READ and SCORE begin as soon as reader and scorer are free, so that one head's tokens are read
    while another's are scored. PLACE, START and RECALL wait until all is still. A PLACE in a full
    head whose victim is not known searches for it first.

    Parameters
    ----------
    config : KvConfig
        See there for ranges.

    Members
    -------
    commands : In(stream.Signature(command_word(config)))
        As `KvController`.
    weights : In(stream.Signature(weight_bits))
        As `KvController`.
    tokens : Out(stream.Signature(token_beat(config)))
        As `KvController`.
    places : Out(stream.Signature(place_beat(config)))
        As `KvController`.
    store : Out(StoreBus(config))
        The slot memories.
    position : Out(position_bits)
        Of the next token.
    threshold : Out(16)
        Of the policy: from here on scores are high.
    status : Out(STATUS)
        What happens.

    Latency
        As `KvController`.
    Throughput
        As `KvController`.
    Numerics
        As `Scorer`.
    Reference
        As `KvController`.
    """

    commands: stream.Interface
    weights: stream.Interface
    tokens: stream.Interface
    places: stream.Interface
    store: StoreInterface
    position: Signal
    threshold: Signal
    status: data.View
    recalls: stream.Interface

    def __init__(self, config: KvConfig):
        self._config = config
        self.placer, self.scorer, self.reader = Placer(config), Scorer(config), Reader(config)
        self.inputs = InputStore(config) if config.inputs else None
        members = {
            "commands": In(stream.Signature(command_word(config))),
            "weights": In(stream.Signature(config.weight_bits)),
            "tokens": Out(stream.Signature(token_beat(config))),
            "places": Out(stream.Signature(place_beat(config))),
            "store": Out(StoreBus(config)),
            "position": Out(config.position_bits),
            "threshold": Out(16),
            "status": Out(STATUS),
        }
        if config.inputs:
            members["recalls"] = Out(stream.Signature(recall_beat(config)))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        placer, scorer, reader = self.placer, self.scorer, self.reader
        m.submodules.placer, m.submodules.scorer = placer, scorer
        m.submodules.reader = reader
        wiring.connect(m, reader.tokens, wiring.flipped(self.tokens))
        wiring.connect(m, placer.places, wiring.flipped(self.places))
        wiring.connect(m, wiring.flipped(self.weights), scorer.weights)
        if self.inputs is not None:
            m.submodules.inputs = self.inputs
            wiring.connect(m, self.inputs.recalls, wiring.flipped(self.recalls))
            m.d.comb += [
                self.inputs.drop.eq(placer.drop),
                self.inputs.drop_at.eq(placer.drop_at),
                placer.freed.eq(self.inputs.freed),
                placer.token.has_input.eq(self.inputs.take),
                placer.token.input.eq(Mux(self.inputs.take, self.inputs.place, 0)),
            ]
        store = self.store
        m.d.comb += [
            store.find_at.eq(reader.find_at),
            reader.found.eq(store.found),
            store.check_at.eq(Mux(scorer.busy, scorer.check_at, placer.check_at)),
            scorer.checked.eq(store.checked),
            placer.checked.eq(store.checked),
            store.score_at.eq(scorer.score_at),
            scorer.score.eq(store.score),
            store.token_write.eq(placer.write),
            store.token_at.eq(placer.write_at),
            store.token.eq(placer.write_token),
            store.new_write.eq(placer.write | scorer.new_write),
            store.new_at.eq(Mux(placer.write, placer.write_at, scorer.new_at)),
            store.new_score.eq(Mux(placer.write, 0, scorer.new_score)),
            placer.victim_write.eq(scorer.done),
            placer.victim_head.eq(scorer.victim_head),
            placer.victim.eq(scorer.victim),
            placer.victim_found.eq(scorer.found),
            self.status.evicted.eq(placer.evicted),
        ]
        self._elaborate_commands(m)
        return m

    def _elaborate_commands(self, m):
        """Take a command, decode it, and give it to a unit that can take it."""
        config, status = self._config, self.status
        placer, scorer, reader = self.placer, self.scorer, self.reader
        command = Signal(command_word(config))
        policy = Signal(policy_word())
        count = Signal(range(config.slots + 1))
        known = Signal()
        judged = Signal(
            data.StructLayout(
                {"active": 1, "no_room": 1, "too_long": 1, "unknown": config.heads,
                 "by_input": 1, "holders": range(config.heads + 1)}
            )
        )  # fmt: skip
        still = Signal()
        recalling = 0 if self.inputs is None else self.inputs.busy
        m.d.comb += [
            still.eq(~(placer.busy | scorer.busy | reader.busy | recalling)),
            placer.policy.eq(policy),
            scorer.policy.eq(policy),
            scorer.position.eq(self.position),
            placer.look_at.eq(command.head),
            reader.head.eq(command.head),
            reader.count.eq(count),
            scorer.head.eq(command.head),
            scorer.count.eq(count),
            scorer.choose.eq(command.final),
            self.threshold.eq(policy.threshold),
            placer.refuse.eq(judged.no_room | judged.too_long),
            placer.keep.eq(command.keep),
            placer.token.position.eq(self.position),
            status.busy.eq(1),
        ]
        if self.inputs is not None:
            m.d.comb += self.inputs.holders.eq(judged.holders)
        bad = self._elaborate_policy(m, command.policy)
        with m.FSM():
            with m.State("Fetch"):
                m.d.comb += [self.commands.ready.eq(~placer.busy), status.busy.eq(~still)]
                m.d.sync += command.eq(self.commands.payload)
                with m.If(self.commands.valid & ~placer.busy):
                    m.next = "Decode"
            with m.State("Decode"):
                m.d.sync += [
                    count.eq(Mux(judged.active, placer.fill, 0)),
                    known.eq(command.head < config.heads),
                ]
                m.next = "Issue"
            with m.State("Issue"):
                self._elaborate_issue(m, command, count, known, still)
            with m.State("Begin"):
                self._elaborate_begin(m, command.policy, bad, policy, judged)
            with m.State("Weigh"):
                self._elaborate_weigh(m, command.keep, policy, judged)
            with m.State("Place"):
                self._elaborate_place(m, judged)
            with m.State("Search"):
                self._elaborate_search(m, policy, judged)
            with m.State("Wait"):
                m.d.comb += status.searching.eq(1)
                with m.If(~scorer.busy):
                    m.next = "Weigh"

    def _elaborate_issue(self, m, command, count, known, still):
        """Start a command, or leave it until it can start."""
        status = self.status
        with m.Switch(command.op):
            with m.Case(Op.READ):
                with m.If(~known):
                    m.d.comb += status.bad_command.eq(1)
                    m.next = "Fetch"
                with m.Elif(self.reader.ready):
                    m.d.comb += [self.reader.load.eq(1), status.no_tokens.eq(count == 0)]
                    m.next = "Fetch"
            with m.Case(Op.SCORE):
                with m.If(~known):
                    m.d.comb += status.bad_command.eq(1)
                    m.next = "Fetch"
                with m.Elif(count == 0):
                    m.d.comb += status.no_tokens.eq(1)
                    m.next = "Fetch"
                with m.Elif(self.scorer.ready):
                    m.d.comb += self.scorer.load.eq(1)
                    m.next = "Fetch"
            with m.Case(Op.PLACE):
                with m.If(still):
                    m.next = "Weigh"
            with m.Case(Op.START):
                with m.If(still):
                    m.next = "Begin"
            if self.inputs is not None:
                with m.Case(Op.RECALL):
                    with m.If(still):
                        m.d.comb += self.inputs.walk.eq(1)
                        m.next = "Fetch"
            with m.Default():
                m.d.comb += status.bad_command.eq(1)
                m.next = "Fetch"

    def _elaborate_policy(self, m, wanted):
        """Return whether a policy cannot be followed, a cycle after the command stands."""
        room = wanted.budget - wanted.sinks
        oldest, score = wanted.evict == Evict.OLDEST, wanted.evict == Evict.SCORE
        fits = (wanted.budget != 0) & (wanted.budget <= self._config.slots)
        enough = Mux(score, (room > 0) & (room >= wanted.window), ~oldest | (room > 0))
        bad = Signal()
        m.d.sync += bad.eq(~(fits & enough & (wanted.evict != 3)))
        return bad

    def _elaborate_begin(self, m, wanted, bad, policy, judged):
        """Begin a sequence; with a policy that cannot be followed, one that takes no tokens."""
        m.d.comb += [
            self.placer.clear.eq(1),
            self.status.bad_policy.eq(bad),
        ]
        m.d.sync += [policy.eq(wanted), judged.active.eq(~bad), self.position.eq(0)]
        if self.inputs is not None:
            m.d.comb += self.inputs.clear.eq(1)
        m.next = "Fetch"

    def _elaborate_weigh(self, m, keep, policy, judged):
        """Find out what a token meets."""
        placer = self.placer
        full = keep & placer.full
        by_score = policy.evict == Evict.SCORE
        m.d.sync += [
            judged.no_room.eq(~judged.active | (full.any() & (policy.evict == Evict.NEVER))),
            judged.too_long.eq(self.position == self._config.most_tokens),
            judged.unknown.eq(full & ~placer.known & by_score.replicate(len(keep))),
        ]
        if self.inputs is not None:
            count = sum(keep)
            m.d.sync += [
                judged.holders.eq(count),
                judged.by_input.eq(
                    self.inputs.room & (policy.theta != 0) & (count >= policy.theta)
                ),
            ]
        m.next = "Place"

    def _elaborate_place(self, m, judged):
        """Refuse a token, search for a victim, or place it."""
        placer, status = self.placer, self.status
        with m.If(judged.no_room | judged.too_long):
            m.d.comb += [
                placer.go.eq(1),
                status.no_room.eq(judged.no_room),
                status.too_long.eq(judged.too_long),
            ]
            m.next = "Fetch"
        with m.Elif(judged.unknown.any()):
            m.next = "Search"
        with m.Else():
            m.d.comb += [placer.go.eq(1), status.placed.eq(1)]
            m.d.sync += self.position.eq(self.position + 1)
            m.next = "Fetch"
            if self.inputs is not None:
                m.d.comb += self.inputs.take.eq(judged.by_input)

    def _elaborate_search(self, m, policy, judged):
        """Search a head without a known victim; full heads have as many tokens as the budget."""
        scorer = self.scorer
        lowest = Signal(self._config.head_bits)
        m.d.comb += lowest.eq(self._config.heads - 1)
        for head in reversed(range(self._config.heads - 1)):
            with m.If(judged.unknown[head]):
                m.d.comb += lowest.eq(head)
        m.d.comb += [
            scorer.head.eq(lowest),
            scorer.count.eq(policy.budget),
            scorer.search.eq(1),
            scorer.load.eq(1),
            self.status.searching.eq(1),
        ]
        m.next = "Wait"
