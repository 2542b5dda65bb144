"""The term comparator for data: a value's largest terms, few of them."""

from amaranth.hdl import Cat, Const, Module, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..arith.recode import Recode, RecodeConfig
from .config import TermConfig

__all__ = ["TermComparator"]

_PLACES = 3
"""Binary places decided in a cycle."""


class TermComparator(wiring.Component):
    """The ``limit`` largest terms of a value, from the most significant place down.

    Parameters
    ----------
    config : TermConfig
        See there.

    Members
    -------
    value : In(Shape(x_bits, x_signed))
        Data value.
    limit : In(4)
        How many terms it may keep.
    kept : Out(Shape(x_stored_bits, x_signed))
        Its largest terms.

    Latency
        ``truncation`` cycles.
    Throughput
        One value a cycle.
    Numerics
        Exact; a single term may be a power of two beyond ``x_bits``.
    Reference
        McDanel et al., Term Revealing, 2020: the comparator passes terms and counts them.
    """

    def __init__(self, config: TermConfig):
        self._config = config
        super().__init__(
            {
                "value": In(Shape(config.x_bits, config.x_signed)),
                "limit": In(4),
                "kept": Out(Shape(config.x_stored_bits, config.x_signed)),
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
        minus, left = Signal.like(plus, name="minus"), Signal.like(self.limit, name="left")
        m.d.comb += coder.value.eq(self.value)
        m.d.sync += [plus.eq(coder.plus), minus.eq(coder.minus), left.eq(self.limit)]
        high = config.x_places
        while high > 0:
            low = max(0, high - _PLACES)
            plus, minus, left = self._elaborate_places(m, plus, minus, left, low, high)
            high = low
        kept = Signal.like(self.kept, reset_less=True)
        m.d.sync += kept.eq(plus - minus)
        m.d.comb += self.kept.eq(kept)
        return m

    def _elaborate_places(self, m, plus, minus, left, low, high):
        """Decide the places from ``high`` - 1 down to ``low``; return masks and what is left."""
        present = (plus | minus)[low:high]
        passed = []
        before = 0
        for term in reversed(list(present)):
            passed.insert(0, term & (left > before))
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
