"""Encoders: golden against published numbers, NumPy against golden, hardware for all values."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st

from tilewright.hw.arith.encoding import ENCODINGS, RADIX_4, places
from tilewright.hw.arith.recode import Recode, RecodeConfig
from tilewright.hw.config import ConfigError
from tilewright.sw.quantise.digits import count_terms, masks
from tilewright.verif.golden.digits import digits


def value_of(found):
    return sum(digit << i for i, digit in enumerate(found))


def every_value(bits, is_signed):
    return range(-(1 << bits - 1), 1 << bits - 1) if is_signed else range(1 << bits)


@pytest.mark.parametrize(
    ("encoding", "mean", "most"),
    [
        ("binary", 3.5, 7),
        ("hese", 2.875, 5),
        ("naf", 2.773, 4),
        ("booth4", 3.0, 4),
        ("booth2", 4.0, 8),
    ],
)
def test_terms_of_seven_bit_magnitudes(encoding, mean, most):
    """The published counts over 0 to 127."""
    counts = [sum(map(abs, digits(n, encoding, 8))) for n in range(128)]
    assert np.mean(counts) == pytest.approx(mean, abs=5e-4)
    assert max(counts) == most


def test_worked_examples():
    assert digits(27, "hese", 8) == [-1, 0, 1, -1, 0, 1, 0, 0]
    assert digits(27, "naf", 8) == [-1, 0, -1, 0, 0, 1, 0, 0]
    assert digits(127, "hese", 8) == [-1, 0, 0, 0, 0, 0, 0, 1]
    # Digits of radix 4, most significant first: 91 is 1 2 -1 -1 and 124 is 2 0 -1 0.
    for value, radix_4 in ((91, (-1, -1, 2, 1)), (124, (0, -1, 0, 2))):
        found = digits(value, "ent", 8)
        assert tuple(found[i] + 2 * found[i + 1] for i in range(0, 8, 2)) == radix_4


def test_hese_is_one_term_longer_than_the_shortest_for_13_values():
    extra = [
        sum(map(abs, digits(n, "hese", 8))) - sum(map(abs, digits(n, "naf", 8))) for n in range(128)
    ]
    assert sorted(set(extra)) == [0, 1]
    assert sum(extra) == 13


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("bits", [1, 2, 3, 5, 7, 8])
def test_encoders_equal_golden_for_every_value(encoding, bits, is_signed):
    config = RecodeConfig(encoding=encoding, bits=bits, is_signed=is_signed)
    dut = Recode(config)
    values = list(every_value(bits, is_signed))
    golden = [digits(value, encoding, config.places) for value in values]
    assert [value_of(found) for found in golden] == values
    plus, minus = masks(np.array(values), encoding)
    expected = [
        tuple(sum((digit == sign) << i for i, digit in enumerate(found)) for sign in (1, -1))
        for found in golden
    ]
    assert list(zip(plus.tolist(), minus.tolist(), strict=True)) == expected

    async def bench(ctx):
        for value, masks_ in zip(values, expected, strict=True):
            ctx.set(dut.value, value)
            assert (ctx.get(dut.plus), ctx.get(dut.minus)) == masks_, value

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()


@given(value=st.integers(-(1 << 31), (1 << 31) - 1), encoding=st.sampled_from(ENCODINGS))
def test_long_numbers(value, encoding):
    found = digits(value, encoding, places(encoding, 32, True))
    plus, minus = (int(mask) for mask in masks(np.array(value), encoding))
    assert value_of(found) == value == plus - minus
    assert plus & minus == 0
    assert plus == sum((digit == 1) << i for i, digit in enumerate(found))
    assert count_terms(np.array(value), encoding) == sum(map(abs, found))
    if encoding in RADIX_4:
        assert not (plus | minus) & (plus | minus) >> 1 & 0x55555555


def test_refusals():
    with pytest.raises(ConfigError, match="encoding must be one of 'binary', .* not 'csd'"):
        RecodeConfig(encoding="csd", bits=8, is_signed=True)
    with pytest.raises(ConfigError, match="bits must be an integer from 1 to 32, not 0"):
        RecodeConfig(encoding="naf", bits=0, is_signed=True)
    with pytest.raises(ConfigError, match="is_signed must be True or False, not 1"):
        RecodeConfig(encoding="naf", bits=8, is_signed=1)
