"""Systolic arrays: exact sums in exactly the cycles that the timing rule states."""

from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.hdl import ClockDomain, Module, Value
from amaranth.sim import Simulator
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tilewright.hw.config import ConfigError
from tilewright.hw.systolic.array import SystolicArray
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.hw.systolic.row import row_config
from tilewright.sw.families.systolic import Systolic
from tilewright.verif.golden.systolic import systolic

WIDTHS = (2, 3, 4, 5, 6, 7, 8, 16)


@dataclass(frozen=True)
class Step:
    """One weight tile and its vectors."""

    x: np.ndarray
    w: np.ndarray
    first: bool
    last: bool


@dataclass
class Times:
    """Cycles in which beats were offered, taken, and seen at the output with what they held."""

    acts_offered: list[int]
    weights_offered: list[int]
    acts: list[int]
    weights: list[int]
    psums: list[tuple]


def simulate(config, steps, rng, act_gap=0.0, weight_gap=0.0):
    """Run the steps; each stream pauses before a beat with its probability, cycle by cycle."""
    dut = SystolicArray(config)
    layout = dut.acts.payload.shape()
    weights = [beat for step in steps for beat in Systolic(config).pack(step.w)]
    acts = [
        layout.const(
            {
                "data": [int(v) for v in vector],
                "first": step.first,
                "last": step.last,
                "end": k == len(step.x) - 1,
            }
        )
        for step in steps
        for k, vector in enumerate(step.x)
    ]
    times = Times([], [], [], [], [])

    async def bench(ctx):
        cycle = quiet = 0
        offered = [False, False]
        while quiet < config.latency + 5:
            for i, (port, beats, gap, taken, begun) in enumerate(
                (
                    (dut.acts, acts, act_gap, times.acts, times.acts_offered),
                    (dut.weights, weights, weight_gap, times.weights, times.weights_offered),
                )
            ):
                if not offered[i] and len(taken) < len(beats) and rng.random() >= gap:
                    offered[i] = True
                    begun.append(cycle)
                ctx.set(port.valid, offered[i])
                junk = int(rng.integers(1 << 30)) % (1 << min(30, len(Value.cast(port.payload))))
                ctx.set(
                    port.payload if i else port.payload.as_value(),
                    (beats[len(taken)] if i else beats[len(taken)].as_value().value)
                    if offered[i]
                    else junk,
                )
            taken_all = len(times.acts) == len(acts) and len(times.weights) == len(weights)
            quiet = quiet + 1 if taken_all else 0
            ready = [ctx.get(dut.acts.ready), ctx.get(dut.weights.ready)]
            if ctx.get(dut.psums.valid):
                beat = dut.psums.payload
                sums = [ctx.get(value) for value in beat.data]
                flags = tuple(bool(ctx.get(f)) for f in (beat.first, beat.last, beat.end))
                times.psums.append((cycle, sums, *flags))
            for i, taken in enumerate((times.acts, times.weights)):
                if offered[i] and ready[i]:
                    taken.append(cycle)
                    offered[i] = False
            assert cycle < 20_000, "the array hangs"
            await ctx.tick()
            cycle += 1

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return times


def predict_ws(config, steps, times):
    """The rule of `WsTiming`, beat by beat, for beats offered at any time."""
    acts, weights, psums = [], [], []
    loaded = start = ended = -1
    before = 5
    offers, tiles = iter(times.acts_offered), iter(times.weights_offered)
    for step in steps:
        for beat in range(config.rows):
            loaded = max(next(tiles), loaded + 1, start if beat == 0 else 0)
            weights.append(loaded)
        vectors = len(step.x)
        taken = max(next(offers), ended, acts[-1] + 1 if acts else 0)
        acts.append(taken)
        start = max(taken + 1, loaded + 1, ended + max(1, 5 - before))
        ended, before = start, vectors
        psums.append(start + config.latency - 1)
        for k in range(1, vectors):
            taken = max(next(offers), start if k == 1 else taken + 1)
            acts.append(taken)
            ended = taken + 1
            psums.append(ended + config.latency - 1)
    return acts, weights, psums


def predict_os(config, steps, times):
    """The rule of `OsTiming`, beat by beat, for beats offered at any time."""
    acts, weights, psums = [], [], []
    loaded = taken = -1
    starts = [-config.rows - 1] * 2
    offers, tiles = iter(times.acts_offered), iter(times.weights_offered)
    for step in steps:
        for beat in range(config.rows):
            loaded = max(next(tiles), loaded + 1, starts[0] + 1 if beat == 0 else 0)
            weights.append(loaded)
        for k in range(len(step.x)):
            taken = max(next(offers), taken + 1, starts[0] + 1 if k == 0 else 0)
            acts.append(taken)
        starts = [starts[1], max(taken + 1, loaded + 1, starts[1] + config.rows)]
        if step.last:
            psums += [starts[1] + k + config.latency - 1 for k in range(len(step.x))]
    return acts, weights, psums


