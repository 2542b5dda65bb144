"""Golden model of the systolic arrays."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["systolic"]


def systolic(x: NDArray[np.int64], w: NDArray[np.int64]) -> NDArray[np.int64]:
    """Dense systolic array: ``psums = acts @ weights``, weight- or output-stationary.

    Parameters and result: ``x`` (rows, k) and ``w`` (k, cols) integers; returns (rows, cols).
    Exactness: bit-exact with `SystolicArray` for every configuration; int64 throughout.
    Order: result rows in the order of the rows of ``x``.
    Independent check: test_systolic compares with a naive loop.
    Reference: the definition of a matrix product.
    """
    return np.asarray(x, dtype=np.int64) @ np.asarray(w, dtype=np.int64)
