"""The softmax between two matrix products: from products to factors, rows after rows."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay
from ..lib.component import Component
from ..lib.fifo import Fifo
from .config import ACT_BITS, ROWS, AttentionConfig
from .normalise import Normalise
from .reciprocal import Reciprocal
from .score import RunningSum, Score, scores_beat

__all__ = ["Attention", "factors_beat"]


def factors_beat(config: AttentionConfig) -> data.StructLayout:
    """What a slot's values are multiplied by, in a group, and the slot's weight."""
    return data.StructLayout(
        {"factor": ACT_BITS, "weight": config.weight_bits, "first": 1, "last": 1}
    )


class Attention(Component):
    """Mix values by the softmax of their keys' products with each query.

    A row is one query head's step: the products of the query with the keys of all slots come from a
    matrix datapath; weights go to the cache's controller and factors to the datapath that mixes the
    values. While a row's products come, its scores are stored and the powers of two of them summed
    below the running maximum; then the sum's reciprocal is made, and the scores are read again.
    Four rows are under way, so that products are taken and factors leave in every cycle.

    Parameters
    ----------
    config : AttentionConfig
        See there for ranges.

    Members
    -------
    scores : In(stream.Signature(scores_beat(config)))
        Products, group by group and slot by slot; ``last`` in all groups of a row's last slot. A
        row has ``slots`` slots at most.
    scales : In(stream.Signature(16))
        Scales of the values, in the same order.
    o : Out(stream.Signature(factors_beat(config)))
        Factors in that order; ``first`` in a slot's first group, where the controller reads
        ``weight``; ``last`` in the row's last.

    Latency
        From a row's last product to its first factor ``config.latency`` cycles, 26 and
        ``config.reciprocal_cycles``.
    Throughput
        One product and one factor a cycle while ``scales.valid`` and ``o.ready``; of rows with
        fewer than about 40 beats, one row in ``config.reciprocal_cycles + 1`` cycles.
    Numerics
        verif.golden.attention; a weight is within ``config.weight_error`` of softmax.
    Reference
        Milakov, Gimelshein, Online normalizer calculation for softmax, 2018; weights for the
        controller as Kelle, MICRO 2025, equation 1.
    """

    scores: stream.Interface
    scales: stream.Interface
    o: stream.Interface

    def __init__(self, config: AttentionConfig):
        self._config = config
        super().__init__(
            {
                "scores": In(stream.Signature(scores_beat(config))),
                "scales": In(stream.Signature(ACT_BITS)),
                "o": Out(stream.Signature(factors_beat(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.score_rows = score_rows = memory.Memory(
            shape=signed(config.score_width), depth=ROWS << config.guard_bits, init=[]
        )
        finished = Signal()
        taken = self.scores.valid & self.scores.ready
        _, end = self._group(m, taken)
        held = Signal(range(ROWS + 1))
        ends = taken & self.scores.payload.last & end
        m.d.sync += held.eq(held + ends - finished)
        m.d.comb += self.scores.ready.eq(held != ROWS)
        m.submodules.score = score = Score(config)
        m.d.comb += [score.valid.eq(taken), score.beat.eq(self.scores.payload)]
        write = score_rows.write_port()
        row = Signal(range(ROWS))
        slot = Signal(config.guard_bits)
        m.d.comb += [
            write.addr.eq(Cat(slot, row)),
            write.data.eq(score.score),
            write.en.eq(score.o_valid),
        ]
        with m.If(score.o_valid):
            m.d.sync += [slot.eq(Mux(score.last, 0, slot + 1)), row.eq(row + score.last)]
        sums = self._sums(m, score, slot)
        inverses = self._inverses(m, sums)
        m.d.comb += finished.eq(self._normalise(m, inverses, score_rows.read_port()))
        return m

    def _group(self, m, taken):
        """Return a beat's group, and whether it is a slot's last."""
        group = Signal(range(self._config.groups))
        end = group == self._config.groups - 1
        with m.If(taken):
            m.d.sync += group.eq(Mux(end, 0, group + 1))
        return group, end

    def _sums(self, m, score, slot):
        """Return a queue of rows' sums, maxima and last slots."""
        config = self._config
        m.submodules.sum = total = RunningSum(config)
        width = config.sum_width + config.whole_bits + config.guard_bits
        m.submodules.sums = sums = Fifo(width, ROWS)
        m.d.comb += [
            total.valid.eq(score.o_valid),
            total.score.eq(score.score),
            total.last.eq(score.last),
            sums.w_en.eq(total.done),
            sums.w_data.eq(Cat(total.total, total.top, delay(m, slot, total.LATENCY, "slots"))),
        ]
        return sums

    def _inverses(self, m, sums):
        """Return a queue of rows' reciprocals with their bits beyond, maxima and last slots."""
        config = self._config
        m.submodules.reciprocal = inverse = Reciprocal(config)
        rest = len(sums.r_data) - config.sum_width
        width = len(inverse.reciprocal) + len(inverse.extra) + rest
        m.submodules.inverses = inverses = Fifo(width, ROWS)
        busy = Signal()
        others = Signal(rest)
        start = sums.r_rdy & ~busy
        with m.If(start):
            m.d.sync += [busy.eq(1), others.eq(sums.r_data[config.sum_width :])]
        with m.Elif(inverse.done):
            m.d.sync += busy.eq(0)
        m.d.comb += [
            sums.r_en.eq(start),
            inverse.start.eq(start),
            inverse.total.eq(sums.r_data[: config.sum_width]),
            inverses.w_en.eq(inverse.done & busy),
            inverses.w_data.eq(Cat(inverse.reciprocal, inverse.extra, others)),
        ]
        return inverses

    def _normalise(self, m, inverses, read):
        """Send a row's factors; return whether it leaves its place."""
        config = self._config
        m.submodules.normalise = normalise = Normalise(config)
        depth = normalise.LATENCY + 4
        m.submodules.output = output = Fifo(len(self.o.payload.as_value()), depth)
        row = Signal(range(ROWS))
        slot = Signal(config.guard_bits)
        queued = Signal(range(depth + 1))
        room = Signal()
        reciprocal = Signal.like(normalise.reciprocal)
        extra = Signal.like(normalise.extra)
        top = Signal(signed(config.whole_bits))
        last_slot = Signal(config.guard_bits)
        m.d.comb += Cat(reciprocal, extra, top, last_slot).eq(inverses.r_data)
        issue = Signal()
        leaves = self.o.valid & self.o.ready
        m.d.comb += [
            room.eq(inverses.r_rdy & (queued != depth)),
            self.scales.ready.eq(room),
            issue.eq(room & self.scales.valid),
        ]
        m.d.sync += queued.eq(queued + issue - leaves)
        group, end = self._group(m, issue)
        last = end & (slot == last_slot)
        with m.If(issue & end):
            m.d.sync += [slot.eq(Mux(last, 0, slot + 1)), row.eq(row + last)]
        m.d.comb += [
            read.addr.eq(Cat(slot, row)),
            read.en.eq(issue),
            inverses.r_en.eq(issue & last),
            normalise.score.eq(read.data),
        ]
        for name, value in (("reciprocal", reciprocal), ("extra", extra), ("top", top),
                            ("scale", self.scales.payload)):  # fmt: skip
            held = Signal.like(getattr(normalise, name), name=f"{name}_held", reset_less=True)
            m.d.sync += held.eq(value)
            m.d.comb += getattr(normalise, name).eq(held)
        late = normalise.LATENCY + 1
        m.d.comb += [
            output.w_en.eq(delay(m, issue, late, "issued", reset=True)),
            output.w_data.eq(
                Cat(
                    normalise.factor,
                    normalise.weight,
                    delay(m, Cat(group == 0, last), late, "ends"),
                )
            ),
            self.o.payload.as_value().eq(output.r_data),
            self.o.valid.eq(output.r_rdy),
            output.r_en.eq(self.o.ready),
        ]
        return issue & last
