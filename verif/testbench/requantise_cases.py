"""What requantisers are tried on."""

import random
from typing import NamedTuple

from ...hw.engine.requantise_config import RequantiseConfig
from ..golden.requantise import requantise

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
    """Draw cases: half of them by operand, and half so that single bits decide the result."""
    return [(_drawn if rng.random() < 0.5 else _decided)(config, rng) for _ in range(count)]


def _zero_point(config: RequantiseConfig, rng: random.Random) -> int:
    """Draw a zero point, now and then far outside the range of results."""
    low, high = config.out_range
    far = 1 << config.clamp_bits - 1
    return rng.choice((0, low, high, rng.randrange(low, high + 1), rng.randrange(-far, far)))


def _drawn(config: RequantiseConfig, rng: random.Random) -> Case:
    """Draw operands, most of them so that the result is near its range."""
    limit = 1 << config.acc_width - 1
    low, high = config.out_range
    size = 1 << rng.randrange(1, config.acc_width)
    near = (rng.randrange(-size, size), rng.randrange(-limit, limit))
    acc = rng.choice((*near, -limit, limit - 1))
    bias = rng.choice((0, rng.randrange(-size, size), -limit, limit - 1))
    mult = rng.choice((rng.randrange(1 << 16), rng.randrange(1 << 16), 0, 1, 1 << 15, 65535))
    if rng.random() < 0.2:
        mult = 1 << rng.randrange(16)  # an exact half is likely
    length = ((acc + bias) * mult).bit_length()
    least = length - rng.randrange(config.out_bits + 3)
    shift = min(max(least, 0), 63) if rng.random() < 0.7 else rng.randrange(64)
    lo, hi = sorted(rng.choices(range(low, high + 1), k=2))
    if rng.random() < 0.7:
        lo, hi = low, high
    zero_point = _zero_point(config, rng)
    return Case(acc, bias, mult, shift, zero_point, lo, hi)


def _decided(config: RequantiseConfig, rng: random.Random) -> Case:
    """Draw a product and a shift so that one bit of it, or of a clamp, decides the result.

    The product is a quotient near the range with nothing below it, a half, or a single bit, or a
    half and a bit; then any one bit of it may be turned.
    """
    limit = 1 << config.acc_width - 1
    low, high = config.out_range
    shift = rng.randrange(min(64, config.product_width + 2))
    bit, half = 1 << rng.randrange(max(1, shift)), 1 << shift >> 1
    far = 2 << config.clamp_bits - 1  # what a zero point can just bring back
    near = rng.randrange(low - 2, high + 3)
    product = rng.choice((0, -1, near, near, rng.randrange(-far, far))) << shift
    product += rng.choice((0, half, bit, half + bit, half - bit))
    if rng.random() < 0.4:
        product ^= 1 << rng.randrange(config.product_width - 1)
    # As an accumulator times a power of two, whatever bits that costs.
    power = rng.randrange(16)
    while power < 15 and not -2 * limit <= product >> power <= 2 * limit - 2:
        power += 1
    total = min(max(product >> power, -2 * limit), 2 * limit - 2)
    bias = rng.randrange(max(-limit, total - limit + 1), min(limit - 1, total + limit) + 1)
    bias = rng.choice((bias, 0 if -limit <= total < limit else bias))
    zero_point = _zero_point(config, rng)
    value = zero_point + ((total << power) + half >> shift)
    near = value + rng.choice((0, 1, -1)) * (1 << rng.randrange(config.out_bits))
    near = min(max(near, low), high)
    lo, hi = rng.choice(((low, high), (low, near), (near, high)))
    return Case(total - bias, bias, 1 << power, shift, zero_point, lo, hi)


def corner_cases(config: RequantiseConfig) -> list[Case]:
    """List extremes: ends of operands, halves and a bit more, quotients just beyond the range."""
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
    return cases + _just_above_half(config)


def _just_above_half(config: RequantiseConfig) -> list[Case]:
    """List quotients of an even number, a half and one bit below it: any such bit rounds up."""
    limit = 1 << config.acc_width - 1
    low, high = config.out_range
    cases = []
    for shift in range(2, 64):
        for bit in range(shift - 1):
            power = min(bit, 15)
            for even in (0, -2):
                total = (even << shift) + (1 << shift - 1) + (1 << bit) >> power
                if -2 * limit <= total <= 2 * limit - 2:
                    acc = min(max(total, -limit), limit - 1)
                    cases.append(Case(acc, total - acc, 1 << power, shift, 0, low, high))
    return cases


def expected(config: RequantiseConfig, cases: list[Case]) -> list[int]:
    """Return the golden results."""
    acc, bias, mult, shift, zero_point, low, high = map(list, zip(*cases, strict=True))
    return requantise(acc, bias, mult, shift, zero_point, low, high, config.rounding).tolist()
