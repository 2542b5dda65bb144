"""Golden model of the arrays for ternary weights."""

import numpy as np
from numpy.typing import NDArray

from ...hw.ternary.config import TernaryConfig
from .systolic import exact_product

__all__ = ["ternary"]


def ternary(
    config: TernaryConfig, x: NDArray[np.int64], w: NDArray[np.int64], mode: int = 0
) -> NDArray[np.int64]:
    """Ternary array: activations with a weight of 1 less those with a weight of -1.

    Parameters / Returns: ``x`` [M, K] in the configured range and ``w`` [K, N] of -1, 0 and 1;
    returns [M, N].
    Exactness: int64, no rounding. Order: rows and columns as given.
    Reference: Li, Liu, Wang, Ternary Weight Networks, arXiv 1605.04711.
    Independent check: test_ternary compares with ``x @ w``.
    """
    added, subtracted = (exact_product(x, (w == sign).astype(np.int64)) for sign in (1, -1))
    return added - subtracted
