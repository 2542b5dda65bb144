"""Bench of the chain of column-combining arrays, on its streams."""

from collections import deque

import cocotb
import numpy as np
from amaranth.hdl import Fragment
from cocotb.triggers import FallingEdge, RisingEdge

from ...hw.bus.axi_stream import AxiStreamTop
from ...hw.packed.chain import PackedChain
from ...sw.families.packed_chain import pack_chain
from ..golden.packed_chain import packed_chain
from .clock import generator, numbers, start, unit_on_bench
from .cover import Cover
from .packed_chain_cases import random_parameters, random_pixels
from .scoreboard import Scoreboard
from .stream import Codec, Monitor, Sink, Source, pattern


class Bench:
    """Agents on all streams, golden model and coverage."""

    def __init__(self, dut, name: str, gap: str = "never", stall: str = "never"):
        self.dut, self.name = dut, name
        self.config = unit_on_bench()[1]
        top = AxiStreamTop(PackedChain(self.config))
        Fragment.get(top, None)
        self.codecs = {port.name: Codec(port) for port in top.axi_streams}
        self.numbers = numbers(name)
        self.scoreboard = Scoreboard(name)
        self.cover = Cover(
            result=("lowest", "between", "highest"),
            words=("at first", "between images", "in an image"),
            gap=(gap,), stall=(stall,),
        )  # fmt: skip
        self.cover.hit("gap", gap)
        self.cover.hit("stall", stall)
        self.params = Source(dut, "s_axis_params", pattern(gap, generator(f"{name} params")))
        self.acts = Source(dut, "s_axis_acts", pattern(gap, generator(f"{name} acts")))
        self.sink = Sink(dut, "m_axis_results", pattern(stall, generator(f"{name} results")))
        self.loaded = Monitor(dut, "s_axis_params")
        self.taken = Monitor(dut, "s_axis_acts", self._taken)
        self.given = Monitor(dut, "m_axis_results", self._given)
        self.results: deque[dict] = deque()

    def load(self) -> None:
        """Offer parameters; images that are sent from now on are for them."""
        taken = len(self.taken.beats)
        when = "in an image" if taken % self.config.pixels else "between images"
        self.cover.hit("words", when if taken else "at first")
        self.layers = random_parameters(self.config, self.numbers)
        words = pack_chain(self.config, self.layers)
        self.params.send(*map(self.codecs["s_axis_params"].encode, words))

    def send(self, images: int) -> None:
        """Offer images."""
        config = self.config
        pixels = random_pixels(config, images, self.numbers)
        results = packed_chain(config, self.layers, pixels).tolist()
        ends = np.arange(1, len(results) + 1) % config.pixels == 0
        self.results += [
            {"data": data, "end": int(end)} for data, end in zip(results, ends, strict=True)
        ]
        encode = self.codecs["s_axis_acts"].encode
        self.acts.send(*(encode({"data": pixel}) for pixel in pixels.tolist()))

    def _taken(self, _) -> None:
        self.scoreboard.expect(self.results.popleft())

    def _given(self, beat) -> None:
        result = self.codecs["m_axis_results"].decode(beat)
        self.scoreboard.actual(result)
        low, high = self.config.layers[-1].lane.out_range
        for value in result["data"]:
            self.cover.hit("result", {low: "lowest", high: "highest"}.get(value, "between"))

    async def finish(self, images: int) -> None:
        """Wait for the results of all images and check that no more come."""
        count = images * self.config.pixels
        await self.given.until(count)
        await self.scoreboard.finish(self.dut, count, tail=self.config.latency + 8)
        assert not self.acts.pending
        self.cover.save(self.name)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def smoke(dut):
    """An image, and another one when the first is out."""
    bench = Bench(dut, "smoke")
    await start(dut)
    bench.load()
    for count in (1, 2):
        bench.send(1)
        await bench.given.until(count * bench.config.pixels)
    await bench.finish(2)


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(gap=["never", "half", "bursts"], stall=["never", "half", "pulses", "late"])
async def matches_golden(dut, gap, stall):
    """Images with every pattern of gaps and stalls."""
    bench = Bench(dut, f"matches_golden_{gap}_{stall}", gap, stall)
    await start(dut)
    bench.load()
    bench.send(6)
    await bench.finish(6)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def back_to_back(dut):
    """A word and a pixel a cycle, and the cycles that `ChainConfig.cycles` says."""
    bench = Bench(dut, "back_to_back")
    config, images = bench.config, 3 + 2 * bench.config.latency // bench.config.pixels
    await start(dut)
    bench.load()
    bench.send(images)
    await bench.finish(images)
    first = bench.loaded.cycles[0]
    assert bench.loaded.cycles == list(range(first, first + config.parameter_words))
    begin, count = first + config.parameter_words, images * config.pixels
    assert bench.taken.cycles == list(range(begin, begin + count))
    assert bench.given.cycles[-1] - begin + 1 == config.cycles(images)
    assert bench.given.cycles == config.timing().results(bench.taken.cycles)


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(gap=["half", "bursts", "mostly"])
async def in_time(dut, gap):
    """Whatever the gaps are, results come in the cycles that `ChainTiming` says."""
    bench = Bench(dut, f"in_time_{gap}", gap)
    await start(dut)
    bench.load()
    for images in (3, 4):
        bench.send(images)
        await bench.given.until(images * bench.config.pixels)
    await bench.finish(7)
    assert bench.given.cycles == bench.config.timing().results(bench.taken.cycles)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def stall_at_start(dut):
    """While nothing is taken as many vectors go in as the queue has places."""
    bench = Bench(dut, "stall_at_start")
    config = bench.config
    images = 2 + config.credits // config.pixels
    bench.sink._stalls = iter([1] * (config.parameter_words + 3 * config.credits))
    await start(dut)
    bench.load()
    bench.send(images)
    await bench.given.until(1)
    assert config.credits <= len(bench.taken.beats) <= config.credits + 1
    assert bench.taken.stalled > config.credits
    await bench.finish(images)


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(gap=["never", "half"])
async def new_parameters(dut, gap):
    """Words that are offered in an image wait for its end, and then count for the next."""
    bench = Bench(dut, f"new_parameters_{gap}", gap, "half")
    config = bench.config
    await start(dut)
    bench.load()
    for number in range(1, 5):
        bench.send(2)
        count = 2 * number * config.pixels
        await bench.taken.until(count - config.pixels // 2 * (number % 2))
        bench.load()
        await bench.loaded.until(number * config.parameter_words + 1)
        assert len(bench.given.beats) == len(bench.taken.beats) == count
    bench.send(1)
    await bench.finish(9)


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def reset_mid_stream(dut):
    """After a reset, in words or in vectors, nothing is left of what was before."""
    bench = Bench(dut, "reset_mid_stream", gap="half", stall="half")
    config = bench.config
    words = config.parameter_words
    await start(dut)
    for wait in (words, 2 * words + 9, 2 * words + 2 * config.latency):
        bench.load()
        bench.send(6)
        for _ in range(wait):
            await RisingEdge(dut.clk)
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        bench.params.drop()
        bench.acts.drop()
        bench.results.clear()
        bench.scoreboard.drop()
        await RisingEdge(dut.clk)
        dut.rst.value = 0
    before = bench.scoreboard.matched
    bench.load()
    bench.send(3)
    await bench.given.until(len(bench.given.beats) + 3 * config.pixels)
    await bench.scoreboard.finish(dut, before + 3 * config.pixels)