def expected_psums(config, steps):
    """What must come out: the product of every step (WS), or of every sum of steps (OS)."""
    found, total = [], None
    for step in steps:
        y = systolic(config, step.x, step.w)
        flags = (step.first, step.last)
        if config.dataflow == "os":
            total = y if step.first else total + y
            y, flags = total, (True, True)
            if not step.last:
                continue
        found += [(row.tolist(), *flags, k == len(y) - 1) for k, row in enumerate(y)]
    return found


def random_steps(config, rng, count):
    """Steps with operands anywhere in their range, at its ends in one of three."""

    def operands(shape, bits, is_signed):
        low, high = (-(1 << bits - 1), 1 << bits - 1) if is_signed else (0, 1 << bits)
        if rng.random() < 1 / 3:
            return rng.choice([low, high - 1], size=shape)
        return rng.integers(low, high, size=shape)

    steps, vectors = [], 0
    for _ in range(count):
        if config.dataflow == "ws":
            vectors = int(rng.integers(1, 2 * config.rows + 4))
            first, last = bool(rng.integers(2)), bool(rng.integers(2))
        else:
            first = not steps or steps[-1].last
            vectors = int(rng.integers(1, config.rows + 1)) if first else vectors
            last = bool(rng.integers(2))
        steps.append(
            Step(
                operands((vectors, config.rows), config.x_bits, config.x_signed),
                operands((config.rows, config.cols), config.w_bits, config.w_signed),
                first,
                last,
            )
        )
    return steps


@st.composite
def configs(draw):
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    letters = st.text("DDL", min_size=cols, max_size=cols)
    kinds = st.lists(letters, min_size=rows, max_size=rows).map(tuple)
    return SystolicConfig(
        rows=rows,
        cols=cols,
        dataflow=draw(st.sampled_from(("ws", "os"))),
        x_bits=draw(st.sampled_from(WIDTHS)),
        w_bits=draw(st.sampled_from(WIDTHS)),
        x_signed=draw(st.booleans()),
        w_signed=draw(st.booleans()),
        pe=draw(st.sampled_from(("dsp", "lut")) | kinds),
        k_max=draw(st.sampled_from((100, 65536))),
    )


def long_rows(dataflow):
    """Return an array whose rows are made of segments, the last one short."""
    kinds = ("D" * 31 + "LLLL",) * 2
    config = SystolicConfig(rows=2, cols=35, dataflow=dataflow, x_bits=5, w_bits=4, pe=kinds)
    assert [len(part.pes) for part in row_config(config, 0).segments] == [8, 8, 4]
    return config


@settings(max_examples=40, deadline=None)
@example(long_rows("ws"), 1, 0.3, 0.3)
@example(long_rows("os"), 2, 0.3, 0.3)
@given(configs(), st.integers(0, 2**32 - 1), st.sampled_from((0, 0.3, 0.8)),
       st.sampled_from((0, 0.3, 0.8)))  # fmt: skip
def test_exact_and_on_time(config, seed, act_gap, weight_gap):
    rng = np.random.default_rng(seed)
    steps = random_steps(config, rng, int(rng.integers(2, 8)))
    times = simulate(config, steps, rng, act_gap, weight_gap)
    assert [psum[1:] for psum in times.psums] == expected_psums(config, steps)
    predict = predict_ws if config.dataflow == "ws" else predict_os
    acts, weights, psums = predict(config, steps, times)
    assert times.weights == weights
    assert times.acts == acts
    assert [psum[0] for psum in times.psums] == psums
    if act_gap == weight_gap == 0:
        timing = config.timing()
        taken = [], []
        for step in steps:
            taken[1].extend(timing.load(0, ()))
            taken[0].extend(timing.step(0, len(step.x), first=step.first, last=step.last))
        spread = [[cycle + i for cycle, n in runs for i in range(n)] for runs in taken]
        assert spread == [acts, weights]
        assert timing.last_psum == max(psums, default=-1)


@pytest.mark.parametrize("dataflow", ["ws", "os"])
@pytest.mark.parametrize(("rows", "vectors"), [(1, 1), (2, 2), (3, 1), (5, 5), (4, 7), (6, 5)])
def test_steady_state(dataflow, rows, vectors):
    """Nothing starved, a step costs max(T, rows, 4) cycles, or rows where sums stay."""
    config = SystolicConfig(rows=rows, cols=2, dataflow=dataflow, x_bits=4, w_bits=4)
    vectors = min(vectors, config.max_tile_rows or vectors)
    rng = np.random.default_rng(1)
    steps = [
        Step(step.x[:1].repeat(vectors, axis=0), step.w, True, True)
        for step in random_steps(config, rng, 6)
    ]
    times = simulate(config, steps, rng)
    starts = [psum[0] for psum in times.psums][::vectors]
    cost = max(vectors, rows, 4) if dataflow == "ws" else rows
    assert np.diff(starts).tolist() == [cost] * 5
    assert config.ii == (cost if vectors <= max(rows, 4) else max(rows, 4))


