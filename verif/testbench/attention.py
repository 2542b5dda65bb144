"""Bench of the attention unit on its streams."""

import cocotb
from amaranth.hdl import Fragment
from cocotb.triggers import FallingEdge, RisingEdge

from ...hw.attention.config import ROWS
from ...hw.attention.unit import Attention
from ...hw.bus.axi_stream import AxiStreamTop
from .attention_cases import KINDS, Row, random_row
from .clock import generator, numbers, start, unit_on_bench
from .cover import Cover
from .scoreboard import Scoreboard
from .stream import Codec, Monitor, Sink, Source, pattern


class Bench:
    """Agents on the streams, golden results and coverage."""

    def __init__(self, dut, name: str, gap: str = "never", stall: str = "never"):
        self.dut = dut
        self.config = unit_on_bench()[1]
        top = AxiStreamTop(Attention(self.config))
        Fragment.get(top, None)
        self.scores, self.scales, self.results = map(Codec, top.axi_streams)
        self.rng = numbers(name)
        self.scoreboard = Scoreboard(name)
        self.cover = Cover(
            kind=KINDS,
            slots=("one", "some", "all"),
            weight=("zero", "inside", "full"),
            shift=("none", "some"),
            gap=(gap,),
            stall=(stall,),
        )
        self.cover.hit("gap", gap)
        self.cover.hit("stall", stall)
        gaps = [pattern(gap, generator(f"{name} gap {side}")) for side in range(2)]
        self.score_source = Source(dut, "s_axis_scores", gaps[0])
        self.scale_source = Source(dut, "s_axis_scales", gaps[1])
        self.sink = Sink(dut, "m_axis_o", pattern(stall, generator(f"{name} stall")))
        self.taken = Monitor(dut, "s_axis_scores")
        self.scales_taken = Monitor(dut, "s_axis_scales")
        self.given = Monitor(dut, "m_axis_o", self._given)

    def send(self, kind: str, slots: int) -> Row:
        """Queue a row and what must come of it."""
        row = random_row(self.config, self.rng, kind, slots)
        self.score_source.send(*(self.scores.encode(beat) for beat in row.scores))
        self.scale_source.send(*(self.scales.encode(scale) for scale in row.scales))
        for beat in row.factors:
            self.scoreboard.expect(beat)
        self.cover.hit("kind", kind)
        all_ = self.config.slots
        self.cover.hit("slots", "one" if slots == 1 else "all" if slots == all_ else "some")
        self.cover.hit("shift", "some" if row.scores[0]["shift"] else "none")
        return row

    def send_random(self, rows: int) -> int:
        """Queue rows of all kinds, some of one slot and some of all; return their beats."""
        beats = 0
        for index in range(rows):
            some = int(self.rng.integers(1, self.config.slots + 1))
            slots = (1, some, self.config.slots, some)[index % 4]
            beats += len(self.send(KINDS[index % len(KINDS)], slots).scores)
        return beats

    def _given(self, beat) -> None:
        found = self.results.decode(beat)
        full = (1 << self.config.weight_bits) - 1
        weight = found["weight"]
        self.cover.hit("weight", {0: "zero", full: "full"}.get(weight, "inside"))
        self.scoreboard.actual(found)

    async def finish(self, count: int) -> None:
        """Wait for ``count`` factors and check that no more come."""
        await self.given.until(count)
        await self.scoreboard.finish(self.dut, count, tail=self.config.latency + 8)
        self.cover.save(self.scoreboard.name)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def smoke(dut):
    """One row at a time, each after the one before."""
    bench = Bench(dut, "smoke")
    await start(dut)
    count = 0
    for slots in (1, bench.config.slots, 2):
        count += len(bench.send("near", slots).scores)
        await bench.given.until(count)
    await bench.finish(count)


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(gap=["never", "half", "bursts"], stall=["never", "half", "pulses", "late"])
async def matches_golden(dut, gap, stall):
    """Random rows with every pattern of gaps and stalls."""
    bench = Bench(dut, f"matches_golden_{gap}_{stall}", gap, stall)
    await start(dut)
    await bench.finish(bench.send_random(42))


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def back_to_back(dut):
    """Rows without gaps take exactly the cycles that the schedule says."""
    bench = Bench(dut, "back_to_back")
    await start(dut)
    schedule, firsts, count = bench.config.schedule(), [], 0
    for slots in [*range(1, bench.config.slots + 1), *[bench.config.slots] * 6, 1, 1, 1, 1, 1]:
        firsts.append((count, *schedule.row(0, slots)))
        count += len(bench.send("near", slots).scores)
    await bench.finish(count)
    zero = bench.taken.cycles[0]
    for at, taken, given in firsts:
        assert bench.taken.cycles[at] - zero == taken
        assert bench.given.cycles[at] - zero == given


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def stall_at_start(dut):
    """The places fill while nothing is taken, then no row comes, and nothing is lost."""
    bench = Bench(dut, "stall_at_start")
    bench.sink._stalls = iter([1] * (8 * bench.config.slots * bench.config.groups + 200))
    await start(dut)
    count = sum(len(bench.send("far", bench.config.slots).scores) for _ in range(2 * ROWS))
    await bench.finish(count)
    assert bench.taken.stalled > 20


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def reset_mid_stream(dut):
    """After a reset nothing of what was under way comes out, and the unit works."""
    bench = Bench(dut, "reset_mid_stream", gap="half", stall="half")
    await start(dut)
    for wait in (1, bench.config.latency, 3 * bench.config.latency):
        bench.send_random(12)
        for _ in range(wait):
            await RisingEdge(dut.clk)
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        bench.score_source.drop()
        bench.scale_source.drop()
        bench.scoreboard.drop()
        await RisingEdge(dut.clk)
        dut.rst.value = 0
    before, given = bench.scoreboard.matched, len(bench.given.beats)
    count = bench.send_random(12)
    await bench.given.until(given + count)
    await bench.scoreboard.finish(dut, before + count)
