"""Configurations of the attention units, and the integer formats between them."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

from ..config import ConfigError, UnitConfig, check_choice, check_range, plain_fields

__all__ = [
    "ACT_BITS",
    "LAYOUTS",
    "ROWS",
    "SINE_BITS",
    "AttentionConfig",
    "AttentionTiming",
    "RotaryConfig",
]

ACT_BITS = 16
"""Bits of queries, of keys and values before they are stored, and of results."""

ROWS = 4
"""Rows that an `Attention` holds: one that comes, two under way, one that leaves."""

SINE_BITS = 15
"""Bits of a sine's size: one is ``2**14``."""

LAYOUTS = ("interleaved", "halves")
"""Which elements of a head turn together: (2 i, 2 i + 1), or (i, i + head_size / 2)."""


@dataclass(frozen=True, kw_only=True)
class AttentionConfig(UnitConfig):
    """Parameters of `Attention`: the heads that it serves, and its precision.

    Attributes
    ----------
    head_size : int
        Elements of a head, 32 to 256.
    slots : int
        Most tokens in the cache, 2 to 4096.
    kv_bits : int
        Bits of a stored element: 4, 8 or 16.
    group : int
        Elements that share a stored scale: a divisor of ``head_size``, 8 at least.
    fraction_bits : int
        Bits of a score after the point, in powers of two, 4 to 12: the table of powers has
        ``2**fraction_bits`` entries.
    weight_bits : int
        Bits of an attention weight, unsigned, 8 to 16.
    """

    head_size: int = 64
    slots: int = 256
    kv_bits: int = 8
    group: int = 64
    fraction_bits: int = 8
    weight_bits: int = 16

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("head_size", self.head_size, 32, 256)
        check_range("slots", self.slots, 2, 4096)
        check_choice("kv_bits", self.kv_bits, (4, 8, 16))
        check_range("group", self.group, 8, self.head_size)
        if self.head_size % self.group:
            raise ConfigError(
                f"group must divide head_size = {self.head_size}, which {self.group} does not"
            )
        check_range("fraction_bits", self.fraction_bits, 4, 12)
        check_range("weight_bits", self.weight_bits, 8, 16)

    # -- scores

    @property
    def groups(self) -> int:
        """Scales of a stored head."""
        return self.head_size // self.group

    @property
    def dot_width(self) -> int:
        """Signed bits of a group's products, summed."""
        return (self.group << ACT_BITS + self.kv_bits - 2).bit_length() + 1

    @property
    def scaled_width(self) -> int:
        """Signed bits of a query times a key, scales included."""
        return self.dot_width + ACT_BITS + (self.groups - 1).bit_length()

    @property
    def score_width(self) -> int:
        """Signed bits of a score: those of a sum that loses none, so that no score saturates."""
        return self.scaled_width

    @property
    def whole_bits(self) -> int:
        """Signed bits of a score before the point."""
        return self.score_width - self.fraction_bits

    @property
    def shift_bits(self) -> int:
        """Bits of the run-time shift from a scaled sum to a score."""
        return (self.scaled_width - 1).bit_length()

    # -- softmax

    @property
    def guard_bits(self) -> int:
        """Bits below a power's lowest one in the sum of powers, so that cut bits never add up."""
        return (self.slots - 1).bit_length()

    @property
    def sum_width(self) -> int:
        """Unsigned bits of the sum of powers."""
        return self.weight_bits + 2 * self.guard_bits

    @property
    def powers(self) -> tuple[int, ...]:
        """Two to every fraction, ``weight_bits`` each, the highest bit always set."""
        return _powers(self.fraction_bits, self.weight_bits)

    @property
    def reciprocal_bits(self) -> int:
        """Bits of the reciprocal of a sum, unsigned, the highest always set."""
        return self.weight_bits + 1

    # -- time

    @property
    def reciprocal_cycles(self) -> int:
        """Cycles from a row's sum to its reciprocal."""
        return self.guard_bits + self.reciprocal_bits + 1

    @property
    def latency(self) -> int:
        """Cycles from a row's last product to its first factor, nothing being waited for."""
        timing = AttentionTiming
        return timing.SUM_CYCLES + self.reciprocal_cycles + 2 + timing.RESULT_CYCLES

    def schedule(self) -> "AttentionTiming":
        """Return the model that says when beats are taken and results appear."""
        return AttentionTiming(self)

    # -- weighted sum

    @property
    def out_shift(self) -> int:
        """Bits that a weighted sum of values loses, to be in the units of the values."""
        return self.kv_bits - 1

    # -- errors

    @property
    def score_error(self) -> Fraction:
        """Bound of a score's distance from the exact one, in powers of two."""
        return Fraction(1, 2 << self.fraction_bits)

    @property
    def weight_error(self) -> tuple[float, float]:
        """Relative and absolute bound of a weight's error, as parts of one.

        A power's rounding and its exponent's, the same in the sum, then the sum's cut bits, those
        of its mantissa and of the reciprocal, and the weight's rounding.
        """
        unit = 2.0**-self.weight_bits
        power = 2.0 ** float(self.score_error) * (1 + unit) - 1
        cut = 2 * unit * (1 + 2.0**-self.guard_bits) + 2 * unit + 2 * unit
        return (1 + power) * (1 + cut) / (1 - power) - 1, 1.5 * unit

    def out_error(self, weights: Any, elements: Any) -> Any:
        """Return the bound of results' errors in the units of the values.

        ``weights`` [..., slots] are those of exact scores, ``elements`` [slots, head_size] the
        values as stored; NumPy's arrays both. Beside the weights' errors there are those of their
        products with scales, half a step for every slot, and the result's rounding.
        """
        relative, absolute = self.weight_error
        slots = elements.shape[-2]
        scaled = slots * 0.5
        parts = relative * (weights @ abs(elements)) + absolute * abs(elements).sum(-2)
        return parts + scaled + 0.5


