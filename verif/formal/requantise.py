"""Proofs for the requantiser: lanes compute their formula, the stream unit keeps the rules.

A lane has no feedback: a proof over its latency, once with some cycles for stalls, covers all runs.
Formula and lane multiply in the same way, which synthesis merges; so the proof is about everything
else, at any multiplier. Sums of two pieces are proved with multipliers and shifts of four bits, and
need no merging.
"""

from functools import partial

from amaranth.hdl import EnableInserter, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...hw.arith.delay import registered
from ...hw.engine.requantise import Requantise, RequantiseLane, requantise_beat
from ...hw.engine.requantise_config import MULT_BITS, SHIFT_BITS, RequantiseConfig
from .properties import bounded_response, moved, stream_assert, stream_assume, stream_cover
from .runner import Task
from .statements import Assert, Assume, Cover

__all__ = ["LaneSpec", "UnitSpec", "formula", "tasks"]

STALLS = 2
"""Cycles without ``advance`` that a proof of a lane has room for."""


def formula(config: RequantiseConfig, product: Value, beat) -> Value:
    """Return the result as its definition says: floor, remainder, comparison with a half."""
    floor = product >> beat.shift
    remainder = (product - (floor << beat.shift))[:64]
    whole = (1 << beat.shift)[:64]
    tie = (remainder << 1) == whole
    above = (remainder << 1) > whole
    up = floor[0] if config.rounding == "half_even" else product > 0
    value = floor + ((beat.shift != 0) & (above | (tie & up))) + beat.zero_point
    return Mux(value > beat.hi, beat.hi, Mux(value < beat.lo, beat.lo, value))


class LaneSpec(wiring.Component):
    """A lane against its formula. Assumed: clamps in order, and in the range of a result.

    Parameters
    ----------
    config : RequantiseConfig
        The lane's.
    mult_bits : int
        Multipliers to try, below ``2**mult_bits``.
    shift_bits : int
        Shifts to try, below ``2**shift_bits``.

    stalls : bool
        Whether the lane may stand still; else it moves in every cycle.

    Members
    -------
    beat : In(requantise_beat(config))
        Anything, anew each cycle.
    advance : In(1)
        Whether the lane moves.
    """

    beat: data.View
    advance: Signal

    def __init__(
        self,
        config: RequantiseConfig,
        mult_bits: int = MULT_BITS,
        shift_bits: int = SHIFT_BITS,
        stalls: bool = False,
    ):
        self._config, self._mult_bits, self._shift_bits = config, mult_bits, shift_bits
        self._stalls = stalls
        self._formula_config = config
        super().__init__({"beat": In(requantise_beat(config)), "advance": In(1)})

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.lane = lane = RequantiseLane(config)
        model = Module()
        history = [self.beat]
        for i in range(config.latency):
            older = Signal(requantise_beat(config), name=f"beat_{i + 1}", reset_less=True)
            model.d.sync += older.eq(history[-1])
            history.append(older)
        delays = {"zero_point": config.zero_point_delay}
        delays |= {"lo": config.clamp_delay, "hi": config.clamp_delay}
        for name in ("acc", "bias", "shift", "zero_point", "lo", "hi"):
            m.d.comb += getattr(lane, name).eq(getattr(history[delays.get(name, 0)], name))
        mult = self.beat.mult[: self._mult_bits]
        m.d.comb += [lane.mult.eq(mult), lane.advance.eq(self.advance)]
        biased = (self.beat.acc + self.beat.bias)[: config.acc_width + 1].as_signed()
        wide = Signal(MULT_BITS)
        m.d.comb += wide.eq(mult)
        biased, wide = registered(model, biased, 1, "biased"), registered(model, wide, 1, "mult")
        # The product is that of the lane's own sum, which is shown to be right by itself: solvers
        # do not see that products of two equal sums are equal.
        product = (lane.biased * wide)[: config.product_width].as_signed()
        product = registered(model, product, config.latency - 1, "product")
        if not self._stalls:
            m.d.comb += Assume(self.advance)
        age = Signal(range(config.latency + 1))
        with model.If(age != config.latency):
            model.d.sync += age.eq(age + 1)
        m.submodules.model = EnableInserter(self.advance)(model)
        with m.If(age != 0):
            m.d.comb += Assert(lane.biased == biased)
        then = history[-1]
        low, high = config.out_range
        beat = self.beat
        m.d.comb += Assume(beat.shift < 1 << self._shift_bits)
        m.d.comb += Assume((beat.lo <= beat.hi) & (beat.lo >= low) & (beat.hi <= high))
        expected = Signal(Shape(config.out_bits, config.out_signed))
        m.d.comb += expected.eq(formula(self._formula_config, product, then))
        with m.If(age == config.latency):
            m.d.comb += Assert(lane.value == expected)
            m.d.comb += Cover((lane.value == high) & (then.hi == high) & (then.acc < 0))
        return m


class UnitSpec(wiring.Component):
    """The stream unit: its output keeps the rules, and it gives one result per beat, in time.

    Parameters
    ----------
    config : RequantiseConfig
        The unit's.

    Members
    -------
    i : In(stream.Signature(requantise_beat(config)))
        Anything that keeps the rules of streams.
    o : Out(stream.Signature(Shape(out_bits, out_signed)))
        The results.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: RequantiseConfig):
        self._config = config
        shape = Shape(config.out_bits, config.out_signed)
        super().__init__(
            {
                "i": In(stream.Signature(requantise_beat(config))),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.unit = unit = Requantise(config)
        wiring.connect(m, wiring.flipped(self.i), unit.i)
        wiring.connect(m, unit.o, wiring.flipped(self.o))
        stream_assume(m, self.i)
        stream_assert(m, self.o)
        stream_cover(m, self.o)
        inside = Signal(range(config.latency + 4))
        m.d.sync += inside.eq(inside + moved(self.i) - moved(self.o))
        m.d.comb += Assert(inside <= config.latency + 2)
        m.d.comb += Assert(~self.o.valid | (inside != 0))
        bounded_response(m, inside != 0, self.o.valid, config.latency)
        with m.If(~self.o.valid):
            m.d.comb += Assert(self.i.ready)
        return m


def tasks() -> list[Task]:
    """Return what is to be proved: every rounding, results narrow and wide, one piece and two."""
    found = []
    for rounding in ("half_even", "half_away"):
        for bits, is_signed in ((2, True), (4, False), (8, True)):
            config = RequantiseConfig(
                acc_width=8, out_bits=bits, out_signed=is_signed, rounding=rounding
            )
            name = f"lane_{rounding}_{bits}{'s' if is_signed else 'u'}"
            found.append(Task(name, partial(LaneSpec, config), config.latency + 1))
    config = RequantiseConfig(acc_width=8, out_bits=2)
    spec = partial(LaneSpec, config, 2, 2, True)
    found.append(Task("stalls", spec, config.latency + 1 + STALLS))
    config = RequantiseConfig(acc_width=20, out_bits=4)
    found.append(Task("pieces", partial(LaneSpec, config, 4, 4), config.latency + 1))
    config = RequantiseConfig(acc_width=8, out_bits=2)
    found.append(Task("lane_cover", partial(LaneSpec, config), config.latency + 2, "cover"))
    found.append(Task("unit", partial(UnitSpec, config), config.latency + 12))
    found.append(Task("unit_cover", partial(UnitSpec, config), config.latency + 6, "cover"))
    return found
