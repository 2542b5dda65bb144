"""Bench of any datapath on its streams: random steps, golden sums, cycles as its timing says."""

from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
from amaranth.hdl import Fragment
from cocotb.triggers import FallingEdge, RisingEdge

from ...hw.bus.axi_stream import AxiStreamTop
from ...sw.families.base import family_of
from ..datapaths import cycles_of, random_mode, sums_inside
from .clock import generator, numbers, start, unit_on_bench
from .cover import Cover
from .scoreboard import Scoreboard
from .stream import Codec, Monitor, Source, pattern


@dataclass(frozen=True)
class Step:
    """One weight tile and its activation vectors."""

    x: np.ndarray
    w: np.ndarray
    first: bool
    last: bool
    mode: int = 0


class Bench:
    """Agents on all streams, golden model and coverage."""

    def __init__(self, dut, name: str, gaps: str = "never", weight_gaps: str = "never"):
        self.dut = dut
        _, self.config = unit_on_bench()
        self.family = family_of(self.config)
        top = AxiStreamTop(self.config.build())
        Fragment.get(top, None)
        codecs = dict(zip(("weights", "acts", "psums"), map(Codec, top.axi_streams), strict=True))
        self.codecs = codecs
        self.numbers = numbers(name)
        self.scoreboard = Scoreboard(name)
        self.cover = Cover(
            vectors=("1", "2", "3", "4 or more"),
            flags=("00", "01", "10", "11"),
            operands=("lowest", "highest", "any"),
            order=("weights first", "vector first"),
        )
        self.acts_source = Source(dut, "s_axis_acts", pattern(gaps, generator(f"{name} acts")))
        self.weights_source = Source(
            dut, "s_axis_weights", pattern(weight_gaps, generator(f"{name} weights"))
        )
        self.acts = Monitor(dut, "s_axis_acts")
        self.weights = Monitor(dut, "s_axis_weights")
        self.psums = Monitor(dut, "m_axis_psums", self._given)
        self._sums: Any = None
        self.expected = 0

    def beats(self, step: Step) -> list[int]:
        """Return the beats of a step's weight tile."""
        return self.family.pack(step.w, step.mode)

    def send(self, steps: list[Step]) -> None:
        """Queue steps and what must come of them."""
        for step in steps:
            beats = [self.codecs["weights"].encode(beat) for beat in self.beats(step)]
            self.weights_source.send(*beats)
            self.cover.hit("vectors", len(step.x) if len(step.x) < 4 else "4 or more")
            self.cover.hit("flags", f"{step.first:d}{step.last:d}")
            for k, vector in enumerate(step.x):
                beat = {"data": vector.tolist(), "first": step.first, "last": step.last}
                beat["end"] = k == len(step.x) - 1
                if self.config.mode_bits:
                    beat["mode"] = step.mode
                self.acts_source.send(self.codecs["acts"].encode(beat))
            self._expect(step)

    def _expect(self, step: Step) -> None:
        sums = self.family.golden(step.x, step.w, step.mode)
        first, last = step.first, step.last
        if sums_inside(self.config):
            self._sums = sums if step.first else self._sums + sums
            if not step.last:
                return
            sums, first, last = self._sums, True, True
        for k, row in enumerate(sums):
            self.scoreboard.expect((row.tolist(), first, last, k == len(sums) - 1))
        self.expected += len(sums)

    def _given(self, beat) -> None:
        found = self.codecs["psums"].decode(beat)
        flags = (bool(found[name]) for name in ("first", "last", "end"))
        self.scoreboard.actual((found["data"], *flags))

    def steps(self, count: int, vectors: int | None = None) -> list[Step]:
        """Return random steps, the last of which ends a sum."""
        config, rng = self.config, self.numbers
        steps: list[Step] = []
        held = 0
        for i in range(count):
            first, last = bool(rng.integers(2)), bool(rng.integers(2))
            rows = vectors or int(rng.integers(1, 2 * config.rows + 4))
            if sums_inside(config):
                first = not steps or steps[-1].last
                held = min(rows, config.max_tile_rows) if first else held
                rows, last = held, last or i == count - 1
            kind = ("lowest", "highest", "any")[rng.choice(3, p=(0.1, 0.1, 0.8))]
            self.cover.hit("operands", kind)
            mode = random_mode(self.family, self.numbers)
            x_values, w_values = self.family.operands(mode)
            x = self._operands((rows, config.act_lanes), x_values, kind)
            w = self._operands((config.act_lanes, config.cols), w_values, kind)
            if kind == "any" and rng.integers(2):
                w >>= int(rng.integers((w_values.high - w_values.low).bit_length()))
            w[self.family.tile(mode).k :] = 0
            steps.append(Step(x, w, first, last, mode))
        return steps

    def _operands(self, shape, legal, kind) -> np.ndarray:
        ends = {"lowest": legal.low, "highest": legal.high}
        if kind in ends:
            return np.full(shape, ends[kind])
        return legal.random(self.numbers, shape)

    async def finish(self) -> None:
        """Wait for all results and check that no more come."""
        await self.psums.until(self.expected)
        await self.scoreboard.finish(self.dut, self.expected, tail=self.config.latency + 16)
        order = self.weights.cycles[0] < self.acts.cycles[0]
        self.cover.hit("order", "weights first" if order else "vector first")
        self.cover.save(self.scoreboard.name)


