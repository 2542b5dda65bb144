"""The scorer: a pass over a head's slots that adds weights to scores and finds a victim."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay
from ..lib.component import Component
from .config import KvConfig
from .evictor import Evictor
from .words import policy_word, token_entry

__all__ = ["SCORE_LATENCY", "Scorer"]

SCORE_LATENCY = 4
"""Cycles from a slot's weight to its new score in memory."""


class Scorer(Component):
    """Adds a weight to the score of each slot of a head, and finds which slot to give up.

    A slot's score is read, perhaps halved, raised, saturated and written back in a pipeline, beside
    which the `Evictor` keeps the lowest. A pass takes at least ``SCORE_LATENCY + 1`` cycles, so
    that the next finds its scores.

    Parameters
    ----------
    config : KvConfig
        See there for ranges.

    Members
    -------
    policy : In(policy_word())
        Constant while busy.
    position : In(position_bits)
        Of the next token; constant while busy and for 2 cycles before.
    load : In(1)
        Begins a pass, in a cycle with ``ready``.
    head : In(head_bits)
        Over which head.
    count : In(range(slots + 1))
        Its tokens, at least 1.
    choose : In(1)
        It finds a victim, and halves scores where the policy says so.
    search : In(1)
        Takes no weights and changes nothing.
    ready : Out(1)
        A pass may begin.
    busy : Out(1)
        A pass is not over.
    weights : In(stream.Signature(weight_bits))
        One for each token, in the order of slots.
    check_at : Out(range(rows))
        Row whose token is looked up.
    checked : In(token_entry(config))
        It, 2 cycles later.
    score_at : Out(range(rows))
        Row whose score is looked up.
    score : In(score_bits)
        It, 2 cycles later.
    new_write : Out(1)
        A new score is to be written.
    new_at : Out(range(rows))
        Its row.
    new_score : Out(score_bits)
        It.
    done : Out(1)
        A pass that chooses or a search has found its victim.
    victim_head : Out(head_bits)
        Whose.
    victim : Out(slot_bits)
        Slot to give up.
    found : Out(1)
        There is one.

    Latency
        From the last weight to ``done``: ``SCORE_LATENCY + 1`` cycles.
    Throughput
        One slot a cycle, from one pass to the next too.
    Numerics
        Weight and dither are added exactly, shifted right, and added to the score, which saturates.
    Reference
        Kelle, MICRO 2025, sections 4.1 and 5; there 4-bit scores take weights before the softmax.
        Shift, dither, halving and saturation are ours.
    """

    policy: data.View
    position: Signal
    load: Signal
    head: Signal
    count: Signal
    choose: Signal
    search: Signal
    ready: Signal
    busy: Signal
    weights: stream.Interface
    check_at: Signal
    checked: data.View
    score_at: Signal
    score: Signal
    new_write: Signal
    new_at: Signal
    new_score: Signal
    done: Signal
    victim_head: Signal
    victim: Signal
    found: Signal

    def __init__(self, config: KvConfig):
        self._config = config
        self.evictor = Evictor(config)
        self.slot = Signal(config.slot_bits)
        self.left = Signal(range(config.slots + 1))
        self.looks = Signal()
        row = range(config.rows)
        super().__init__(
            {
                "policy": In(policy_word()),
                "position": In(config.position_bits),
                "load": In(1),
                "head": In(config.head_bits),
                "count": In(range(config.slots + 1)),
                "choose": In(1),
                "search": In(1),
                "ready": Out(1),
                "busy": Out(1),
                "weights": In(stream.Signature(config.weight_bits)),
                "check_at": Out(row),
                "checked": In(token_entry(config)),
                "score_at": Out(row),
                "score": In(config.score_bits),
                "new_write": Out(1),
                "new_at": Out(row),
                "new_score": Out(config.score_bits),
                "done": Out(1),
                "victim_head": Out(config.head_bits),
                "victim": Out(config.slot_bits),
                "found": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        step = self._elaborate_walk(m)
        m.d.comb += self.looks.eq(step.valid)
        dither, halve, newest = self._elaborate_rules(m)
        valid = Signal(SCORE_LATENCY + 1)
        m.d.sync += valid.eq(Cat(step.valid, valid))
        at = [step.as_value()]
        for cycle in range(1, SCORE_LATENCY + 2):
            at.append(delay(m, at[-1], 1, f"step_{cycle}"))
        steps = [data.View(step.shape(), value) for value in at]
        # Cycle 1: the raised weight; cycle 2: what it adds, beside what the memories give.
        raised = Signal(config.weight_bits + 1, reset_less=True)
        gain = Signal(config.weight_bits + 1, reset_less=True)
        m.d.sync += [
            raised.eq(Mux(step.search, 0, self.weights.payload + dither)),
            gain.eq(raised >> self.policy.shift),
        ]
        old = Mux(halve & steps[2].halve, self.score >> 1, self.score)
        total = Signal(max(config.score_bits, config.weight_bits + 1) + 1, reset_less=True)
        kept = Signal(reset_less=True)
        position = self.checked.position
        m.d.sync += [
            total.eq(old + gain),
            kept.eq((position < self.policy.sinks) | (position > newest)),
        ]
        over = total[config.score_bits :].any()
        m.d.sync += self.new_score.eq(Mux(over, config.score_max, total[: config.score_bits]))
        still_kept = Signal(reset_less=True)
        m.d.sync += still_kept.eq(kept)
        m.submodules.evictor = evictor = self.evictor
        now = steps[SCORE_LATENCY]
        m.d.comb += [
            self.new_write.eq(valid[SCORE_LATENCY - 1] & ~now.search),
            self.new_at.eq(Cat(now.slot, now.head)),
            evictor.valid.eq(valid[SCORE_LATENCY - 1]),
            evictor.first.eq(now.slot == 0),
            evictor.kept.eq(still_kept),
            evictor.score.eq(self.new_score),
            evictor.slot.eq(now.slot),
            self.done.eq(valid[-1] & steps[-1].last & steps[-1].choose),
            self.victim_head.eq(steps[-1].head),
            self.victim.eq(evictor.victim),
            self.found.eq(evictor.found),
        ]
        with m.If(valid.any()):
            m.d.comb += self.busy.eq(1)
        return m

    def _elaborate_walk(self, m):
        """Walk over the slots; return the step that is made in this cycle."""
        config = self._config
        layout = data.StructLayout(
            {"valid": 1, "slot": config.slot_bits, "head": config.head_bits, "last": 1,
             "search": 1, "halve": 1, "choose": 1}
        )  # fmt: skip
        step = Signal(layout)
        active = Signal()
        slot, left = self.slot, self.left
        head = Signal(config.head_bits, reset_less=True)
        rest = Signal(range(SCORE_LATENCY + 1))
        choose = Signal(reset_less=True)
        search = Signal(reset_less=True)
        pending = Signal()
        last = Signal()
        m.d.comb += [
            pending.eq(active & (left != 0)),
            self.weights.ready.eq(pending & ~search),
            step.valid.eq(pending & (search | self.weights.valid)),
            step.slot.eq(slot),
            step.head.eq(head),
            step.last.eq(left == 1),
            step.search.eq(search),
            step.halve.eq(choose & ~search),
            step.choose.eq(choose | search),
            last.eq((step.valid & step.last & (rest == 0)) | (active & (left == 0) & (rest == 1))),
            self.ready.eq(~active | last),
            self.busy.eq(active),
            self.check_at.eq(Cat(step.slot, head)),
            self.score_at.eq(Cat(step.slot, head)),
        ]
        with m.If(step.valid):
            m.d.sync += [slot.eq(slot + 1), left.eq(left - 1)]
        with m.If(active & (left == 0)):
            m.d.sync += rest.eq(rest - 1)
        with m.If(last):
            m.d.sync += active.eq(0)
        with m.If(self.load):
            m.d.sync += [
                active.eq(1),
                slot.eq(0),
                head.eq(self.head),
                left.eq(self.count),
                rest.eq(Mux(self.count > SCORE_LATENCY, 0, SCORE_LATENCY + 1 - self.count)),
                choose.eq(self.choose),
                search.eq(self.search),
            ]
        return step

    def _elaborate_rules(self, m):
        """Return what a position and a policy make: dither, halving, newest that may go."""
        config, policy = self._config, self.policy
        bits = config.weight_bits
        backwards = Signal(bits)
        m.d.comb += backwards.eq(
            Cat(self.position[i] if i < config.position_bits else 0 for i in reversed(range(bits)))
        )
        short = Signal(range(bits + 1), reset_less=True)
        dither = Signal(bits, reset_less=True)
        halve = Signal(reset_less=True)
        newest = Signal(range(-(1 << 13), 1 << config.position_bits), reset_less=True)
        low = Cat(policy.decay > i for i in range(config.position_bits))
        m.d.sync += [
            short.eq(Mux(policy.shift < bits, bits - policy.shift, 0)),
            dither.eq(Mux(policy.dither, backwards >> short, 0)),
            halve.eq((policy.decay != 0) & ~(self.position & low).any()),
            newest.eq(self.position - policy.window),
        ]
        return dither, halve, newest
