"""Signed digits of whole arrays of integers, for packers and budgets."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["count_terms", "masks"]

Ints = NDArray[np.int64]


def masks(values: Ints, encoding: str) -> tuple[Ints, Ints]:
    """Return the places of the digits 1 and of the digits -1: ``values = plus - minus``.

    Parameters
    ----------
    values : ndarray
        Integers of magnitude below ``2 ** 60``.
    encoding : str
        One of ``tilewright.hw.arith.encoding.ENCODINGS``.

    Returns
    -------
    plus, minus : ndarray
        Bit ``i`` is the digit of weight ``2 ** i``; no bit is set in both.
    """
    values = np.asarray(values, dtype=np.int64)
    if encoding == "booth2":
        return (values << 1) & ~values, values & ~(values << 1)
    if encoding == "booth4":
        return _booth4(values)
    encoders = {"binary": _binary, "ent": _ent, "naf": _naf, "hese": _hese}
    plus, minus = encoders[encoding](np.abs(values))
    negative = values < 0
    return np.where(negative, minus, plus), np.where(negative, plus, minus)


def count_terms(values: Ints, encoding: str) -> Ints:
    """Return how many digits of each value are not zero."""
    plus, minus = masks(values, encoding)
    return np.bitwise_count(plus | minus).astype(np.int64)


def _binary(n: Ints) -> tuple[Ints, Ints]:
    return n, np.zeros_like(n)


def _booth4(n: Ints) -> tuple[Ints, Ints]:
    """Digits of radix 2 with those of each pair of places merged: 2 - 1 is 1 and 1 - 2 is -1."""
    plus, minus = (n << 1) & ~n, n & ~(n << 1)
    even = np.int64(0x5555555555555555)
    down, up = (plus >> 1) & minus & even, (minus >> 1) & plus & even
    return plus & ~(down << 1) & ~up | down, minus & ~(up << 1) & ~down | up


def _ent(n: Ints) -> tuple[Ints, Ints]:
    """Digit by digit from below, 3 and more less 4."""
    plus, minus, rest = np.zeros_like(n), np.zeros_like(n), n.copy()
    place = 0
    while rest.any():
        digit = rest & 3
        digit = np.where(digit == 3, -1, digit)
        plus |= np.maximum(digit, 0) << place
        minus |= np.maximum(-digit, 0) << place
        rest = (rest - digit) >> 2
        place += 2
    return plus, minus


def _naf(n: Ints) -> tuple[Ints, Ints]:
    half = n >> 1
    triple = n + half
    return triple & ~half, half & ~triple


def _hese(n: Ints) -> tuple[Ints, Ints]:
    low, above = n & ~(n << 1), (n << 1) & ~n
    single = low & ~(n >> 1)
    return (above & ~(single << 1)) | single, low & ~single
