"""Proofs for term revealing: encoders, term comparator, the adder of planes, coefficients.

The coefficient vector cannot overflow, by induction over slots and then over places. A term of a
weight meets the terms of one data value, whose exponents all differ (`ListClaim`), so that it
changes a coefficient by one at most: after n terms no coefficient is larger than n, which is at
most ``tile_terms``. Then the converter's carry is never larger than that either (`CarryClaim`),
and neither sum leaves ``coefficient_width`` bits.
"""

from collections.abc import Iterator
from functools import partial

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...hw.arith.delay import delay
from ...hw.arith.encoding import ENCODINGS
from ...hw.arith.recode import Recode, RecodeConfig
from ...hw.term.config import ENCODINGS_BY_MAGNITUDE, TermConfig
from ...hw.term.plane import HalvingAdd, HalvingAddConfig
from ...hw.term.truncate import TermComparator
from ...hw.term.words import data_term
from .serial import RecodeClaim
from .systolic import Claim

__all__ = ["CarryClaim", "ComparatorClaim", "HalvingClaim", "ListClaim", "claims"]


def clamped(limit: Value, low: int, high: int) -> Value:
    """Return ``limit`` in the range that a comparator is given."""
    return Mux(limit < low, low, Mux(limit > high, high, limit))


class HalvingClaim(wiring.Component):
    """`HalvingAdd` of a fabric against arithmetic; ``wrong`` where they differ."""

    new: Signal
    carry: Signal
    old: Signal
    halve: Signal
    wrong: Signal

    def __init__(self, config: HalvingAddConfig):
        self._config = config
        shape = signed(config.width)
        super().__init__(
            {"new": In(shape), "carry": In(1), "old": In(shape), "halve": In(1), "wrong": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.add = add = HalvingAdd(self._config)
        old = Mux(self.halve, self.old >> 1, self.old)
        total = (self.new + old + self.carry)[: self._config.width].as_signed()
        m.d.comb += [
            add.new.eq(self.new),
            add.carry.eq(self.carry),
            add.old.eq(self.old),
            add.halve.eq(self.halve),
            self.wrong.eq(add.sum != total),
        ]
        return m


class ComparatorClaim(wiring.Component):
    """`TermComparator` against a count from the highest place down; ``wrong`` where they differ.

    A single term may be beyond the range of the data, for which only arrays of one term have a bit.
    """

    value: Signal
    limit: Signal
    wrong: Signal

    def __init__(self, config: TermConfig):
        self._config = config
        shape = Shape(config.x_bits, config.x_signed)
        super().__init__({"value": In(shape), "limit": In(4), "wrong": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.comparator = comparator = TermComparator(config)
        m.submodules.recode = recode = Recode(
            RecodeConfig(encoding=config.encoding, bits=config.x_bits, is_signed=config.x_signed)
        )
        limit = clamped(self.limit, config.least_terms, config.x_places)
        m.d.comb += [
            comparator.value.eq(self.value),
            comparator.limit.eq(limit),
            recode.value.eq(self.value),
        ]
        left, kept = limit, Const(0)
        for place in reversed(range(config.x_places)):
            present = (recode.plus | recode.minus)[place] & (left != 0)
            term = Mux(recode.minus[place], -(1 << place), 1 << place)
            kept, left = kept + Mux(present, term, 0), left - present
        expected = Signal(signed(config.x_places + 2))
        m.d.comb += expected.eq(kept)
        then = delay(m, expected, config.truncation, "then")
        m.d.comb += self.wrong.eq(comparator.kept != then[: len(comparator.kept)])
        return m


class ListClaim(wiring.Component):
    """A tMAC's list of data terms is their sum, the largest first; ``wrong`` where not."""

    value: Signal
    limit: Signal
    wrong: Signal

    def __init__(self, config: TermConfig):
        self._config = config
        shape = Shape(config.x_bits, config.x_signed)
        super().__init__({"value": In(shape), "limit": In(4), "wrong": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.comparator = comparator = TermComparator(config)
        limit = clamped(self.limit, config.least_terms, config.data_terms)
        m.d.comb += [comparator.value.eq(self.value), comparator.limit.eq(limit)]
        allowed = delay(m, limit, config.truncation, "allowed")
        value = delay(m, self.value, config.truncation, "then")
        listed = data.View(data.ArrayLayout(data_term(config), config.data_terms), comparator.kept)
        total, count, unordered = Const(0), Const(0), Const(0)
        for i in range(config.data_terms):
            term = listed[i]
            power = Const(1) << term.exponent
            total = total + Mux(term.present, Mux(term.sign, -power, power), 0)
            count = count + term.present
            if i:
                after = ~listed[i - 1].present | (listed[i - 1].exponent <= term.exponent)
                unordered = unordered | (term.present & after)
        then = Signal(Shape(config.x_bits, config.x_signed))
        m.d.comb += then.eq(value)
        # Fewer terms than allowed are all of them.
        m.d.comb += self.wrong.eq(
            (count > allowed) | unordered | ((count < allowed) & (total != then))
        )
        return m


class CarryClaim(wiring.Component):
    """Bounds of a conversion step are kept; ``wrong`` where not."""

    coefficient: Signal
    carry: Signal
    wrong: Signal

    def __init__(self, config: TermConfig):
        self._config = config
        shape = signed(config.coefficient_width)
        super().__init__({"coefficient": In(shape), "carry": In(shape), "wrong": Out(1)})

    def elaborate(self, platform):
        m = Module()
        config = self._config
        most = config.tile_terms
        total = Signal(signed(config.coefficient_width))
        m.d.comb += total.eq(self.coefficient + self.carry)
        after = total >> 1
        inside = Cat(
            value_inside
            for value in (self.coefficient, self.carry)
            for value_inside in (value <= most, value >= -most)
        ).all()
        kept = (total == self.coefficient + self.carry) & (after <= most) & (after >= -most)
        m.d.comb += self.wrong.eq(inside & ~kept)
        return m


def claims() -> Iterator[Claim]:
    """Yield what is claimed, from parts to wholes."""
    for encoding in ENCODINGS:
        for is_signed in (False, True):
            recode = RecodeConfig(encoding=encoding, bits=8, is_signed=is_signed)
            name = f"recode_{encoding}_{'s' if is_signed else 'u'}"
            yield Claim(name, partial(RecodeClaim, recode), 0)
    for width in (1, 2, 9, 14, 22):
        add = HalvingAddConfig(width=width, fabric="ecp5")
        yield Claim(f"halving_{width}", partial(HalvingClaim, add), 0)
    for encoding in ENCODINGS_BY_MAGNITUDE:
        for is_signed in (False, True):
            for terms in (1, 3):
                config = TermConfig(encoding=encoding, data_terms=terms, x_signed=is_signed)
                name = f"comparator_{encoding}_{terms}{'s' if is_signed else 'u'}"
                yield Claim(name, partial(ComparatorClaim, config), config.truncation, loads=False)
            config = TermConfig(encoding=encoding, data_terms=3, x_signed=is_signed, pe="tmac")
            name = f"list_{encoding}_{'s' if is_signed else 'u'}"
            yield Claim(name, partial(ListClaim, config), config.truncation, loads=False)
    for group, groups, budget in ((8, 1, 12), (1, 4, 1), (32, 2, 0), (16, 1, 16)):
        config = TermConfig(group=group, groups=groups, budget=budget, pe="tmac")
        yield Claim(f"carry_{group}_{groups}_{budget}", partial(CarryClaim, config), 0)
