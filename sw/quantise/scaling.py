"""Integers for real numbers: requantisation multipliers and ratios of weights."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..model.integer_graph import Formats

__all__ = ["MAX_SHIFT", "MIN_SHIFT", "bracket", "multiplier", "tie_ratio", "two_weights"]

MIN_SHIFT, MAX_SHIFT = 1, 47
"""Shifts that the hardware takes."""

_TERMS = 1024
_NOISE = 2.0**-22


def multiplier(
    factors: NDArray[np.floating],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ``mult`` and ``shift`` with ``mult / 2**shift`` nearest to each positive factor.

    ``mult`` is in [2**15, 2**16), so that the error is at most 2**-16 of the factor; below
    2**-32, where the shift ends, it is smaller and the error at most 2**-48.

    Raises
    ------
    ValueError
        A factor is not positive or is 2**15 or more.
    """
    factors = np.asarray(factors, np.float64)
    if not (np.isfinite(factors) & (factors > 0)).all():
        raise ValueError("requantisation factors must be positive and finite")
    fraction, exponent = np.frexp(factors)
    mult = np.rint(np.ldexp(fraction, 16)).astype(np.int64)
    shift = 16 - exponent.astype(np.int64)
    carried = mult == 1 << 16
    mult, shift = np.where(carried, 1 << 15, mult), np.where(carried, shift - 1, shift)
    if (shift < MIN_SHIFT).any():
        raise ValueError(f"requantisation factor {factors.max():g} is not below {1 << 15}")
    small = shift > MAX_SHIFT
    tiny = np.rint(np.ldexp(factors, MAX_SHIFT)).astype(np.int64)
    return np.where(small, tiny, mult), np.where(small, MAX_SHIFT, shift)


def tie_ratio(factor: float) -> Fraction | None:
    """Return the ratio that ``factor`` is, if it makes ties that its multiplier misses.

    Sums times 1/6 often lie half way between two integers, and no ``mult / 2**shift`` is 1/6.
    Ratios of numbers whose product is beyond 1,024 rarely make a tie; ratios within the rounding of
    scales with 24 bits are taken as meant.
    """
    below = np.arange(2, _TERMS + 1, 2)
    above = np.rint(below * factor)
    meant = np.abs(above - below * factor) <= below * factor * _NOISE
    meant &= (above > 0) & (above * below <= _TERMS)
    if not meant.any():
        return None
    first = int(meant.argmax())
    ratio = Fraction(int(above[first]), int(below[first]))
    whole = ratio.denominator
    return None if whole % 2 or whole & whole - 1 == 0 else ratio


def bracket(
    ratio: Fraction, reach: int, widest: int
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the requantisations just below and just above ``ratio``.

    Each is a weight, ``mult`` and ``shift``, for sums whose weights are all multiplied by the
    weight. It is the smallest up to ``widest`` that leaves ties as the only values on which the
    two differ, for results of a magnitude of up to ``reach``; if there is none, the best.
    """
    weights = np.arange(1, widest + 1)
    wholes = weights * ratio.denominator
    shifts = 16 - np.frexp(ratio.numerator / wholes)[1].astype(np.int64)
    exact = np.left_shift(ratio.numerator, shifts)
    found = []
    for mults in (exact // wholes, exact // wholes + 1):
        wrong = np.abs(mults * wholes - exact) / exact * 2 * ratio.denominator * reach
        best = int(np.argmax(wrong < 1) if (wrong < 1).any() else np.argmin(wrong))
        mult, shift = int(mults[best]), int(shifts[best])
        carried = mult == 1 << 16
        found.append((best + 1, 1 << 15, shift - 1) if carried else (best + 1, mult, shift))
    return found[0], found[1]


def two_weights(first: float, second: float, formats: Formats) -> tuple[int, int, float]:
    """Return two weights and a unit with ``weight * unit`` nearest to each of two scales.

    The larger scale is met exactly; of all sizes of its weight the one that meets the smaller
    scale best is taken, the smallest of equals.
    """
    large, small = max(first, second), min(first, second)
    sizes = np.arange(1, formats.w_high + 1)
    others = np.rint(small / large * sizes)
    best = int(np.argmin(np.abs(others * large / sizes - small)))
    pair = (int(sizes[best]), int(others[best]))
    a, b = pair if first >= second else pair[::-1]
    return a, b, large / float(sizes[best])
