"""Golden model of the arrays for N:M structured sparsity."""

import numpy as np
from numpy.typing import NDArray

from ...hw.nm.config import NmConfig
from .systolic import exact_product

__all__ = ["nm"]


def nm(
    config: NmConfig, x: NDArray[np.int64], w: NDArray[np.int64], mode: int = 0
) -> NDArray[np.int64]:
    """N:M sparse array: ``psums = acts @ weights`` with ``n`` weights of each ``m`` in the cells.

    Parameters and result: ``x`` (rows, k) and ``w`` (k, cols) integers; returns (rows, cols). Every
    ``config.span(mode)`` consecutive channels are a group, from channel 0 on.
    Exactness: bit-exact with `NmArray`; int64 throughout. Of each group and output the ``n``
    weights of largest magnitude stay, all others count as zero: exactly ``x @ w`` where there are
    none, and always where the mode is dense.
    Order: result rows in the order of the rows of ``x``; of equal magnitudes those of the first
    channels stay.
    Independent check: test_nm compares with a naive loop.
    Reference: Mishra et al., arXiv 2104.08378, magnitude pruning to N:M.
    """
    x, w = np.asarray(x, np.int64), np.asarray(w, np.int64)
    kept = w.copy()
    span = config.span(mode)
    for first in range(0, len(w), span):
        group = np.abs(w[first : first + span])
        # A weight goes where n others of its group are larger, or equal and before it.
        before = np.tri(len(group), k=-1, dtype=bool)[:, :, None]
        others, own = group[None], group[:, None]
        ahead = ((others > own) | ((others == own) & before)).sum(axis=1)
        kept[first : first + span][ahead >= config.n] = 0
    return exact_product(x, kept)
