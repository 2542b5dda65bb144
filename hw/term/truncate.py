"""The term comparator for data: a value's largest terms, few of them."""

from amaranth.hdl import Cat, Const, Module, Shape, Signal, Value
from amaranth.lib.wiring import In, Out

from ..arith.delay import delay
from ..arith.recode import Recode, RecodeConfig
from ..lib.component import Component
from .config import TermConfig
from .words import data_term

__all__ = ["TermComparator"]

_PLACES = 3
"""Binary places decided in a cycle."""


class TermComparator(Component):
    """The ``limit`` largest terms of a value, from the most significant place down.

    Parameters
    ----------
    config : TermConfig
        See there.

    Members
    -------
    value : In(Shape(x_bits, x_signed))
        Data value.
    limit : In(range(x_places + 1))
        How many terms it may keep, at least 2 where the configuration has more than one.
    kept : Out(x_stored_bits)
        Its largest terms: their sum, or for a tMAC their list, the largest first.

    Latency
        ``truncation`` cycles.
    Throughput
        One value a cycle.
    Numerics
        Exact; a single term may be a power of two beyond ``x_bits``.
    Reference
        McDanel et al., Term Revealing, 2020: the comparator passes terms and counts them.
    """

    value: Signal
    limit: Signal
    kept: Signal

    def __init__(self, config: TermConfig):
        self._config = config
        super().__init__(
            {
                "value": In(Shape(config.x_bits, config.x_signed)),
                "limit": In(range(config.x_places + 1)),
                "kept": Out(config.x_stored_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        recode = RecodeConfig(
            encoding=config.encoding, bits=config.x_bits, is_signed=config.x_signed
        )
        m.submodules.recode = coder = Recode(recode)
        plus = Signal(config.x_places, name="plus", reset_less=True)
        minus = Signal.like(plus, name="minus")
        left = Signal.like(self.limit, name="left", reset_less=True)
        m.d.comb += coder.value.eq(self.value)
        m.d.sync += [plus.eq(coder.plus), minus.eq(coder.minus), left.eq(self.limit)]
        if config.pe == "tmac":
            self._elaborate_list(m, plus, minus, left)
            return m
        high = config.x_places
        while high > 0:
            low = max(0, high - _PLACES)
            plus, minus, left = self._elaborate_places(m, plus, minus, left, low, high)
            high = low
        kept = Signal.like(self.kept, reset_less=True)
        m.d.sync += kept.eq(plus - minus)
        m.d.comb += self.kept.eq(kept)
        return m

    def _elaborate_list(self, m, plus, minus, limit):
        """Take the largest term out again and again, one a cycle, up to the limit."""
        config = self._config
        present, negative, terms = plus | minus, minus, Const(0, 0)
        for number in range(config.data_terms):
            term = Signal(data_term(config), name=f"term_{number}")
            may = 1 if number < config.least_terms else limit > number
            m.d.comb += term.present.eq(present.any() & may)
            for place in range(config.x_places):
                with m.If(present[place]):
                    m.d.comb += [term.exponent.eq(place), term.sign.eq(negative[place])]
            above = [present[place + 1 :].any() for place in range(config.x_places)]
            rest = Signal.like(plus, name=f"present_after_{number}", reset_less=True)
            listed = Signal(len(terms) + config.x_term_bits, name=f"list_{number}", reset_less=True)
            m.d.sync += [rest.eq(present & Cat(above)), listed.eq(Cat(terms, term))]
            present, terms = rest, listed
            negative = delay(m, negative, 1, f"negative_after_{number}")
            limit = delay(m, limit, 1, f"limit_after_{number}")
        m.d.comb += self.kept.eq(terms)

    def _elaborate_places(self, m, plus, minus, left, low, high):
        """Decide the places from ``high`` - 1 down to ``low``; return masks and what is left."""
        present = (plus | minus)[low:high]
        passed = []
        before: int | Value = 0
        for above, term in enumerate(reversed(list(present))):
            always = len(plus) - high + above < self._config.least_terms
            passed.insert(0, term if always else term & (left > before))
            before = before + term
        ones = (Const((1 << bits) - 1, bits) for bits in (low, len(plus) - high))
        keep = Cat(next(ones), *passed, next(ones))
        names = [f"{name}_{low}" for name in ("plus", "minus", "left")]
        after = [
            Signal.like(value, name=name, reset_less=True)
            for value, name in zip((plus, minus, left), names, strict=True)
        ]
        m.d.sync += [
            after[0].eq(plus & keep),
            after[1].eq(minus & keep),
            after[2].eq(left - sum(passed)),
        ]
        return after