def _check_cycles(bench: Bench, steps: list[Step]) -> None:
    """Every beat moved in the cycle that the configuration's timing rule states."""
    timing = bench.config.timing()
    acts: list[int] = []
    weights: list[int] = []
    psums: list[int] = []
    for step in steps:
        flags = {"first": step.first, "last": step.last, "mode": step.mode}
        weights += cycles_of(timing.load(0, bench.beats(step)))
        acts += cycles_of(timing.step(0, len(step.x), **flags))
        if step.last or not sums_inside(bench.config):
            psums += cycles_of(timing.psums)
    origin = bench.weights.cycles[0] - weights[0]
    assert [cycle - origin for cycle in bench.acts.cycles] == acts
    assert [cycle - origin for cycle in bench.weights.cycles] == weights
    assert [cycle - origin for cycle in bench.psums.cycles] == psums


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def smoke(dut):
    """One step of one vector."""
    bench = Bench(dut, "smoke")
    await start(dut)
    config = bench.config
    lanes = config.act_lanes
    w = np.ones((lanes, config.cols), int)
    w[bench.family.tile().k :] = 0
    bench.send([Step(np.ones((1, lanes), int), w, True, True)])
    await bench.finish()


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(
    gaps=["never", "half", "bursts", "late"], weight_gaps=["never", "half", "pulses", "late"]
)
async def matches_golden(dut, gaps, weight_gaps):
    """Random steps with every pattern of gaps."""
    bench = Bench(dut, f"matches_golden_{gaps}_{weight_gaps}", gaps, weight_gaps)
    await start(dut)
    bench.send(bench.steps(30))
    await bench.finish()


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(vectors=[1, 2, 3, 4, 9])
async def back_to_back(dut, vectors):
    """Never starved, every beat moves in the stated cycle; steps of equal length."""
    bench = Bench(dut, f"back_to_back_{vectors}")
    vectors = min(vectors, bench.config.max_tile_rows or vectors)
    await start(dut)
    steps = bench.steps(12, vectors)
    bench.send(steps)
    await bench.finish()
    _check_cycles(bench, steps)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def mixed_lengths(dut):
    """Never starved, every beat moves in the stated cycle; steps of any length."""
    bench = Bench(dut, "mixed_lengths")
    await start(dut)
    steps = bench.steps(60)
    bench.send(steps)
    await bench.finish()
    _check_cycles(bench, steps)


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(early=["acts", "weights"])
async def one_side_first(dut, early):
    """One stream is there long before the other."""
    late = {"gaps": "late"} if early == "weights" else {"weight_gaps": "late"}
    bench = Bench(dut, f"one_side_first_{early}", **late)
    await start(dut)
    bench.send(bench.steps(6))
    await bench.finish()


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def reset_mid_stream(dut):
    """After a reset nothing of what was under way comes out, and the array is exact again."""
    bench = Bench(dut, "reset_mid_stream", gaps="mostly", weight_gaps="half")
    await start(dut)
    for wait in (1, 7, 3 * bench.config.latency):
        bench.send(bench.steps(8))
        for _ in range(wait):
            await RisingEdge(dut.clk)
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        for source in (bench.acts_source, bench.weights_source):
            source.drop()
        bench.scoreboard.drop()
        await RisingEdge(dut.clk)
        dut.rst.value = 0
    before, bench.expected = bench.scoreboard.matched, 0
    bench.send(bench.steps(8))
    await bench.psums.until(len(bench.psums.beats) + bench.expected)
    await bench.scoreboard.finish(dut, before + bench.expected, tail=bench.config.latency + 16)
