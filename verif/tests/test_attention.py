"""The attention unit: hardware against golden, on emitted Verilog and simulated by Amaranth."""

import json
import shutil

import pytest
from amaranth.sim import Simulator

from tilewright.gen.configuration import configure
from tilewright.hw.attention.config import AttentionConfig
from tilewright.hw.attention.reciprocal import Reciprocal
from tilewright.verif.formal.attention import tasks
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


@pytest.mark.slow
@pytest.mark.parametrize("task", tasks(), ids=lambda task: task.name)
def test_properties_hold(task, tmp_path):
    proof = task.run(tmp_path)
    assert proof.passed, proof.reason
