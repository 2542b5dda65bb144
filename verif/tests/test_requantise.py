"""The requantiser: golden against exact fractions, hardware against golden."""

import decimal
import random
from fractions import Fraction

import numpy as np
import pytest
from amaranth.sim import Simulator
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tilewright.hw.config import ConfigError
from tilewright.hw.engine.requantise import Requantise, RequantiseLane
from tilewright.hw.engine.requantise_config import RequantiseConfig
from tilewright.verif.golden.requantise import requantise
from tilewright.verif.testbench.requantise_cases import Case, expected, random_cases

ROUNDINGS = ("half_even", "half_away")
DECIMAL = {"half_even": decimal.ROUND_HALF_EVEN, "half_away": decimal.ROUND_HALF_UP}


def _round(value: Fraction, rounding: str) -> int:
    """Round as the words say, without shifts."""
    if rounding == "half_even":
        return round(value)
    whole = abs(value) + Fraction(1, 2)
    size = whole.numerator // whole.denominator
    return size if value >= 0 else -size


@given(
    acc=st.integers(-(1 << 63), (1 << 63) - 1),
    bias=st.integers(-(1 << 63), (1 << 63) - 1),
    mult=st.integers(0, 65535),
    shift=st.integers(0, 63),
    zero_point=st.integers(-(1 << 16), (1 << 16) - 1),
    rounding=st.sampled_from(ROUNDINGS),
)
@example(acc=-(1 << 63), bias=0, mult=65535, shift=63, zero_point=0, rounding="half_even")
@example(acc=-(1 << 63), bias=-(1 << 63), mult=1, shift=63, zero_point=0, rounding="half_away")
@example(acc=3, bias=0, mult=1, shift=1, zero_point=0, rounding="half_even")
@example(acc=-3, bias=0, mult=1, shift=1, zero_point=0, rounding="half_away")
def test_golden_is_exact(acc, bias, mult, shift, zero_point, rounding):
    low, high = -(1 << 15), (1 << 15) - 1
    found = requantise([acc], [bias], [mult], [shift], zero_point, low, high, rounding)
    exact = _round(Fraction((acc + bias) * mult, 1 << shift), rounding) + zero_point
    assert found[0] == min(max(exact, low), high)


@given(
    acc=st.integers(-(1 << 40), 1 << 40),
    mult=st.sampled_from((1, 3, 32768, 65535)),
    shift=st.integers(0, 63),
    divisor=st.sampled_from((2, 3, 6, 16, 49, 1 << 20)),
    rounding=st.sampled_from(ROUNDINGS),
)
@example(acc=-9, mult=1, shift=0, divisor=6, rounding="half_even")
@example(acc=-9, mult=1, shift=0, divisor=6, rounding="half_away")
@example(acc=1 << 40, mult=65535, shift=60, divisor=1 << 20, rounding="half_even")
def test_means_are_divided_and_rounded_once(acc, mult, shift, divisor, rounding):
    low, high = -(1 << 50), 1 << 50
    found = requantise([acc], [5], [mult], [shift], 7, low, high, rounding, divisor)
    exact = _round(Fraction((acc + 5) * mult, divisor << shift), rounding) + 7
    assert found[0] == min(max(exact, low), high)


@given(
    half_units=st.integers(-2000, 2000),
    odd=st.sampled_from((1, 2)),
    rounding=st.sampled_from(ROUNDINGS),
)
def test_golden_ties_as_decimal_does(half_units, odd, rounding):
    found = requantise([half_units], [0], [odd], [1], 0, -4096, 4095, rounding)
    exact = decimal.Decimal(half_units * odd) / 2
    assert found[0] == int(exact.quantize(decimal.Decimal(1), rounding=DECIMAL[rounding]))


def test_golden_published_cases():
    # -2.5, -1.5, -0.5, 0.5, 1.5, 2.5 as IEEE 754 names the two rules.
    acc = np.array([-5, -3, -1, 1, 3, 5])
    assert requantise(acc, 0, 1, 1, 0, -9, 9).tolist() == [-2, -2, 0, 0, 2, 2]
    assert requantise(acc, 0, 1, 1, 0, -9, 9, "half_away").tolist() == [-3, -2, -1, 1, 2, 3]


def test_golden_refuses_an_unknown_rounding():
    with pytest.raises(ValueError, match="rounding must be 'half_even' or 'half_away', not 'up'"):
        requantise([1], 0, 1, 1, 0, -9, 9, "up")


