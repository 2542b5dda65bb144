"""Attention in integers against attention in doubles: within the bounds that are stated."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.hw.attention.config import AttentionConfig, RotaryConfig
from tilewright.verif.golden.attention import (
    restore,
    rotary,
    scores,
    softmax,
    store,
    weighted_sum,
)

SIZES = (32, 48, 64, 80, 96, 128, 192, 256)


def softmax_of(exact):
    """Return softmax in doubles of scores in powers of two."""
    powers = np.exp2(exact - exact.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@settings(deadline=None, max_examples=120)
@given(
    slots=st.sampled_from((2, 3, 16, 100, 128, 1024, 4096)),
    fraction=st.integers(4, 12),
    weight_bits=st.integers(8, 16),
    spread=st.floats(0, 60) | st.floats(0, 5000),
    level=st.floats(-60, 60) | st.floats(-1e6, 1e6),
    order=st.sampled_from((None, 1, -1)),
    seed=st.integers(0, 1 << 32),
)
def test_weights(slots, fraction, weight_bits, spread, level, order, seed):
    """Any scores, rounded as the unit rounds them, in any order."""
    config = AttentionConfig(slots=slots, fraction_bits=fraction, weight_bits=weight_bits)
    exact = np.random.default_rng(seed).normal(level, spread, (8, slots))
    if order:
        exact = np.sort(exact, -1)[:, ::order]
    rounded = np.floor(exact * (1 << fraction) + 0.5).astype(np.int64)
    assert (np.abs(rounded / 2.0**fraction - exact) <= float(config.score_error)).all()
    found, true = softmax(config, rounded, True) / 2.0**weight_bits, softmax_of(exact)
    relative, absolute = config.weight_error
    assert (np.abs(found - true) <= relative * true + absolute).all()
    # so the sum of all weights is one, within the sum of the bounds
    assert (np.abs(found.sum(-1) - 1) <= relative + slots * absolute).all()


def turned(config, x, positions):
    """Return heads turned in doubles."""
    pairs = np.array([config.elements(i) for i in range(config.pairs)])
    steps = float(config.base) ** (-2 * np.arange(config.pairs) / config.head_size)
    whole = (x[..., pairs[:, 0]] + 1j * x[..., pairs[:, 1]]) * np.exp(
        1j * np.asarray(positions)[..., None] * steps
    )
    out = np.empty_like(x, float)
    out[..., pairs[:, 0]], out[..., pairs[:, 1]] = whole.real, whole.imag
    return out


def turn_error(config, x, positions, error):
    """Return the bound of turned elements' errors, those before being within ``error``."""
    pairs = np.array([config.elements(i) for i in range(config.pairs)])
    length = np.hypot(x[..., pairs[:, 0]], x[..., pairs[:, 1]])
    before = np.hypot(error[..., pairs[:, 0]], error[..., pairs[:, 1]])
    part = np.vectorize(config.error)(np.asarray(positions))[..., None]
    out = np.empty_like(x, float)
    out[..., pairs[:, 0]] = out[..., pairs[:, 1]] = before + (length + before) * part + 0.5
    return out


@settings(deadline=None, max_examples=80)
@given(
    data=st.data(),
    size=st.sampled_from(SIZES),
    layout=st.sampled_from(("interleaved", "halves")),
    at_read=st.booleans(),
    kv_bits=st.sampled_from((4, 8, 16)),
    queries=st.integers(1, 4),
    slots=st.integers(2, 40),
    seed=st.integers(0, 1 << 32),
)
def test_whole_attention(data, size, layout, at_read, kv_bits, queries, slots, seed):
    """From queries, keys and values to results, keys turned when stored or whenever read."""
    group = data.draw(st.sampled_from([g for g in range(8, size + 1) if size % g == 0]))
    config = AttentionConfig(head_size=size, slots=slots, kv_bits=kv_bits, group=group)
    turning = RotaryConfig(head_size=size, layout=layout)
    rng = np.random.default_rng(seed)
    q = rng.integers(-3000, 3001, (queries, size))
    k = rng.normal(0, 4000, (slots, size)).astype(np.int64).clip(-20000, 20000)
    v = rng.normal(0, 7000, (slots, size)).astype(np.int64).clip(-32767, 32767)
    positions = rng.integers(0, 1 << 13, slots)
    shift, levels = kv_bits - 1 + 23 - config.fraction_bits, 2.0 ** (kv_bits - 1)

    q_turned = rotary(turning, q, 8191)
    q_error = turn_error(turning, q, 8191, np.zeros(q.shape))
    if at_read:
        kept = store(config, k)
        half = np.repeat(kept.scales, group, -1) / 2 / levels
        whole = np.floor(restore(config, kept) / levels + 0.5).astype(np.int64)
        read = rotary(turning, whole.clip(-32768, 32767), positions) * (1 << kv_bits - 1)
        k_error = turn_error(turning, k, positions, half + 0.5)
    else:
        kept = store(config, rotary(turning, k, positions))
        half = np.repeat(kept.scales, group, -1) / 2 / levels
        read = restore(config, kept)
        k_error = turn_error(turning, k, positions, np.zeros(k.shape)) + half
    q_true, k_true = turned(turning, q, 8191), turned(turning, k, positions)
    assert (np.abs(q_turned - q_true) <= q_error).all()
    assert (np.abs(read / levels - k_true) <= k_error).all()

    unit = levels * 2.0**-shift * 2.0**-config.fraction_bits
    exact = q_true @ k_true.T * unit
    moved = (np.abs(q_true) @ k_error.T + q_error @ (np.abs(k_true) + k_error).T) * unit
    found = scores(config, q_turned, read, shift)
    distance = np.abs(found / 2.0**config.fraction_bits - exact)
    assert (distance <= moved + float(config.score_error)).all()

    weights, true = softmax(config, found, True), softmax_of(exact)
    relative, absolute = config.weight_error
    # every score moved by at most as much: a weight, by that and by its sum's
    relative = (1 + relative) * np.exp2(2 * moved.max(-1, keepdims=True)) - 1
    error = np.abs(weights / 2.0**config.weight_bits - true)
    assert (error <= relative * true + absolute).all()

    values = store(config, v)
    elements = restore(config, values) / levels
    bound = (relative * true + absolute) @ np.abs(elements) + 0.5 * slots + 0.5
    assert (np.abs(weighted_sum(config, weights, values) - true @ elements) <= bound).all()


def test_widths_hold_the_largest_sums():
    """Of every head size and group; the rows of extremes put the same through the hardware."""
    for size in range(32, 257):
        for group in (g for g in range(8, size + 1) if size % g == 0):
            for kv_bits in (4, 8, 16):
                config = AttentionConfig(head_size=size, group=group, kv_bits=kv_bits)
                dot = group << 15 + kv_bits - 1  # of the lowest query and the lowest code
                assert dot < 1 << config.dot_width - 1
                scaled = (1 << config.dot_width - 1) * ((1 << 16) - 1) * config.groups
                assert scaled < 1 << config.scaled_width - 1
                assert scaled >> (1 << config.shift_bits) - 1 == 0
    for slots in (2, 3, 255, 256, 257, 4096):
        for weight_bits in (8, 16):
            config = AttentionConfig(slots=slots, weight_bits=weight_bits)
            total = slots * ((1 << weight_bits) - 1 << config.guard_bits)
            assert total < 1 << config.sum_width
            top = (1 << weight_bits) - 1
            assert (top * ((1 << 16) - 1) + (1 << weight_bits - 1) >> weight_bits) < 1 << 16