class AttentionTiming:
    """When rows are taken and appear, nobody pausing.

    With l the cycle in which a row's last product is taken, R that in which its reciprocal is
    there, E that of its last issue, n its slots, g its groups and C ``reciprocal_cycles``::

        products    one a cycle from max(offered, l' + 1, E4 + 1), all n g of them
        reciprocal  R = max(l + SUM_CYCLES, R' + 1) + C
        issues      one a cycle from max(R + 2, E' + 1)
        results     one a cycle, RESULT_CYCLES later

    Primes mark the row before, E4 is of the fourth row before: four rows have places.
    """

    SUM_CYCLES = 13
    RESULT_CYCLES = 11

    def __init__(self, config: AttentionConfig):
        self._config = config
        self._taken = self._known = -1
        self._issued = [-1] * ROWS

    def row(self, offered: int, slots: int) -> tuple[int, int]:
        """Take the next row, offered from a cycle on; return when its first beats move.

        The first product's cycle, then the first result's.
        """
        beats = slots * self._config.groups
        begin = max(offered, self._taken + 1, self._issued[0] + 1)
        self._taken = begin + beats - 1
        summed = max(self._taken + self.SUM_CYCLES, self._known + 1)
        self._known = summed + self._config.reciprocal_cycles
        issue = max(self._known + 2, self._issued[-1] + 1)
        self._issued = [*self._issued[1:], issue + beats - 1]
        return begin, issue + self.RESULT_CYCLES


@dataclass(frozen=True, kw_only=True)
class RotaryConfig:
    """Parameters of `Rotary`, which turns the pairs of a head by its position.

    Attributes
    ----------
    head_size : int
        Elements of a head, even, 32 to 256.
    layout : str
        ``"interleaved"``: elements 2 i and 2 i + 1 are pair i. ``"halves"``: i and
        i + head_size / 2.
    base : int
        Pair i turns by ``base**(-2 i / head_size)`` radians a position; 100 to 10,000,000.
    position_bits : int
        Bits of a position, 4 to 24.
    phase_bits : int
        Bits of an angle as a part of a turn, 16 to 32.
    angle_bits : int
        Leading bits of an angle that the table of sines is read with, 8 to 14.
    """

    head_size: int = 64
    layout: str = "interleaved"
    base: int = 100_000
    position_bits: int = 16
    phase_bits: int = 28
    angle_bits: int = 12

    def __post_init__(self) -> None:
        plain_fields(self)
        check_range("head_size", self.head_size, 32, 256)
        if self.head_size % 2:
            raise ConfigError(f"head_size must be even, not {self.head_size}")
        check_choice("layout", self.layout, LAYOUTS)
        check_range("base", self.base, 100, 10_000_000)
        check_range("position_bits", self.position_bits, 4, 24)
        check_range("phase_bits", self.phase_bits, 16, 32)
        check_range("angle_bits", self.angle_bits, 8, 14)

    @property
    def pairs(self) -> int:
        """Pairs of a head."""
        return self.head_size // 2

    @property
    def steps(self) -> tuple[int, ...]:
        """How far each pair turns a position, in ``2**-phase_bits`` turns."""
        turn = (1 << self.phase_bits) / (2 * math.pi)
        size = self.head_size
        return tuple(round(turn * self.base ** (-2 * i / size)) for i in range(self.pairs))

    @property
    def sines(self) -> tuple[int, ...]:
        """Sine of every angle of the first quarter of a turn, its end too, in ``2**-14``."""
        quarter = 1 << self.angle_bits - 2
        unit = math.pi / 2 / quarter
        return tuple(round((1 << 14) * math.sin(unit * i)) for i in range(quarter + 1))

    def elements(self, pair: int) -> tuple[int, int]:
        """Return the two elements of a pair."""
        if self.layout == "interleaved":
            return 2 * pair, 2 * pair + 1
        return pair, pair + self.pairs

    def angle_error(self, position: int) -> float:
        """Return the bound of an angle's error at a position, in radians."""
        phase = position * 0.5 / (1 << self.phase_bits)
        return 2 * math.pi * (phase + 0.5 / (1 << self.angle_bits))

    def error(self, position: int) -> float:
        """Return the bound of an element's error at a position, as a part of its pair's length.

        The rounding of results, one half, comes on top.
        """
        return self.angle_error(position) + 2**0.5 * 0.5 / (1 << 14)


@cache
def _powers(fraction_bits: int, weight_bits: int) -> tuple[int, ...]:
    entries, half, top = 1 << fraction_bits, 1 << weight_bits - 1, (1 << weight_bits) - 1
    return tuple(min(round(half * 2 ** (i / entries)), top) for i in range(entries))