def test_golden_broadcasts_channels():
    rng = np.random.default_rng(3)
    acc = rng.integers(-50000, 50000, (5, 4))
    bias, mult = rng.integers(-900, 900, 4), rng.integers(0, 65536, 4)
    shift = rng.integers(1, 30, 4)
    found = requantise(acc, bias, mult, shift, 3, -128, 127)
    for row in range(5):
        for n in range(4):
            one = requantise([acc[row, n]], [bias[n]], [mult[n]], [shift[n]], 3, -128, 127)
            assert found[row, n] == one[0]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("acc_width", 7, "acc_width must be an integer from 8 to 64, not 7"),
        ("acc_width", 65, "acc_width must be an integer from 8 to 64, not 65"),
        ("out_bits", 9, "out_bits must be an integer from 2 to 8, or 16, not 9"),
        ("out_signed", 1, "out_signed must be one of False, True, not 1"),
        ("rounding", "up", "rounding must be one of 'half_even', 'half_away', not 'up'"),
        ("fabric", "ice40", "fabric must be one of 'portable', 'ecp5', not 'ice40'"),
    ],
)
def test_config_names_field_value_and_range(field, value, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        RequantiseConfig(**{field: value})


def run_lane(config: RequantiseConfig, cases: list[Case], stalls: random.Random) -> list[int]:
    """Feed a lane one case per enabled cycle; return the results at the stated latency."""
    lane = RequantiseLane(config)
    names = ("acc", "bias", "mult", "shift", "zero_point", "lo", "hi")
    delays = (0, 0, 0, 0, config.zero_point_delay, config.clamp_delay, config.clamp_delay)
    results = []

    async def feed(ctx):
        enabled = 0
        while len(results) < len(cases):
            advance = stalls.random() < 0.8
            ctx.set(lane.advance, advance)
            for i, (name, delay) in enumerate(zip(names, delays, strict=True)):
                at = enabled - delay
                real = 0 <= at < len(cases) and advance
                ctx.set(getattr(lane, name), cases[at][i] if real else 1)
            await ctx.tick()
            enabled += advance
            if advance and enabled >= config.latency:
                results.append(ctx.get(lane.value))

    simulator = Simulator(lane)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.run()
    return results


WIDTHS = [
    *((8, 2), (17, 8), (18, 16), (20, 3), (32, 8), (32, 8)),
    *((35, 16), (36, 7), (53, 8), (54, 4), (64, 16), (8, 16)),
]
CONFIGS = [
    RequantiseConfig(
        acc_width=acc, out_bits=bits, out_signed=i % 2 == 0, rounding=ROUNDINGS[i // 2 % 2]
    )
    for i, (acc, bits) in enumerate(WIDTHS)
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.acc_width}to{c.out_bits}")
def test_lane_matches_golden(config):
    cases = random_cases(config, 300, random.Random(1))
    wanted = expected(config, cases)
    assert run_lane(config, cases, random.Random(2)) == wanted
    low, high = config.out_range
    assert {low, high} <= set(wanted), "the cases reach both ends of the range"


@settings(max_examples=15, deadline=None)
@given(
    config=st.builds(
        RequantiseConfig,
        acc_width=st.integers(8, 64),
        out_bits=st.sampled_from((*range(2, 9), 16)),
        out_signed=st.booleans(),
        rounding=st.sampled_from(ROUNDINGS),
    ),
    seed=st.integers(0, 1 << 32),
)
def test_lane_matches_golden_at_any_width(config, seed):
    cases = random_cases(config, 40, random.Random(seed))
    assert run_lane(config, cases, random.Random(seed)) == expected(config, cases)


@pytest.mark.parametrize(("gap", "stall"), [(0, 0), (0.5, 0), (0, 0.5), (0.4, 0.6)])
def test_stream_matches_golden(gap, stall):
    config = RequantiseConfig(acc_width=24, out_bits=8, rounding="half_even")
    cases = random_cases(config, 200, random.Random(5))
    results, cycles = run_stream(config, cases, gap, stall)
    assert results == expected(config, cases)
    if not gap and not stall:
        assert cycles == len(cases) + config.latency + 1


def run_stream(
    config: RequantiseConfig, cases: list[Case], gap: float, stall: float
) -> tuple[list[int], int]:
    """Return the results of the stream unit and the cycles until the last was taken."""
    unit = Requantise(config)
    rng_in, rng_out = random.Random("gaps"), random.Random("stalls")
    names = ("acc", "bias", "mult", "shift", "zero_point", "lo", "hi")
    results, cycles = [], 0

    async def feed(ctx):
        for case in cases:
            while rng_in.random() < gap:
                await ctx.tick()
            ctx.set(unit.i.payload, dict(zip(names, case, strict=True)))
            ctx.set(unit.i.valid, 1)
            await ctx.tick().until(unit.i.ready)
            ctx.set(unit.i.valid, 0)

    async def take(ctx):
        nonlocal cycles
        held = None
        async for _, _, valid, ready, payload in ctx.tick().sample(
            unit.o.valid, unit.o.ready, unit.o.payload
        ):
            cycles += 1
            assert held is None or (valid and payload == held), "a stalled result changed"
            held = payload if valid and not ready else None
            if valid and ready:
                results.append(payload)
                if len(results) == len(cases):
                    break
            ctx.set(unit.o.ready, rng_out.random() >= stall)

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(take)
    simulator.run()
    return results, cycles
