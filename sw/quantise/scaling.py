"""Integers for real numbers: requantisation multipliers and ratios of weights."""

import numpy as np
from numpy.typing import NDArray

from .layers import Formats

__all__ = ["MAX_SHIFT", "MIN_SHIFT", "multiplier", "two_weights"]

MIN_SHIFT, MAX_SHIFT = 1, 47
"""Shifts that the hardware takes."""


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
