"""Properties of the attention unit: its division, its running sum, and what it owes its streams."""

from functools import partial

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...hw.arith.delay import delay, registered
from ...hw.attention.config import ACT_BITS, AttentionConfig
from ...hw.attention.normalise import Normalise
from ...hw.attention.reciprocal import Reciprocal
from ...hw.attention.score import RunningSum, scores_beat
from ...hw.attention.unit import Attention, factors_beat
from .properties import stream_assert, stream_assume, transfers
from .runner import Task
from .statements import Assert, Assume, Cover

__all__ = ["NormaliseSpec", "ReciprocalSpec", "SumSpec", "UnitSpec", "tasks"]


class ReciprocalSpec(wiring.Component):
    """A reciprocal against its definition, for any sum that powers can have.

    Parameters
    ----------
    config : AttentionConfig
        The unit's.

    Members
    -------
    total : In(sum_width)
        The sum, taken in the first cycle; any from the least on.
    """

    total: Signal

    def __init__(self, config: AttentionConfig):
        self._config = config
        super().__init__({"total": In(config.sum_width)})

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.unit = unit = Reciprocal(config)
        bits, guard = config.reciprocal_bits, config.guard_bits
        begun, total = Signal(), Signal(config.sum_width)
        m.d.sync += begun.eq(1)
        with m.If(~begun):
            m.d.sync += total.eq(self.total)
        m.d.comb += [
            unit.start.eq(~begun),
            unit.total.eq(self.total),
            Assume(self.total >= 1 << config.weight_bits + guard - 1),
        ]
        age = Signal(8)
        m.d.sync += age.eq(age + 1)
        m.d.comb += Assert(unit.done == (age == config.reciprocal_cycles))
        # The leading bits, counted from the result; that they lead is the first assertion.
        mantissa = Signal(bits)
        product, target = unit.reciprocal * mantissa, 1 << 2 * bits - 1
        m.d.comb += mantissa.eq(total >> unit.extra + (guard - 1))
        with m.If(unit.done):
            m.d.comb += [
                Assert(mantissa[-1]),
                Assert(total >> unit.extra + config.weight_bits + guard == 0),
                Assert(product <= target),
                Assert((product + mantissa > target) | unit.reciprocal.all()),
                Cover(unit.reciprocal.all()),
                Cover(unit.extra == guard),
            ]
        return m


class SumSpec(wiring.Component):
    """A row's maximum is that of its scores, and its sum never too long or below a whole power.

    Assumed: no row is too long. The maximum is the whole part of the largest score so far, so that
    it never falls within a row; the sum is at least the power of the score that it is measured by
    and at most as many of the largest as there were scores, which its width holds.

    Parameters
    ----------
    config : AttentionConfig
        The unit's.

    Members
    -------
    valid, last : In(1)
        A score comes; it is its row's last.
    score : In(signed(score_width))
        Any.
    """

    valid: Signal
    last: Signal
    score: Signal

    def __init__(self, config: AttentionConfig):
        self._config = config
        shape = signed(config.score_width)
        super().__init__({"valid": In(1), "last": In(1), "score": In(shape)})

    def elaborate(self, platform):
        m = Module()
        config, slots = self._config, self._config.slots
        m.submodules.unit = unit = RunningSum(config)
        m.d.comb += [
            unit.valid.eq(self.valid),
            unit.last.eq(self.last),
            unit.score.eq(self.score),
        ]
        count = Signal(range(slots + 1))
        with m.If(self.valid):
            m.d.sync += count.eq(Mux(self.last, 0, count + 1))
            m.d.comb += Assume(self.last | (count != slots - 1))
        m.d.comb += Assert(count < slots)
        # What is known of the scores on their way, counted from the cycle after they come.
        valid = delay(m, self.valid, 1, "valid_then", reset=True)
        first = delay(m, count, 1, "count_before", reset=True) == 0
        whole = registered(m, self.score[config.fraction_bits :].as_signed(), 1, "whole_then")
        largest = Signal(signed(config.whole_bits))
        with m.If(valid):
            m.d.sync += largest.eq(Mux(first | (whole > largest), whole, largest))
        m.d.comb += [Assert(unit.first == first), Assert(unit.highest == largest)]
        added = Signal(range(slots + 1))
        arrives = delay(m, self.valid, unit.LATENCY - 1, "arrives", reset=True)
        before = delay(m, count, unit.LATENCY - 1, "count_then", reset=True)
        with m.If(arrives):
            m.d.sync += added.eq(before + 1)
        most = (1 << config.weight_bits + config.guard_bits) - 1
        top = registered(m, largest, unit.LATENCY - 2, "largest_then")
        m.d.comb += [
            Assert(added <= slots),
            Assert((before == 0) | (added == before)),
            Assert((added == 0) | (unit.total >= 1 << config.weight_bits + config.guard_bits - 1)),
            Assert(unit.total <= added * most),
            Assert(~unit.done | (unit.top == top)),
            Assert(~unit.done | (added != 0)),
            Cover(unit.done & (added == slots)),
        ]
        return m