def test_reset_in_mid_stream():
    """A reset forgets all that was on its way, and what follows is exact."""
    config = SystolicConfig(rows=3, cols=4, x_bits=8, w_bits=4)
    rng = np.random.default_rng(5)
    steps = random_steps(config, rng, 4)
    dut = SystolicArray(config)
    layout = dut.acts.payload.shape()
    seen = []

    async def send(ctx, step):
        beats = Systolic(config).pack(step.w)
        vectors = [
            layout.const({"data": v.tolist(), "first": 1, "last": 1, "end": k == len(step.x) - 1})
            for k, v in enumerate(step.x)
        ]
        while beats or vectors:
            ctx.set(dut.weights.valid, bool(beats))
            ctx.set(dut.weights.payload, beats[0] if beats else 0)
            ctx.set(dut.acts.valid, bool(vectors))
            ctx.set(dut.acts.payload, vectors[0] if vectors else layout.const(None))
            taken = [ctx.get(dut.weights.ready), ctx.get(dut.acts.ready)]
            await tick(ctx)
            for queue, ready in zip((beats, vectors), taken, strict=True):
                if queue and ready:
                    queue.pop(0)
        ctx.set(dut.weights.valid, 0)
        ctx.set(dut.acts.valid, 0)

    async def tick(ctx):
        if ctx.get(dut.psums.valid):
            seen.append([ctx.get(value) for value in dut.psums.payload.data])
        await ctx.tick()

    async def bench(ctx):
        await send(ctx, steps[0])
        await send(ctx, steps[1])
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        seen.clear()
        for step in steps[2:]:
            await send(ctx, step)
        for _ in range(config.latency + 5):
            await tick(ctx)

    m = Module()
    m.domains.sync = domain = ClockDomain("sync")
    reset = domain.rst
    m.submodules.dut = dut
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [row.tolist() for step in steps[2:] for row in systolic(config, step.x, step.w)]


def test_golden_is_the_definition():
    rng = np.random.default_rng(3)
    x, w = rng.integers(-128, 128, (5, 7)), rng.integers(-128, 128, (7, 4))
    y = systolic(SystolicConfig(), x, w)
    for i in range(5):
        for c in range(4):
            assert y[i, c] == sum(int(x[i, k]) * int(w[k, c]) for k in range(7))


@settings(max_examples=50, deadline=None)
@given(configs(), st.integers(0, 2**32 - 1))
def test_pack_tile(config, seed):
    rng = np.random.default_rng(seed)
    tile = random_steps(config, rng, 1)[0].w
    beats = Systolic(config).pack(tile)
    assert len(beats) == config.weight_beats
    mask = (1 << config.w_bits) - 1
    for j, beat in enumerate(beats):
        row = config.rows - 1 - j if config.dataflow == "ws" else j
        assert beat >> config.weight_beat_bits == 0
        for c in range(config.cols):
            assert beat >> config.w_bits * c & mask == int(tile[row, c]) & mask


def test_pack_tile_refuses_another_shape():
    with pytest.raises(ValueError, match=r"tile must have shape \(8, 8\), not \(8, 7\)"):
        Systolic(SystolicConfig()).pack(np.zeros((8, 7), dtype=np.int64))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rows": 0}, "rows must be an integer from 1 to 256, not 0"),
        ({"cols": 257}, "cols must be an integer from 1 to 256, not 257"),
        ({"rows": True}, "rows must be an integer from 1 to 256, not True"),
        ({"dataflow": "is"}, "dataflow must be one of 'ws', 'os', not 'is'"),
        ({"x_bits": 1}, "x_bits must be an integer from 2 to 8, or 16, not 1"),
        ({"w_bits": 9}, "w_bits must be an integer from 2 to 8, or 16, not 9"),
        ({"x_signed": 1}, "x_signed must be one of True, False, not 1"),
        ({"k_max": 0}, "k_max must be an integer from 1 to 16777216, not 0"),
        ({"fabric": "ice40"}, "fabric must be one of 'portable', 'ecp5', not 'ice40'"),
        ({"pe": "dps"}, "pe must be one of 'dsp', 'lut', not 'dps'"),
        ({"rows": 2, "cols": 2, "pe": ("DD",)}, r"pe must have 2 strings, one per row"),
        ({"rows": 1, "cols": 2, "pe": ("DX",)}, "pe must have 2 letters D or L for each row"),
    ],
)
def test_config_refuses(fields, message):
    with pytest.raises(ConfigError, match=message):
        SystolicConfig(**fields)


def test_pairs_share_a_multiplier():
    config = SystolicConfig(rows=2, cols=5, w_bits=4)
    assert config.groups == (2, 2, 1)
    assert config.multipliers == 6
    mixed = SystolicConfig(rows=2, cols=5, w_bits=4, pe=("DDDDD", "DDDLD"))
    assert mixed.groups == (2, 1, 1, 1)
    assert mixed.multipliers == 7
    assert SystolicConfig(rows=2, cols=4, w_bits=5).groups == (1, 1, 1, 1)
    assert SystolicConfig(rows=2, cols=4, w_bits=5, x_bits=7).groups == (2, 2)
