"""Proofs for N:M sparsity: what reaches the lines of each row, for dense and for sparse weights.

The cell is that of column combining, see `verif.formal.packed`.
"""

from collections.abc import Iterator
from functools import partial

from ...hw.nm.config import NmConfig
from .packed import LinesClaim
from .systolic import Claim

__all__ = ["claims"]


def claims() -> Iterator[Claim]:
    """Yield what is claimed of N:M sparsity."""
    for n, m in ((1, 1), (1, 2), (2, 4), (3, 7), (4, 8), (4, 4), (2, 16)):
        config = NmConfig(rows=2 * n, cols=1, n=n, m=m, x_bits=2)
        yield Claim(f"lines_{n}_{m}", partial(LinesClaim, config), 0)