class NormaliseSpec(wiring.Component):
    """A weight is the product of power and reciprocal, moved and rounded; no width is too short.

    Parameters
    ----------
    config : AttentionConfig
        The unit's.

    Members
    -------
    score : In(signed(score_width))
        Any whose whole part is at most ``top``.
    top : In(signed(whole_bits))
        Any.
    extra : In(range(guard_bits + 1))
        Any.
    reciprocal : In(reciprocal_bits)
        Any with its highest bit set, as all have it.
    scale : In(16)
        Any.
    """

    score: Signal
    top: Signal
    extra: Signal
    reciprocal: Signal
    scale: Signal

    def __init__(self, config: AttentionConfig):
        self._config = config
        super().__init__(
            {
                "score": In(signed(config.score_width)),
                "top": In(signed(config.whole_bits)),
                "extra": In(range(config.guard_bits + 1)),
                "reciprocal": In(config.reciprocal_bits),
                "scale": In(ACT_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, late = self._config, Normalise.LATENCY
        bits = config.weight_bits
        m.submodules.unit = unit = Normalise(config)
        for name in self.signature.members:
            m.d.comb += getattr(unit, name).eq(getattr(self, name))
        whole = self.score[config.fraction_bits :].as_signed()
        m.d.comb += [
            Assume(self.reciprocal[-1]),
            Assume(whole <= self.top),
            Assume(self.extra <= config.guard_bits),
        ]
        begun = delay(m, Const(1), late, "begun", reset=True)
        cut = (self.top - whole + self.extra + bits).as_unsigned()
        cut = registered(m, cut, late, "cut_then")
        product = registered(m, unit.product, late - 4, "product_then")
        # Below a quarter of the lowest bit nothing is left, however far it is moved.
        most = 2 * bits + 3
        near = Mux(cut > most, most, cut)[: most.bit_length()]
        rounded = ((product << bits - 1) + (Const(1) << (near - 1)[: most.bit_length()])) >> near
        full = (1 << bits) - 1
        weight = Mux(rounded > full, full, rounded)
        m.d.comb += [
            Assert(~begun | (unit.weight == weight)),
            Cover(begun & (rounded > full)),
            Cover(begun & (weight == 1) & (cut == 2 * bits - 1)),
        ]
        return m


class UnitSpec(wiring.Component):
    """The unit gives no factor without a product and a scale, and holds few rows.

    Parameters
    ----------
    config : AttentionConfig
        The unit's.

    Members
    -------
    scores : In(stream.Signature(scores_beat(config)))
        Anything that keeps the rules of streams.
    scales : In(stream.Signature(16))
        Likewise.
    o : Out(stream.Signature(factors_beat(config)))
        The factors.
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
        m.submodules.unit = unit = Attention(self._config)
        wiring.connect(m, wiring.flipped(self.scores), unit.scores)
        wiring.connect(m, wiring.flipped(self.scales), unit.scales)
        wiring.connect(m, unit.o, wiring.flipped(self.o))
        for port in (self.scores, self.scales):
            stream_assume(m, port)
        stream_assert(m, self.o)
        taken, scaled, given = (transfers(m, port) for port in (self.scores, self.scales, self.o))
        m.d.comb += [
            Assert(given + self.o.valid <= scaled),
            Assert(scaled <= taken),
            Cover(given == 1),
        ]
        return m


def tasks() -> list[Task]:
    """Return what is to be proved, for short words and few slots."""
    small = AttentionConfig(
        head_size=32, slots=4, kv_bits=4, group=32, fraction_bits=4, weight_bits=8
    )
    cycles = small.reciprocal_cycles + 2
    sums, normalise, unit = (partial(spec, small) for spec in (SumSpec, NormaliseSpec, UnitSpec))
    return [
        Task("reciprocal", partial(ReciprocalSpec, small), cycles),
        Task("reciprocal_cover", partial(ReciprocalSpec, small), cycles, "cover"),
        Task("sum", sums, 8, "prove"),
        Task("sum_cover", sums, 10, "cover"),
        Task("normalise", normalise, Normalise.LATENCY + 2),
        Task("normalise_cover", normalise, Normalise.LATENCY + 2, "cover"),
        Task("unit", unit, small.latency + 6),
        Task("unit_cover", unit, small.latency + 4, "cover"),
    ]
