"""What requantisers are tried on."""

import random
from typing import NamedTuple

from tilewright.hw.engine.requantise_config import RequantiseConfig
from tilewright.verif.golden.requantise import requantise

__all__ = ["Case", "corner_cases", "expected", "random_cases"]


class Case(NamedTuple):
    """One beat: an accumulator and all that its requantisation needs."""

    acc: int
    bias: int
    mult: int
    shift: int
    zero_point: int
    lo: int
    hi: int


def random_cases(config: RequantiseConfig, count: int, rng: random.Random) -> list[Case]:
    """Draw cases, most of them near the output's range, where rounding and clamps matter."""
    limit = 1 << config.acc_width - 1
    low, high = config.out_range
    cases = []
    for _ in range(count):
        size = 1 << rng.randrange(1, config.acc_width)
        near = (rng.randrange(-size, size), rng.randrange(-limit, limit))
        acc = rng.choice((*near, -limit, limit - 1))
        bias = rng.choice((0, rng.randrange(-size, size), -limit, limit - 1))
        mult = rng.choice((rng.randrange(1 << 16), rng.randrange(1 << 16), 0, 1, 1 << 15, 65535))
        if rng.random() < 0.2:
            mult = 1 << rng.randrange(16)  # an exact half is likely
        length = ((acc + bias) * mult).bit_length()
        near = length - rng.randrange(config.out_bits + 3)
        shift = min(max(near, 0), 63) if rng.random() < 0.7 else rng.randrange(64)
        lo, hi = sorted(rng.choices(range(low, high + 1), k=2))
        if rng.random() < 0.7:
            lo, hi = low, high
        zero_point = rng.choice((0, low, high, rng.randrange(low, high + 1)))
        cases.append(Case(acc, bias, mult, shift, zero_point, lo, hi))
    return cases


def corner_cases(config: RequantiseConfig) -> list[Case]:
    """List extremes: ends of every operand, exact halves, quotients just beyond the range."""
    limit = 1 << config.acc_width - 1
    low, high = config.out_range
    ends = (-limit, -1, 0, 1, limit - 1)
    cases = [
        Case(acc, bias, mult, shift, zero_point, low, high)
        for acc in ends
        for bias in (-limit, 0, limit - 1)
        for mult in (0, 1, 65535)
        for shift in (0, 1, 17, 63)
        for zero_point in (low, high)
    ]
    reach = min(2 * (high - low + 4), limit - 1)
    cases += [Case(acc, 0, 1, 1, 0, low, high) for acc in range(-reach, reach) if acc & 1]
    cases += [Case(acc, 0, 1, 0, high, low, low) for acc in (-1, 0, 1)]
    cases += [
        Case(sign, 0, 1 << bit, shift, 0, low, high)
        for sign in (-1, 1)
        for bit in range(16)
        for shift in range(64)
    ]
    return cases


def expected(config: RequantiseConfig, cases: list[Case]) -> list[int]:
    """Return the golden results, computed one by one as each case has its own clamps."""
    return [
        int(requantise([c.acc], [c.bias], [c.mult], [c.shift], *c[4:], config.rounding)[0])
        for c in cases
    ]
