"""Term revealing in software: the largest terms of groups of weights and of data values."""

import numpy as np
from numpy.typing import NDArray

from .digits import masks

__all__ = ["group_terms", "reveal", "truncate"]

Ints = NDArray[np.int64]

_PLACES = 18
"""Binary places that are looked at: enough for numbers of 16 bits in every encoding."""


def reveal(w: Ints, encoding: str, group: int, budget: int | Ints) -> Ints:
    """Return weights [K, N] with the ``budget`` largest terms of every ``group`` along K.

    Groups start at K = 0, and the last one may be short. Terms of one size go to the lowest
    indexes. A budget of 0 keeps all; an array gives each column its own, and 0 there keeps none.
    """
    w = np.asarray(w, np.int64)
    if np.isscalar(budget) and not budget:
        return w.copy()
    k, n = w.shape
    padded = np.zeros((-(-k // group) * group, n), np.int64)
    padded[:k] = w
    plus, minus = (mask.reshape(-1, group, n) for mask in masks(padded, encoding))
    kept = np.zeros_like(plus)
    left = np.broadcast_to(budget, (len(plus), 1, n))
    for place in reversed(range(_PLACES)):
        terms = (plus >> place & 1) - (minus >> place & 1)
        present = np.abs(terms)
        taken = present * (np.cumsum(present, axis=1) <= left)
        kept += (terms * taken) << place
        left = left - taken.sum(axis=1, keepdims=True)
    return kept.reshape(-1, n)[:k]


def truncate(x: Ints, encoding: str, terms: int) -> Ints:
    """Return each value's ``terms`` largest terms, all of them for 0."""
    x = np.asarray(x, np.int64)
    return reveal(x.reshape(1, -1), encoding, 1, terms).reshape(x.shape)


def group_terms(w: Ints, encoding: str, group: int) -> Ints:
    """Return how many terms each group along K of weights [K, N] has: [groups, N]."""
    plus, minus = masks(np.asarray(w, np.int64), encoding)
    counts = np.bitwise_count(plus | minus).astype(np.int64)
    return np.add.reduceat(counts, np.arange(0, len(counts), group), axis=0)
