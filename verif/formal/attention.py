"""Properties of the attention unit: its division, its running sum, and what it owes its streams."""

from functools import partial

from amaranth.hdl import Assert, Assume, Cover, Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...hw.attention.config import ACT_BITS, AttentionConfig
from ...hw.attention.reciprocal import Reciprocal
from ...hw.attention.score import RunningSum, dots_beat
from ...hw.attention.unit import Attention, factors_beat
from .properties import stream_assert, stream_assume, transfers
from .runner import Task

__all__ = ["ReciprocalSpec", "SumSpec", "UnitSpec", "tasks"]


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
            unit.start.eq(~begun), unit.total.eq(self.total),
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
    """A row's sum is never too long and never below its largest power. Assumed: no row is too long.

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

    def __init__(self, config: AttentionConfig):
        self._config = config
        shape = signed(config.score_width)
        super().__init__({"valid": In(1), "last": In(1), "score": In(shape)})

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.unit = unit = RunningSum(config)
        m.d.comb += [
            unit.valid.eq(self.valid), unit.last.eq(self.last), unit.score.eq(self.score),
        ]
        count = Signal(range(config.slots + 1))
        counts = [Signal(range(config.slots + 1), name=f"count_{i}") for i in range(RunningSum.LATENCY)]
        m.d.sync += [b.eq(a) for a, b in zip([count + 1, *counts], counts, strict=False)]
        with m.If(self.valid):
            m.d.sync += count.eq(count + 1)
            with m.If(self.last):
                m.d.sync += count.eq(0)
            with m.If(count == config.slots - 1):
                m.d.comb += Assume(self.last)
        most = (1 << config.weight_bits + config.guard_bits) - 1
        with m.If(unit.done):
            m.d.comb += [
                Assert(unit.total >= 1 << config.weight_bits + config.guard_bits - 1),
                Assert(unit.total <= counts[-1] * most),
                Cover(counts[-1] == config.slots),
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
    dots : In(stream.Signature(dots_beat(config)))
        Anything that keeps the rules of streams.
    scales : In(stream.Signature(16))
        Likewise.
    o : Out(stream.Signature(factors_beat(config)))
        The factors.
    """

    def __init__(self, config: AttentionConfig):
        self._config = config
        super().__init__(
            {
                "dots": In(stream.Signature(dots_beat(config))),
                "scales": In(stream.Signature(ACT_BITS)),
                "o": Out(stream.Signature(factors_beat(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = Attention(self._config)
        wiring.connect(m, wiring.flipped(self.dots), unit.dots)
        wiring.connect(m, wiring.flipped(self.scales), unit.scales)
        wiring.connect(m, unit.o, wiring.flipped(self.o))
        for port in (self.dots, self.scales):
            stream_assume(m, port)
        stream_assert(m, self.o)
        taken, scaled, given = (transfers(m, port) for port in (self.dots, self.scales, self.o))
        m.d.comb += [
            Assert(given + self.o.valid <= scaled), Assert(scaled <= taken), Cover(given == 1),
        ]
        return m


def tasks() -> list[Task]:
    """Return what is to be proved, for short words and few slots."""
    small = AttentionConfig(
        head_size=32, slots=4, kv_bits=4, group=32, fraction_bits=4, weight_bits=8
    )
    cycles = small.reciprocal_cycles + 2
    sums, unit = partial(SumSpec, small), partial(UnitSpec, small)
    return [
        Task("reciprocal", partial(ReciprocalSpec, small), cycles),
        Task("reciprocal_cover", partial(ReciprocalSpec, small), cycles, "cover"),
        Task("sum", sums, 9),
        Task("sum_cover", sums, 9, "cover"),
        Task("unit", unit, small.latency + 6),
        Task("unit_cover", unit, small.latency + 4, "cover"),
    ]
