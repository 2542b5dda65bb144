"""The refresh scheduler against golden and a list of when each row was refreshed."""

import random

import pytest
from amaranth.sim import Simulator

from tilewright.hw.config import ConfigError
from tilewright.hw.kv.refresh import Refresher
from tilewright.hw.kv.refresh_config import RefreshConfig
from tilewright.verif.golden.kv_refresh import GoldenRefresh


def run(config: RefreshConfig, paces: tuple[int, int], busy: float, cycles: int, seed: int = 1):
    """Return refreshes (cycle, row), cycles taken from the memory, and when each row was high."""
    unit, golden, rng = Refresher(config), GoldenRefresh(config), random.Random(seed)
    refreshes, taken, high = [], [], [[(0, False)] for _ in range(config.rows)]

    async def drive(ctx):
        ctx.set(unit.pace_high, paces[0])
        ctx.set(unit.pace_low, paces[1])
        for cycle in range(cycles):
            idle = rng.random() >= busy
            scored = rng.random() < 0.01
            row, is_high = rng.randrange(config.rows), rng.random() < 0.5
            ctx.set(unit.idle, idle)
            ctx.set(unit.scored, scored)
            ctx.set(unit.scored_at, row)
            ctx.set(unit.high, is_high)
            found = ctx.get(unit.refresh_at) if ctx.get(unit.refresh) else None
            wanted = golden.step(paces, idle, (row, is_high) if scored else None)
            assert (found, bool(ctx.get(unit.take))) == wanted
            if ctx.get(unit.refresh):
                refreshes.append((cycle, ctx.get(unit.refresh_at)))
                assert idle or ctx.get(unit.take)
            assert not ctx.get(unit.take) or not idle
            if ctx.get(unit.take):
                taken.append(cycle)
            if scored:
                high[row].append((cycle, is_high))
            await ctx.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return refreshes, taken, high


@pytest.mark.parametrize("busy", [0, 0.5, 1])
def test_no_row_waits_too_long(busy):
    config = RefreshConfig(rows=8, slack=6, pace_bits=8)
    paces, cycles = (3, 11), 4000
    refreshes, taken, high = run(config, paces, busy, cycles)
    assert bool(taken) == (busy == 1), "only a memory that is never idle has to wait"
    for row in range(config.rows):
        times = [0, *(cycle for cycle, at in refreshes if at == row)]
        gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
        assert max(gaps) <= config.longest(paces[1])
        spans = zip(high[row], [*high[row][1:], (cycles, False)], strict=True)
        for (begin, is_high), (end, _) in spans:
            if is_high:
                # Within an interval of high scores the row is in its group; from then on it stays.
                settled = [t for t in times if begin + config.longest(paces[0]) <= t <= end]
                inside = [b - a for a, b in zip(settled, settled[1:], strict=False)]
                assert max(inside, default=0) <= config.longest(paces[0])


def test_low_scores_save_refreshes():
    config = RefreshConfig(rows=8, slack=6, pace_bits=8)
    refreshes, _, _ = run(config, (3, 30), 0, 2000, seed=2)
    everything = 2000 // 3
    assert len(refreshes) < 0.8 * everything


def test_without_paces_nothing_is_refreshed():
    refreshes, taken, _ = run(RefreshConfig(rows=4, slack=6, pace_bits=8), (0, 0), 0, 300)
    assert refreshes == taken == []


def test_pace_of_an_interval():
    config = RefreshConfig(rows=2048, slack=52)
    # 0.36 ms and 7.2 ms at 125 MHz.
    assert config.pace(45_000) == 21
    assert config.pace(900_000) == 428
    assert config.longest(21) <= 45_000
    with pytest.raises(ConfigError, match="interval must be an integer from 4200 to .*, not 4199"):
        config.pace(4199)
    with pytest.raises(ConfigError, match="slack must be an integer from 2 to 255, not 1"):
        RefreshConfig(slack=1)
