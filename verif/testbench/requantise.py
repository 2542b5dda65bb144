"""Bench of the requantiser on its streams."""

import cocotb
from amaranth.hdl import Fragment
from cocotb.triggers import FallingEdge, RisingEdge

from ...hw.bus.axi_stream import AxiStreamTop
from ...hw.engine.requantise import Requantise
from .clock import generator, start, unit_on_bench
from .cover import Cover
from .requantise_cases import (
    Case,
    corner_cases,
    expected,
    random_cases,
)
from .scoreboard import Scoreboard
from .stream import Codec, Monitor, Sink, Source, pattern


class Bench:
    """Agents on both streams, golden model and coverage."""

    def __init__(self, dut, name: str, gap: str = "never", stall: str = "never"):
        self.dut = dut
        self.config = unit_on_bench()[1]
        top = AxiStreamTop(Requantise(self.config))
        Fragment.get(top, None)
        self.inputs, self.outputs = map(Codec, top.axi_streams)
        self.random = generator(name)
        self.scoreboard = Scoreboard(name)
        self.cover = Cover(
            result=("low clamp", "inside", "high clamp"),
            quotient=("exact", "tie", "other"),
            sign=("negative", "positive"),
            zero_point=("negative", "zero", "positive"),
            gap=(gap,),
            stall=(stall,),
        )
        self.cover.cross("rounding", "quotient", "sign")
        self.cover.hit("gap", gap)
        self.cover.hit("stall", stall)
        self.source = Source(dut, "s_axis_i", pattern(gap, generator(f"{name} gap")))
        self.sink = Sink(dut, "m_axis_o", pattern(stall, generator(f"{name} stall")))
        self.taken = Monitor(dut, "s_axis_i", self._taken)
        self.given = Monitor(dut, "m_axis_o", self._given)

    def send(self, cases: list[Case]) -> None:
        """Queue cases."""
        for case in cases:
            self.source.send(self.inputs.encode(case._asdict()))

    def _taken(self, beat) -> None:
        case = Case(**self.inputs.decode(beat))
        (value,) = expected(self.config, [case])
        self.scoreboard.expect(value)
        product = (case.acc + case.bias) * case.mult
        rest = product % (1 << case.shift)
        kinds = {0: "exact", (1 << case.shift) >> 1: "tie"} if case.shift else {0: "exact"}
        kind = kinds.get(rest, "other")
        sign = "negative" if product < 0 else "positive"
        self.cover.hit("quotient", kind)
        self.cover.hit("sign", sign)
        self.cover.hit("rounding", f"{kind}*{sign}")
        zero = case.zero_point
        self.cover.hit("zero_point", "zero" if not zero else "negative" if zero < 0 else "positive")
        ends = {case.lo: "low clamp", case.hi: "high clamp"}
        self.cover.hit("result", ends.get(value, "inside"))

    def _given(self, beat) -> None:
        self.scoreboard.actual(self.outputs.decode(beat))

    async def finish(self, count: int) -> None:
        """Wait for ``count`` results and check that no more come."""
        await self.given.until(count)
        await self.scoreboard.finish(self.dut, count, tail=self.config.latency + 8)
        self.cover.save(self.scoreboard.name)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def smoke(dut):
    """One case at a time, each after the one before."""
    bench = Bench(dut, "smoke")
    await start(dut)
    low, high = bench.config.out_range
    for count, acc in enumerate((0, 3, 5), 1):
        bench.send([Case(acc, 1, 1 << 15, 16, 0, low, high)])
        await bench.given.until(count)
    await bench.finish(3)


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(gap=["never", "half", "bursts"], stall=["never", "half", "pulses", "late"])
async def matches_golden(dut, gap, stall):
    """Random cases with every pattern of gaps and stalls."""
    bench = Bench(dut, f"matches_golden_{gap}_{stall}", gap, stall)
    await start(dut)
    bench.send(random_cases(bench.config, 400, bench.random))
    await bench.finish(400)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def corner_values(dut):
    """Ends of all operands, exact halves, every shift of every power of two."""
    bench = Bench(dut, "corner_values", stall="mostly")
    await start(dut)
    cases = corner_cases(bench.config)
    bench.random.shuffle(cases)
    bench.send(cases[:1500])
    await bench.finish(min(len(cases), 1500))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def back_to_back(dut):
    """One result a cycle, the first ``latency + 1`` cycles after its beat."""
    bench = Bench(dut, "back_to_back")
    await start(dut)
    bench.send(random_cases(bench.config, 100, bench.random))
    await bench.finish(100)
    first_in, first_out = bench.taken.cycles[0], bench.given.cycles[0]
    assert bench.taken.cycles == list(range(first_in, first_in + 100))
    assert bench.given.cycles == list(range(first_out, first_out + 100))
    assert first_out - first_in == bench.config.latency + 1


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def stall_at_start(dut):
    """The pipeline fills while nothing is taken, and loses nothing."""
    bench = Bench(dut, "stall_at_start", stall="bursts")
    bench.sink._stalls = iter([1] * 60)
    await start(dut)
    bench.send(random_cases(bench.config, 50, bench.random))
    await bench.finish(50)
    assert bench.taken.stalled > 20, "a full pipeline takes no more"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reset_mid_stream(dut):
    """After a reset nothing of what was under way comes out, and the unit works."""
    bench = Bench(dut, "reset_mid_stream", gap="half", stall="half")
    await start(dut)
    for wait in (1, bench.config.latency, 3 * bench.config.latency):
        bench.send(random_cases(bench.config, 60, bench.random))
        for _ in range(wait):
            await RisingEdge(dut.clk)
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        bench.source.drop()
        bench.scoreboard.drop()
        await RisingEdge(dut.clk)
        dut.rst.value = 0
    before = bench.scoreboard.matched
    bench.send(random_cases(bench.config, 60, bench.random))
    await bench.given.until(len(bench.given.beats) + 60)
    await bench.scoreboard.finish(dut, before + 60)
