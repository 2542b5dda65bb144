"""Golden model of term revealing, and what it costs in pairs of terms."""

import numpy as np
from numpy.typing import NDArray

from ...hw.term.config import TermConfig
from .digits import digits
from .systolic import exact_product

__all__ = ["largest_terms", "pair_count", "revealed", "term", "truncated"]

Integers = NDArray[np.int64]


def term(config: TermConfig, x: Integers, w: Integers, mode: int = 0) -> Integers:
    """Product of data with few terms and weights with few terms per group: ``T(x) @ R(w)``.

    Parameters and result: ``x`` (rows, k) and ``w`` (k, cols) integers; returns (rows, cols).
    ``R`` keeps the largest terms of every group of weights along K, from K = 0 on; ``T`` keeps the
    largest terms of every data value. How many, and in what groups, ``mode`` and ``config`` say.
    Exactness: bit-exact with `TermArray` for every configuration; int64 throughout.
    Order: the receding water: the largest term first, of equal ones that of the lowest index.
    Independent check: test_term compares with a loop over single terms and with the software's
    plane by plane revealing.
    Reference: McDanel, Zhang, Kung, Liu, Term Revealing, 2020, with the order of ties of the
    authors' CUDA kernel.
    """
    data = truncated(np.asarray(x, np.int64), config, config.data_limit(mode))
    weights = revealed(np.asarray(w, np.int64), config.encoding, *config.weight_limit(mode))
    return exact_product(data, weights)


def revealed(w: Integers, encoding: str, group: int, budget: int) -> Integers:
    """Return weights (k, cols) with the budget of every group applied, all terms for 0."""
    if not budget:
        return w
    k, cols = w.shape
    padded = np.zeros((-(-k // group) * group, cols), np.int64)
    padded[:k] = w
    groups = padded.reshape(-1, group, cols).transpose(0, 2, 1)
    kept = largest_terms(groups.reshape(-1, group), encoding, budget)
    return kept.reshape(-1, cols, group).transpose(0, 2, 1).reshape(-1, cols)[:k]


def truncated(x: Integers, config: TermConfig, terms: int) -> Integers:
    """Return each data value's largest terms, all of them for 0."""
    if not terms:
        return x
    every = np.arange(-_RANGE, _RANGE + 1)
    return largest_terms(every[:, None], config.encoding, terms)[x + _RANGE, 0]


def largest_terms(groups: Integers, encoding: str, budget: int) -> Integers:
    """Return the sums of the ``budget`` largest terms of each row of ``groups``, per value.

    The kernel's rule: every value's terms stand in descending order; the largest of the heads is
    taken again and again, and only a strictly larger one displaces a head of lower index.
    """
    exponents, signs = _sorted_terms(encoding)
    at = np.zeros(groups.shape, np.int64)
    kept = np.zeros(groups.shape, np.int64)
    rows = np.arange(len(groups))
    code = groups + _RANGE
    for _ in range(min(budget, groups.shape[1] * exponents.shape[1])):
        heads = exponents[code, at]
        owner = heads.argmax(axis=1)
        top = heads[rows, owner]
        found = top >= 0
        if not found.any():
            break
        sign = signs[code[rows, owner], at[rows, owner]]
        kept[rows, owner] += np.where(found, sign << np.maximum(top, 0), 0)
        at[rows, owner] += found
    return kept


def pair_count(
    config: TermConfig, x: Integers, w: Integers, mode: int = 0, *, baseline: bool = False
) -> int:
    """Return the pairs of terms in ``x @ w``, as the paper counts them.

    Every weight term of a product meets every term of its data value. The paper's machine gives
    every group its budget and every value its terms: ``k * s`` pairs per group. The baseline has
    all bits of both magnitudes, zeros too.
    """
    products = x.shape[0] * w.shape[1]
    if baseline:
        x_bits = config.x_bits - config.x_signed
        return products * w.shape[0] * x_bits * (config.w_bits - 1)
    terms = config.data_limit(mode) or config.x_places
    group, budget = config.weight_limit(mode)
    return products * -(-w.shape[0] // group) * (budget or group * config.w_places) * terms


_RANGE = 256
"""Values are looked up from ``-_RANGE`` to ``_RANGE``."""

_tables: dict[str, tuple[Integers, Integers]] = {}


def _sorted_terms(encoding: str) -> tuple[Integers, Integers]:
    """Return the exponents, in descending order and then -1, and the signs of every value."""
    if encoding not in _tables:
        exponents = np.full((2 * _RANGE + 1, 11), -1)
        signs = np.zeros((2 * _RANGE + 1, 11), np.int64)
        for value in range(-_RANGE, _RANGE + 1):
            found = digits(value, encoding, 10)
            terms = [(i, found[i]) for i in reversed(range(10)) if found[i]]
            for at, (exponent, sign) in enumerate(terms):
                exponents[value + _RANGE, at], signs[value + _RANGE, at] = exponent, sign
        _tables[encoding] = exponents, signs
    return _tables[encoding]
