"""Golden model of the column-combining arrays."""

import numpy as np
from numpy.typing import NDArray

from ...hw.packed.config import PackedConfig
from .systolic import exact_product

__all__ = ["packed"]


def packed(
    config: PackedConfig, x: NDArray[np.int64], w: NDArray[np.int64], mode: int = 0
) -> NDArray[np.int64]:
    """Column-combining array: ``psums = acts @ unpack(weights)``, one weight per packed column.

    Parameters and result: ``x`` (rows, k) and ``w`` (k, cols) integers; returns (rows, cols). Every
    ``config.span(mode)`` consecutive channels are a packed column, from channel 0 on.
    Exactness: bit-exact with `PackedArray`; int64 throughout. Of each packed column and output the
    weight of largest magnitude stays, all others count as zero: exactly ``x @ w`` where there are
    none.
    Order: result rows in the order of the rows of ``x``; of equal magnitudes that of the first
    channel stays.
    Independent check: test_packed compares with a naive loop.
    Reference: Kung, McDanel, Zhang, ASPLOS 2019, column combining; column-combine pruning.
    """
    x, w = np.asarray(x, np.int64), np.asarray(w, np.int64)
    kept = np.zeros_like(w)
    columns = np.arange(w.shape[1])
    span = config.span(mode)
    for first in range(0, len(w), span):
        group = w[first : first + span]
        best = np.abs(group).argmax(axis=0)
        kept[first + best, columns] = group[best, columns]
    return exact_product(x, kept)
