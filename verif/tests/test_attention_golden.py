"""The golden attention: like one slot after the other, and near softmax in doubles."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilewright.hw.attention.config import AttentionConfig, RotaryConfig
from tilewright.hw.config import ConfigError
from tilewright.verif.golden.attention import (
    Stored,
    attention,
    factors,
    restore,
    rotary,
    scores,
    softmax,
    store,
    weighted_sum,
)


def one_by_one(config, row, valid):
    """Return weights of one query as a machine computes them that sees a score at a time."""
    top, total = None, 0
    for score, used in zip(row, valid, strict=True):
        if not used:
            continue
        whole, power = score >> config.fraction_bits, config.powers[score % len(config.powers)]
        if top is None or whole > top:
            total >>= 0 if top is None else min(whole - top, 99)
            top = whole
        total += power << config.guard_bits >> min(top - whole, 99)
    assert total < 1 << config.sum_width
    length, bits = total.bit_length(), config.reciprocal_bits
    inverse = min((1 << 2 * bits - 1) // (total >> length - bits), (1 << bits) - 1)
    weights = []
    for score, used in zip(row, valid, strict=True):
        if not used:
            weights.append(0)
            continue
        power = config.powers[score % len(config.powers)]
        cut = min(length - config.guard_bits + top - (score >> config.fraction_bits), 99)
        weight = min((power * inverse + (1 << cut >> 1)) >> cut, (1 << config.weight_bits) - 1)
        weights.append(weight)
    return weights


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(),
    slots=st.integers(2, 40),
    fraction=st.integers(4, 12),
    weight_bits=st.integers(8, 16),
)
def test_softmax_is_the_running_one(data, slots, fraction, weight_bits):
    config = AttentionConfig(slots=slots, fraction_bits=fraction, weight_bits=weight_bits)
    span = 1 << data.draw(st.integers(0, config.score_width - 1))
    row = data.draw(st.lists(st.integers(-span, span - 1), min_size=slots, max_size=slots))
    valid = data.draw(st.lists(st.booleans(), min_size=slots, max_size=slots))
    valid[data.draw(st.integers(0, slots - 1))] = True
    found = softmax(config, np.array(row), valid)
    assert found.tolist() == one_by_one(config, row, valid)


@pytest.mark.parametrize("slots", [2, 64, 4096])
@pytest.mark.parametrize("weight_bits", [8, 16])
@pytest.mark.parametrize("spread", [0.1, 3, 20])
def test_weights_are_within_their_bound(slots, weight_bits, spread):
    config = AttentionConfig(slots=slots, weight_bits=weight_bits)
    rng = np.random.default_rng([slots, weight_bits])
    exact = rng.normal(0, spread, (40, slots)).clip(-127, 127)
    exact[::2].sort(-1)  # the maximum rises with every slot
    rounded = np.rint(exact * (1 << config.fraction_bits)).astype(np.int64)
    found = softmax(config, rounded, True) / 2.0**weight_bits
    true = np.exp2(exact - exact.max(-1, keepdims=True))
    true /= true.sum(-1, keepdims=True)
    relative, absolute = config.weight_error
    assert (np.abs(found - true) <= relative * true + absolute).all()
    assert relative < 0.05 if weight_bits == 8 else relative < 0.006


@pytest.mark.parametrize("kv_bits", [4, 8, 16])
@pytest.mark.parametrize("group", [16, 64])
def test_storage_is_within_half_a_step(kv_bits, group):
    config = AttentionConfig(kv_bits=kv_bits, group=group)
    rng = np.random.default_rng(kv_bits)
    x = rng.integers(-(1 << 15), 1 << 15, (50, 3, 64))
    x[0], x[1], x[2, :, 1:] = 0, -(1 << 15), 0
    x[3:10] //= 1000
    kept = store(config, x)
    assert np.abs(kept.codes).max() <= (1 << kv_bits - 1) - (kv_bits < 16)
    assert (kept.scales < 1 << 16).all()
    assert (kept.scales > 0).all()
    steps = np.repeat(kept.scales, group, -1) / 2
    assert (np.abs(restore(config, kept) - (x << kv_bits - 1)) <= steps).all()
    most = np.abs(x.reshape(50, 3, -1, group)).max(-1)
    assert (kept.scales <= most * (1 << kv_bits - 1) / ((1 << kv_bits - 1) - 1) + 1).all() or (
        kv_bits == 16
    )


@pytest.mark.parametrize("layout", ["interleaved", "halves"])
@pytest.mark.parametrize("size", [32, 64, 256])
def test_rotation_is_within_its_bound(layout, size):
    config = RotaryConfig(head_size=size, layout=layout)
    rng = np.random.default_rng(size)
    x = rng.integers(-20000, 20000, (60, size))
    positions = rng.integers(0, 1 << 16, 60)
    positions[:3] = 0, 1, (1 << 16) - 1
    found = rotary(config, x, positions)
    for row, position, turned in zip(x, positions, found, strict=True):
        for pair in range(size // 2):
            i, j = (2 * pair, 2 * pair + 1) if layout == "interleaved" else (pair, pair + size // 2)
            true = complex(row[i], row[j]) * np.exp(1j * position * 1e5 ** (-2 * pair / size))
            bound = abs(complex(row[i], row[j])) * config.error(int(position)) + 0.5
            assert abs(turned[i] - true.real) <= bound
            assert abs(turned[j] - true.imag) <= bound
    assert config.error(8191) < 1e-3


def test_rotation_saturates_and_products_do_not_depend_on_where_they_start():
    config = RotaryConfig()
    x = np.full(64, 32767)
    assert rotary(config, x, np.arange(9)).max() == 32767
    assert (rotary(config, x, 0) == 32767).all()
    rng = np.random.default_rng(5)
    q, k = rng.integers(-9000, 9000, (2, 64))
    products = [rotary(config, q, p + 7) @ rotary(config, k, p) for p in range(0, 4000, 97)]
    assert np.ptp(products) < 2e-3 * np.linalg.norm(q) * np.linalg.norm(k)


def case(config, seed, tokens=None):
    """Return random operands of an attention and their shift."""
    rng = np.random.default_rng(seed)
    count = tokens or config.slots
    q = rng.integers(-3000, 3001, (3, config.head_size))
    k = rng.normal(0, 4000, (count, config.head_size)).astype(np.int64).clip(-32767, 32767)
    v = rng.normal(0, 7000, (count, config.head_size)).astype(np.int64).clip(-32767, 32767)
    shift = config.kv_bits - 1 + 23 - config.fraction_bits
    return q, k, v, shift


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kv_bits": 4, "group": 16, "slots": 100},
        {
            "kv_bits": 16,
            "head_size": 256,
            "group": 256,
        },
        {"kv_bits": 8, "head_size": 32, "group": 32},
    ],
)
def test_results_are_within_the_bound_of_floats(fields):
    config = AttentionConfig(**fields)
    q, k, v, shift = case(config, 3)
    keys, values = store(config, k), store(config, v)
    found = attention(config, q, keys, values, True, shift)
    unit = 2.0 ** (config.kv_bits - 1)
    exact = q.astype(float) @ (restore(config, keys) / 2.0 ** (shift + config.fraction_bits)).T
    assert 2 < np.ptp(exact) < 100
    true = np.exp2(exact - exact.max(-1, keepdims=True))
    true /= true.sum(-1, keepdims=True)
    elements = restore(config, values) / unit
    bound = config.out_error(true, elements)
    assert (np.abs(found.out - true @ elements) <= bound).all()
    assert bound.max() < 0.02 * np.abs(elements).max()


def test_scores_round_half_up_and_never_saturate():
    config = AttentionConfig(slots=4, kv_bits=8, head_size=32, group=32)
    q = np.zeros((1, 32), np.int64)
    q[0, 0] = 1
    keys = Stored(np.zeros((4, 32), np.int64), np.full((4, 1), 1))
    keys.codes[:, 0] = 1, 2, -2, -6
    assert scores(config, q, restore(config, keys), 2)[0].tolist() == [0, 1, 0, -1]
    assert scores(config, q, restore(config, keys), 63)[0].tolist() == [0, 0, 0, 0]
    q[0, 0] = 32767
    keys.scales[:] = 60000
    unit = 32767 * 60000
    wanted = [unit, 2 * unit, -2 * unit, -6 * unit]
    assert scores(config, q, restore(config, keys), 0)[0].tolist() == wanted


def test_large_scores_are_told_apart():
    """200, 150 and 400 powers of two: only the largest counts; 200 and 199 share by two to one."""
    config = AttentionConfig(slots=4)
    whole = 1 << config.fraction_bits

    def weights(*scores):
        return softmax(config, np.array(scores) * whole, True).tolist()

    assert weights(200, 150) == weights(150 + 200, 150 + 150) == weights(50, 0) == [65535, 0]
    assert weights(150, 400, 200) == weights(-400, 0, -150) == [0, 65535, 0]
    assert weights(200, 199) == weights(1, 0) == weights(-(1 << 30), -(1 << 30) - 1)
    assert weights(-300, -300) == weights(0, 0)


def test_empty_slots_are_ignored():
    config = AttentionConfig(slots=8)
    q, k, v, shift = case(config, 1)
    keys, values = store(config, k), store(config, v)
    valid = np.arange(8) < 5
    one = attention(config, q, keys, values, valid, shift)
    keys.codes[5:], values.codes[5:], keys.scales[5:] = 127, -127, 65535
    two = attention(config, q, keys, values, valid, shift)
    assert (one.out == two.out).all()
    assert (one.weights[:, 5:] == 0).all()
    short = attention(
        config, q, *(Stored(s.codes[:5], s.scales[:5]) for s in (keys, values)), True, shift
    )
    assert (short.out == one.out).all()
    single = attention(
        config, q, *(Stored(s.codes[:1], s.scales[:1]) for s in (keys, values)), True, shift
    )
    assert (single.weights == 65535).all()
    assert np.abs(single.out - v[0]).max() <= values.scales[0, 0] / 256 + 2


def test_mix_rounds_as_the_requantiser_does():
    config = AttentionConfig(slots=2, head_size=32, group=32)
    values = Stored(np.zeros((2, 32), np.int64), np.full((2, 1), 1 << 15))
    values.codes[0, :4] = 1, -1, 127, -127
    weights = np.array([[1 << 15, 0]])
    assert factors(config, weights, values.scales)[0].tolist() == [[1 << 14], [0]]
    assert weighted_sum(config, weights, values)[0, :4].tolist() == [128, -128, 16256, -16256]
    # a factor of 64 is half of the unit that codes lose: ties go to the even neighbour
    assert weighted_sum(config, weights >> 8, values)[0, :4].tolist() == [0, 0, 64, -64]
    assert factors(config, np.array([[1, 2]]), values.scales)[0].tolist() == [[1], [1]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"head_size": 31}, "head_size must be an integer from 32 to 256, not 31"),
        ({"head_size": 80, "group": 64}, "group must divide head_size = 80, which 64 does not"),
        ({"kv_bits": 5}, "kv_bits must be one of 4, 8, 16, not 5"),
    ],
)
def test_refusals_are_sentences(fields, message):
    with pytest.raises(ConfigError, match=message):
        AttentionConfig(**fields)
    with pytest.raises(ConfigError, match="layout must be one of"):
        RotaryConfig(layout="pairs")
    with pytest.raises(ConfigError, match="head_size must be even, not 33"):
        RotaryConfig(head_size=33)


@pytest.mark.parametrize(("fraction", "weight_bits"), [(4, 8), (6, 12), (8, 16), (12, 16)])
def test_powers_are_rounded_powers(fraction, weight_bits):
    config = AttentionConfig(fraction_bits=fraction, weight_bits=weight_bits)
    assert len(config.powers) == 1 << fraction
    half = 1 << weight_bits - 1
    for i, power in enumerate(config.powers):
        exact = min(half * math.exp2(i / (1 << fraction)), 2 * half - 1)
        assert abs(Fraction(power) - Fraction(exact)) <= Fraction(1, 2)


@pytest.mark.parametrize("angle_bits", range(8, 15))
def test_sines_are_rounded_sines(angle_bits):
    table = RotaryConfig(angle_bits=angle_bits).sines
    assert len(table) == (1 << angle_bits - 2) + 1
    for i, size in enumerate(table):
        exact = (np.exp(2j * np.pi * i / (1 << angle_bits)) * (1 << 14)).imag
        assert abs(size - exact) <= 0.5 + 1e-9


@pytest.mark.parametrize("size", [32, 80, 256])
@pytest.mark.parametrize("base", [100, 10_000, 500_000, 10_000_000])
def test_steps_are_powers_of_the_base(size, base):
    config = RotaryConfig(head_size=size, base=base, phase_bits=32)
    steps = config.steps
    assert len(steps) == size // 2
    for i, step in enumerate(steps):
        exact = (1 << 32) / (2 * math.pi) * math.exp(-2 * i / size * math.log(base))
        assert abs(step - exact) <= 0.5 + 1e-5


def test_golden_shares_no_table_with_the_hardware(monkeypatch):
    config, rng = RotaryConfig(), np.random.default_rng(8)
    x, at = rng.integers(-20000, 20000, (40, 64)), rng.integers(0, 1 << 16, 40)
    softened = AttentionConfig(slots=8)
    row = rng.integers(-3000, 3000, (5, 8))
    turned, weights = rotary(config, x, at), softmax(softened, row, True)
    for owner, name in ((RotaryConfig, "sines"), (RotaryConfig, "steps"),
                        (AttentionConfig, "powers")):  # fmt: skip
        whole = getattr(owner, name).fget
        monkeypatch.setattr(owner, name, property(lambda self, whole=whole: whole(self)[::-1]))
    monkeypatch.setattr(RotaryConfig, "elements", lambda self, pair: (pair, 0))
    assert np.array_equal(rotary(config, x, at), turned)
    assert np.array_equal(softmax(softened, row, True), weights)
