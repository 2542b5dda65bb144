"""The attention unit: hardware against golden, on emitted Verilog and simulated by Amaranth."""

import json
import shutil

import numpy as np
import pytest
from amaranth.sim import Simulator

from tilewright.gen.configuration import configure
from tilewright.hw.attention.config import AttentionConfig, RotaryConfig
from tilewright.hw.attention.reciprocal import Reciprocal
from tilewright.hw.attention.rotary import Rotary
from tilewright.verif.golden.attention import rotary
from tilewright.verif.simulate.runner import run_unit
from tilewright.verif.testbench.cover import merge

TESTS = 1 + 12 + 3


@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")
@pytest.mark.parametrize("preset", ["tiny", pytest.param("default", marks=pytest.mark.slow)])
def test_bench_on_icarus(tmp_path, preset):
    result = run_unit("attention", configure("attention", preset=preset), tmp_path)
    assert result.ok, result
    assert len(result.passed) == TESTS
    cover = merge(tmp_path)
    assert cover.missing() == [], json.dumps(cover.hits)


@pytest.mark.parametrize("slots", [2, 16])
def test_reciprocals_of_extreme_sums(slots):
    config = AttentionConfig(slots=slots)
    unit, found = Reciprocal(config), []
    bits, least = config.reciprocal_bits, 1 << config.weight_bits + config.guard_bits - 1
    totals = [least, least + 1, 2 * least - 1, 2 * least, (1 << config.sum_width) - 1]

    async def drive(ctx):
        for total in totals:
            ctx.set(unit.total, total)
            ctx.set(unit.start, 1)
            await ctx.tick()
            ctx.set(unit.start, 0)
            for _ in range(config.reciprocal_cycles - 1):
                assert not ctx.get(unit.done)
                await ctx.tick()
            assert ctx.get(unit.done)
            found.append((ctx.get(unit.reciprocal), ctx.get(unit.extra)))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    for total, (reciprocal, extra) in zip(totals, found, strict=True):
        mantissa = total >> total.bit_length() - bits
        assert extra == total.bit_length() - config.weight_bits - config.guard_bits
        assert reciprocal == min((1 << 2 * bits - 1) // mantissa, (1 << bits) - 1)


@pytest.mark.parametrize("layout", ["interleaved", "halves"])
@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("pauses", [False, True])
def test_rotation_equals_golden(layout, size, pauses):
    config = RotaryConfig(head_size=size, layout=layout, angle_bits=8 if size == 48 else 12)
    rng = np.random.default_rng(size)
    heads = rng.integers(-(1 << 15), 1 << 15, (12, size))
    heads[0], heads[1] = 32767, -32768
    positions = np.array([0, 1, 65535, *rng.integers(0, 1 << 16, 9)])
    quarter = (1 << config.phase_bits) // 4 / config.steps[0]  # a crest of the first pair's sine
    positions[3:6] = round(quarter), round(2 * quarter), round(3 * quarter)
    unit, found, times = Rotary(config), [], {"taken": [], "given": []}
    offered = [(int(x), int(p)) for head, p in zip(heads, positions, strict=True) for x in head]
    cycle = [0]

    async def count(ctx):
        while True:
            await ctx.tick()
            cycle[0] += 1

    async def send(ctx):
        for element, position in offered:
            while pauses and rng.random() < 0.4:
                ctx.set(unit.i.valid, 0)
                await ctx.tick()
            ctx.set(unit.i.payload, {"element": element, "position": position})
            ctx.set(unit.i.valid, 1)
            while not ctx.get(unit.i.ready):
                await ctx.tick()
            times["taken"].append(cycle[0])
            await ctx.tick()
        ctx.set(unit.i.valid, 0)

    async def take(ctx):
        while len(found) < heads.size:
            ready = not pauses or rng.random() < 0.6
            ctx.set(unit.o.ready, ready)
            if ready and ctx.get(unit.o.valid):
                found.append(ctx.get(unit.o.payload))
                times["given"].append(cycle[0])
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(count, background=True)
    simulator.add_testbench(send)
    simulator.add_testbench(take)
    simulator.run()
    assert found == rotary(config, heads, positions).ravel().tolist()
    if not pauses:
        assert times["taken"] == list(range(heads.size))
        first = times["taken"][size - 1] + Rotary.LATENCY
        assert times["given"] == list(range(first, first + heads.size))
