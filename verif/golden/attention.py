"""Golden model of attention in integers: rotary positions, storage, scores, softmax, sums."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...hw.attention.config import ACT_BITS, AttentionConfig, RotaryConfig
from ...sw.llm.stored import Stored
from .requantise import requantise

__all__ = [
    "Attended",
    "Stored",
    "attention",
    "factors",
    "restore",
    "rotary",
    "scores",
    "softmax",
    "store",
    "weighted_sum",
]

Integers = NDArray[np.int64]

_TOP = (1 << ACT_BITS - 1) - 1


@dataclass(frozen=True)
class Attended:
    """Results of a step.

    Attributes
    ----------
    out : array [..., queries, head_size]
        Mix of values, in their units.
    weights : array [..., queries, slots]
        Attention weights, parts of ``2**weight_bits``; what the cache's controller is told.
    """

    out: Integers
    weights: Integers


def attention(
    config: AttentionConfig,
    q: Integers,
    keys: Stored,
    values: Stored,
    valid: ArrayLike,
    shift: ArrayLike,
) -> Attended:
    """Mix values by the softmax of their keys' products with each query.

    Parameters / Returns: ``q`` [..., queries, head_size] signed of 16 bits, turned to their
    position, the factor ``log2(e) / sqrt(head_size)`` included; ``keys`` and ``values`` [...,
    slots, ...]; ``valid`` [..., slots] says which slots hold tokens, one at least; ``shift`` how
    many bits sums lose to be scores. Returns as `Attended` says.
    Exactness: bit-exact with `Attention`; int64 throughout, sums of products in doubles that are
    exact.
    Order: the sum of powers is cut where the maximum rises, so that it depends on the slots' order;
    all else does not.
    Independent check: test_attention_golden compares with one slot after the other in plain Python,
    and with softmax in doubles within the bound that the configuration states.
    Reference: Milakov, Gimelshein, Online normalizer calculation for softmax, 2018.
    """
    found = scores(config, q, restore(config, keys), shift)
    weights = softmax(config, found, valid)
    return Attended(weighted_sum(config, weights, values), weights)


def rotary(config: RotaryConfig, x: Integers, positions: ArrayLike) -> Integers:
    """Turn the pairs of each head by its position.

    ``x`` [..., head_size] and ``positions`` that broadcast to [...]; results round half up and
    saturate, as a pair may be longer than either of its elements.
    """
    size, half = config.head_size, config.head_size // 2
    first, second = (
        (slice(0, None, 2), slice(1, None, 2))
        if config.layout == "interleaved"
        else (slice(0, half), slice(half, None))
    )
    a, b = x[..., first], x[..., second]
    # How far each pair turns a position, in the smallest parts of a turn.
    speed = np.exp(np.arange(half) * (-2 / size * np.log(config.base)))
    step = np.rint(speed * 2.0**config.phase_bits / (2 * np.pi)).astype(np.int64)
    turn = np.asarray(positions, np.int64)[..., None] * step
    cut = config.phase_bits - config.angle_bits
    part = (turn + (1 << cut >> 1) >> cut) % (1 << config.angle_bits)
    angle = part * (2 * np.pi / (1 << config.angle_bits))
    sine, cosine = (
        np.rint(function(angle) * (1 << 14)).astype(np.int64) for function in (np.sin, np.cos)
    )
    out = np.empty(np.broadcast_shapes(x.shape, (*angle.shape[:-1], size)), np.int64)
    out[..., first] = a * cosine - b * sine + (1 << 13) >> 14
    out[..., second] = a * sine + b * cosine + (1 << 13) >> 14
    return np.clip(out, -_TOP - 1, _TOP)


def store(config: AttentionConfig, x: Integers) -> Stored:
    """Give heads ``x`` [..., head_size] the codes that the cache keeps.

    A group's scale is the least with which its largest element needs no more than the highest
    code; codes round half away from zero. 16 bits are kept as they are.
    """
    levels = 1 << config.kv_bits - 1
    shape = (*x.shape[:-1], config.groups, config.group)
    if config.kv_bits == ACT_BITS:
        return Stored(x, np.full(shape[:-1], levels))
    grouped = x.reshape(shape)
    most = np.abs(grouped).max(-1)
    scales = np.maximum(-(-most * levels // (levels - 1)), 1)
    sizes = (np.abs(grouped) * 2 * levels + scales[..., None]) // (2 * scales[..., None])
    codes = np.sign(grouped) * np.minimum(sizes, levels - 1)
    return Stored(codes.reshape(x.shape), scales)


def restore(config: AttentionConfig, stored: Stored) -> Integers:
    """Return elements in units of ``2**(1 - kv_bits)``: codes times scales, exact."""
    return stored.codes * np.repeat(stored.scales, config.group, -1)


def scores(config: AttentionConfig, q: Integers, keys: Integers, shift: ArrayLike) -> Integers:
    """Return the products of queries and restored keys, [..., queries, slots], in powers of two.

    They lose ``shift`` bits and round half up.
    """
    sums = _product(q, np.swapaxes(keys, -1, -2))
    shift = np.asarray(shift, np.int64)
    half = np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
    return sums + half >> shift


def softmax(config: AttentionConfig, scores: Integers, valid: ArrayLike) -> Integers:
    """Return the weights of scores: powers of two, their running sum, a reciprocal, products.

    A power is a table's entry moved right by how far its score is below the running maximum's
    whole part; where that rises, the sum moves right too.
    """
    valid = np.broadcast_to(np.asarray(valid, bool), scores.shape)
    fraction = config.fraction_bits
    whole = np.where(valid, scores >> fraction, -(1 << 60))
    half, longest = 1 << config.weight_bits - 1, (1 << config.weight_bits) - 1
    part = (scores & (1 << fraction) - 1) / (1 << fraction)
    power = np.minimum(np.rint(half * np.exp2(part)).astype(np.int64), longest)
    running = np.maximum.accumulate(whole, -1)
    top = running[..., -1:]
    widest = config.sum_width
    fresh: Integers = np.where(valid, power << config.guard_bits, np.int64(0))
    terms: Integers = fresh >> np.minimum(running - whole, widest)
    total = _folded(terms, np.minimum(top - running, 1 << 20), widest)
    length = bit_length(total)
    bits = config.reciprocal_bits
    mantissa = total >> length - bits
    reciprocal = np.minimum((1 << 2 * bits - 1) // mantissa, (1 << bits) - 1)[..., None]
    cut = (length - config.guard_bits)[..., None] + top - whole
    cut = np.minimum(cut, 2 * bits)
    rounded = power * reciprocal + (1 << cut - 1) >> cut
    return np.where(valid, np.minimum(rounded, (1 << config.weight_bits) - 1), 0)


def _folded(terms: Integers, below: Integers, width: int) -> Integers:
    """Return the sum of terms, cut each time the maximum rises; ``below`` says by how much in all.

    Cuts of cuts are one cut of the whole, so that the sum is that of the terms at their final
    places, whatever is below the point dropped. Terms far below it are added first, and cut, where
    int64 would not hold them.
    """
    step = 62 - width
    total = np.zeros(terms.shape[:-1], np.int64)
    levels = -(-2 * width // step) + 1
    for level in range(levels, -1, -1):
        here = (below > step * level - step) & (below <= step * level)
        if here.any():
            places = np.where(here, step * level - below, 0)
            total = total + np.where(here, terms << places, 0).sum(-1)
        if level:
            total = total >> step
    return total


def bit_length(values: Integers) -> Integers:
    """Return the bits of each positive value below 2**53."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def factors(config: AttentionConfig, weights: Integers, scales: Integers) -> Integers:
    """Return weights [..., queries, slots] times the values' scales, [..., queries, slots, groups].

    Products round half up to 16 bits.
    """
    half = 1 << config.weight_bits - 1
    return weights[..., None] * scales[..., None, :, :] + half >> config.weight_bits


def weighted_sum(config: AttentionConfig, weights: Integers, values: Stored) -> Integers:
    """Return the values times their weights, [..., queries, head_size], in the values' units.

    The sums of factors times codes round half to even and saturate, as the requantiser does.
    """
    scaled, parts = factors(config, weights, values.scales), []
    for group in range(config.groups):
        elements = slice(group * config.group, (group + 1) * config.group)
        parts.append(_product(scaled[..., group], values.codes[..., elements]))
    sums = np.concatenate(parts, -1)
    return requantise(sums, 0, 1, config.out_shift, 0, -_TOP - 1, _TOP)


def _product(a: Integers, b: Integers) -> Integers:
    """Return a matrix product of integers, by doubles where they hold every sum.

    Operands that are doubles already are known to be small enough.
    """
    if b.dtype == np.float64:
        return (a.astype(np.float64) @ b).astype(np.int64)
    most = int(np.abs(a).max(initial=0)) * int(np.abs(b).max(initial=0)) * a.shape[-1]
    if most < 1 << 53:
        return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
    return a @ b
