"""From products of a query and keys to scores, and from powers to their sum."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay, registered
from ..lib.component import Component
from .config import ACT_BITS, AttentionConfig

__all__ = ["Powers", "RunningSum", "Score", "scores_beat"]


def scores_beat(config: AttentionConfig) -> data.StructLayout:
    """One group's product of query and key, and how it becomes a score."""
    return data.StructLayout(
        {
            "dot": signed(config.dot_width),
            "scale": ACT_BITS,
            "shift": config.shift_bits,
            "last": 1,
        }
    )


class Score(Component):
    """Computes a slot's score: products times scales, summed over groups, shifted, rounded.

    Parameters
    ----------
    config : AttentionConfig
        See there for ranges.

    Members
    -------
    valid : In(1)
        There is a beat.
    beat : In(scores_beat(config))
        ``shift`` counts in a slot's last group; ``last`` in the row's last slot.
    o_valid : Out(1)
        There is a score.
    score : Out(signed(score_width))
        The slot's.
    last : Out(1)
        It is the row's last.

    Latency
        ``LATENCY`` = 7 cycles from a slot's last group.
    Throughput
        One beat a cycle.
    Numerics
        Sums exact, whatever the shift; rounding half up.
    Reference
        verif.golden.attention.scores.
    """

    valid: Signal
    beat: data.View
    o_valid: Signal
    score: Signal
    last: Signal

    LATENCY = 7

    def __init__(self, config: AttentionConfig):
        self._config = config
        super().__init__(
            {
                "valid": In(1),
                "beat": In(scores_beat(config)),
                "o_valid": Out(1),
                "score": Out(signed(config.score_width)),
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, beat = self._config, self.beat
        group = Signal(range(config.groups))
        end = Signal()
        m.d.comb += end.eq(group == config.groups - 1)
        with m.If(self.valid):
            m.d.sync += group.eq(Mux(end, 0, group + 1))
        # In two pieces, since multipliers have 18 bits.
        dot = registered(m, beat.dot, 1, "dot")
        scale = registered(m, beat.scale, 1, "scale")
        low = registered(m, dot[:17] * scale, 1, "low")
        high = registered(m, dot[17:].as_signed() * scale, 1, "high")
        product = (low + (high << 17))[: config.scaled_width].as_signed()
        product = registered(m, product, 1, "product")
        total = Signal(signed(config.scaled_width))
        first = delay(m, group == 0, 3, "first")
        with m.If(delay(m, self.valid, 3, "valid_summed")):
            m.d.sync += total.eq(Mux(first, 0, total) + product)
        # A zero below the sum becomes the bit that decides the rounding.
        shift = delay(m, beat.shift, 4, "shift")
        moved = registered(m, Cat(Const(0, 1), total).as_signed() >> shift, 1, "moved")
        rounded = registered(m, (moved + 1) >> 1, 1, "rounded")
        m.d.sync += self.score.eq(rounded)
        m.d.comb += [
            self.o_valid.eq(delay(m, self.valid & end, self.LATENCY, "valid_out", reset=True)),
            self.last.eq(delay(m, beat.last, self.LATENCY, "last")),
        ]
        return m


class Powers(Component):
    """Reads the power of two of a score's fraction.

    Parameters
    ----------
    config : AttentionConfig
        See there for ranges.

    Members
    -------
    fraction : In(fraction_bits)
        Bits after the point.
    power : Out(weight_bits)
        Two to it, the highest bit always set.

    Latency
        One cycle.
    Throughput
        One power a cycle.
    Numerics
        Rounded to nearest.
    Reference
        verif.golden.attention.softmax.
    """

    fraction: Signal
    power: Signal

    def __init__(self, config: AttentionConfig):
        self._config = config
        super().__init__({"fraction": In(config.fraction_bits), "power": Out(config.weight_bits)})

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.entries = entries = memory.Memory(
            shape=config.weight_bits, depth=len(config.powers), init=config.powers
        )
        read = entries.read_port()
        m.d.comb += [read.addr.eq(self.fraction), self.power.eq(read.data)]
        return m


class RunningSum(Component):
    """Sums a row's powers in the place of the largest so far; where that rises, the sum moves.

    Parameters
    ----------
    config : AttentionConfig
        See there for ranges.

    Members
    -------
    valid : In(1)
        There is a score.
    score : In(signed(score_width))
        The score.
    last : In(1)
        It is the row's last.
    done : Out(1)
        A row's sum is there.
    total : Out(sum_width)
        The sum, ``guard_bits`` below a power's lowest bit.
    top : Out(signed(whole_bits))
        Whole part of the row's largest score.

    Attributes
    ----------
    first : Signal
        The next score is its row's first.
    highest : Signal
        Whole part of the largest score so far.

    Latency
        ``LATENCY`` = 4 cycles from the last score to ``done``.
    Throughput
        One score a cycle, of one row after the other.
    Numerics
        Bits below the sum's lowest are cut, of powers and of the sum where it moves.
    Reference
        Milakov, Gimelshein, Online normalizer calculation for softmax, 2018; here in powers of two,
        so that moving the sum is a shift.
    """

    valid: Signal
    score: Signal
    last: Signal
    done: Signal
    total: Signal
    top: Signal

    LATENCY = 4

    def __init__(self, config: AttentionConfig):
        self._config = config
        self.first = Signal(init=1)
        self.highest = Signal(signed(config.whole_bits))
        super().__init__(
            {
                "valid": In(1),
                "score": In(signed(config.score_width)),
                "last": In(1),
                "done": Out(1),
                "total": Out(config.sum_width),
                "top": Out(signed(config.whole_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.powers = powers = Powers(config)
        m.d.comb += powers.fraction.eq(self.score[: config.fraction_bits])
        whole = registered(m, self.score[config.fraction_bits :].as_signed(), 1, "whole")
        valid = delay(m, self.valid, 1, "valid_read", reset=True)
        last = delay(m, self.last, 1, "last_read")
        first, top = self.first, self.highest
        rises = Signal()
        m.d.comb += rises.eq(first | (whole > top))
        distance = Mux(whole > top, whole - top, top - whole)
        by = Signal(config.whole_bits)
        begins = Signal()
        moves = Signal()
        adds = Signal()
        power = registered(m, powers.power, 1, "power")
        m.d.sync += [
            by.eq(distance),
            begins.eq(first),
            moves.eq(rises),
            adds.eq(valid),
            self.done.eq(delay(m, valid & last, 2, "done_next", reset=True)),
        ]
        with m.If(valid):
            m.d.sync += first.eq(last)
            with m.If(rises):
                m.d.sync += top.eq(whole)
        # The power is at its place a cycle before the sum moves; further than far, nothing is left.
        near = (config.sum_width - 1).bit_length()
        distant, short = by[near:].any(), by[:near]
        term = Cat(Const(0, config.guard_bits), power)
        term = Mux(moves, term, Mux(distant, 0, term >> short))
        term = registered(m, term, 1, "term")
        far = registered(m, distant, 1, "far")
        short = registered(m, short, 1, "short")
        starts = registered(m, begins, 1, "starts")
        shifts = registered(m, moves, 1, "shifts")
        moved = Mux(shifts, Mux(far, 0, self.total >> short), self.total)
        top_then = registered(m, top, 1, "top_then")
        with m.If(delay(m, adds, 1, "adds_next", reset=True)):
            m.d.sync += [self.total.eq(Mux(starts, 0, moved) + term), self.top.eq(top_then)]
        return m
