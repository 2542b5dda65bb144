"""Rows for the attention unit with what must come of them."""

from dataclasses import dataclass

import numpy as np

from ...hw.attention.config import ACT_BITS, AttentionConfig
from ..golden.attention import factors, softmax

__all__ = ["KINDS", "Row", "extreme_row", "random_row", "row_of"]

KINDS = (
    "even", "near", "far", "rising", "falling", "huge", "tiny", "high", "low", "brim",
    "fine",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One query's products with all slots.

    Attributes
    ----------
    scores : list of dict
        Beats of ``scores``.
    scales : list of int
        Beats of ``scales``.
    factors : list of dict
        Beats of ``o``.
    """

    scores: list[dict[str, int]]
    scales: list[int]
    factors: list[dict[str, int]]


def row_of(config: AttentionConfig, dot, key_scales, shift: int, value_scales) -> Row:
    """Return a row of products [slots, groups], scales of keys and of values alike, and a shift."""
    sums = (dot * key_scales).sum(1)
    found = sums + (1 << shift >> 1) >> shift
    weights = softmax(config, found, True)
    scaled = factors(config, weights[None], value_scales)[0]
    slots, groups = dot.shape
    at = [(i, g) for i in range(slots) for g in range(groups)]
    return Row(
        [
            {"dot": int(dot[i, g]), "scale": int(key_scales[i, g]), "shift": shift,
             "last": int(i == slots - 1)}
            for i, g in at
        ],
        [int(value_scales[i, g]) for i, g in at],
        [
            {"factor": int(scaled[i, g]), "weight": int(weights[i]), "first": int(g == 0),
             "last": int(i == slots - 1 and g == groups - 1)}
            for i, g in at
        ],
    )  # fmt: skip


def random_row(config: AttentionConfig, rng: np.random.Generator, kind: str, slots: int) -> Row:
    """Return a row whose scores are spread as ``kind`` says; see `KINDS`."""
    shape = (slots, config.groups)
    limit = (1 << config.dot_width - 1) - 1
    key_scales = rng.integers(1 << ACT_BITS - 1, 1 << ACT_BITS, shape)
    spread = {"even": 0, "near": 1, "far": 30, "huge": 400, "tiny": 0.02}.get(kind, 12)
    most = min(limit.bit_length() + ACT_BITS - 9 - config.fraction_bits, 40)
    shift = int(rng.integers(0, most + 1))
    unit = 2.0 ** (shift + config.fraction_bits - ACT_BITS)
    level = {"high": 60, "low": -60}.get(kind, 0)
    exact = rng.normal(level, 3 if level else spread, shape) * unit
    if kind in ("brim", "fine"):
        steps = rng.integers(-12, 13, shape)
        if kind == "brim":  # some far above the others
            steps += rng.integers(-1, 2, shape) << 7 + config.fraction_bits
        else:  # every bit of a sum counts
            shift, key_scales = int(rng.integers(0, 3)), rng.integers(1, 16, shape)
            steps *= 8
        exact = steps * 2.0**shift / (key_scales * config.groups)
    dot = np.rint(exact).clip(-limit, limit).astype(np.int64)
    if kind in ("rising", "falling"):
        dot = np.sort(dot, 0)[:: 1 if kind == "rising" else -1]
    value_scales = rng.integers(0, 1 << ACT_BITS, shape)
    return row_of(config, dot, key_scales, shift, value_scales)


def extreme_row(config: AttentionConfig, number: int, slots: int) -> Row:
    """Return one of 16 rows of the largest operands, by the bits of ``number``.

    Bit 0: products are the lowest, else the highest. Bit 1: they alternate. Bit 2: sums lose all
    bits that the shift can name, else none. Bit 3: scales of values are all ones.
    """
    shape = (slots, config.groups)
    top = (1 << config.dot_width - 1) - 1
    dot = np.full(shape, -top - 1 if number & 1 else top)
    if number & 2:
        dot[::2] = -1 - dot[::2]
    shift = (1 << config.shift_bits) - 1 if number & 4 else 0
    ones = (1 << ACT_BITS) - 1
    key_scales = np.full(shape, ones)
    value_scales = np.full(shape, ones if number & 8 else 1 << ACT_BITS - 1)
    return row_of(config, dot, key_scales, shift, value_scales)
