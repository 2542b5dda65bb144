"""The requantiser: from accumulators to activations, exact for every width."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["requantise"]


def requantise(
    acc: ArrayLike,
    bias: ArrayLike,
    mult: ArrayLike,
    shift: ArrayLike,
    zero_point: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    rounding: str = "half_even",
    divisor: int = 1,
) -> NDArray[np.int64]:
    """Computes clamp(round((acc + bias) * mult / 2**shift) + zero_point, lo, hi), exactly.

    Parameters / Returns: ``acc`` [..., n] and the others [n] or scalar, with ``mult`` in 0..65535
    and ``shift`` in 0..63; returns [..., n] in ``low..high``. What is rounded is also divided by
    ``divisor``, 1 in hardware; hosts make means with it.
    Exactness: exact for any width; int64 where the product fits it, Python integers beyond.
    Order: ties go to the even neighbour (``"half_even"``) or away from zero (``"half_away"``).
    Independent check: test_requantise compares with fractions.Fraction and decimal.
    Reference: Jacob et al., CVPR 2018, section 2.2, with one exact rounding.
    """
    if rounding not in ("half_even", "half_away"):
        raise ValueError(f"rounding must be 'half_even' or 'half_away', not {rounding!r}")
    v = np.asarray(acc, np.int64)
    sums = (v, np.asarray(bias, np.int64))
    wide = any(a.size and (a.min() < -(1 << 46) or a.max() >= 1 << 46) for a in sums)
    wide |= np.asarray(shift).max(initial=0) + divisor.bit_length() > 62
    kind = object if wide else np.int64
    p = (v.astype(kind) + np.asarray(bias, kind)) * np.asarray(mult, kind)
    s = np.broadcast_to(np.asarray(shift, kind), p.shape)
    parts = divisor << s
    whole = p >> s if divisor == 1 else p // parts
    twice = 2 * (p - whole * parts)
    up = whole & 1 == 1 if rounding == "half_even" else p > 0
    rounded = whole + ((twice > parts) | ((twice == parts) & up))
    return np.clip(rounded + np.asarray(zero_point), low, high).astype(np.int64)
