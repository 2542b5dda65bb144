"""Bench of the storage of keys and values, on its streams and its bus."""

from typing import Any

import cocotb
import numpy as np
from amaranth.hdl import Fragment
from cocotb.triggers import FallingEdge, RisingEdge

from ...hw.bus.axi_stream import AxiStreamTop
from ...hw.kv.rows import KvStorage
from ..golden.kv_storage import GoldenStorage
from .clock import generator, numbers, start, unit_on_bench
from .cover import Cover
from .kv_storage_cases import KINDS, draw_group
from .kv_wishbone import Request, WishboneModel
from .scoreboard import Scoreboard
from .stream import Codec, Monitor, Sink, Source, pattern

ROUNDS = 5


class Bench:
    """Agents on all streams, a memory on the bus, golden model and coverage."""

    def __init__(self, dut, name: str, gap: str = "never", stall: str = "never"):
        self.dut, self.name = dut, name
        self.config = unit_on_bench()[1]
        top = AxiStreamTop(KvStorage(self.config))
        Fragment.get(top, None)
        self.codecs = {port.name: Codec(port) for port in top.axi_streams}
        self.golden, self.random = GoldenStorage(self.config), generator(name)
        self.numbers = numbers(name)
        self.scoreboard = Scoreboard(name)
        self.cover = Cover(
            group=KINDS, gap=(gap,), stall=(stall,),
            bus=("stalled", "late", "at once") if self.config.memory == "wishbone" else (),
        )  # fmt: skip
        self.cover.hit("gap", gap)
        self.cover.hit("stall", stall)
        self.sources, self.taken = {}, {}
        for short in ("write_rows", "elements", "read_rows"):
            full = f"s_axis_{short}"
            self.sources[short] = Source(dut, full, pattern(gap, generator(f"{name} {short}")))
            self.taken[short] = Monitor(dut, full)
        Sink(dut, "m_axis_codes", pattern(stall, generator(f"{name} codes")))
        self.compares = True
        self.codes = Monitor(dut, "m_axis_codes", self._check)
        if self.config.memory == "wishbone":
            eager = gap == stall == "never"
            traffic: dict[str, Any] = {"latency": (1, 1)}
            if not eager:
                traffic = {"latency": (0, 7), "stall": 0.3}
            self.model = WishboneModel(self.config.words.words, **traffic)
            for wire in ("stall", "ack", "err", "dat_r"):
                getattr(dut, f"wb_{wire}").value = 0

    def _check(self, beat) -> None:
        if self.compares:
            self.scoreboard.actual(self.codecs["m_axis_codes"].decode(beat))

    async def begin(self) -> None:
        """Start the clock and the bus; resets the unit."""
        await start(self.dut)
        if self.config.memory == "wishbone":
            cocotb.start_soon(self._serve())

    async def _serve(self) -> None:
        """Be the memory: decide in the middle of a cycle what happens at its end."""
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            if dut.rst.value == 1:
                self.model.drop()
                dut.wb_ack.value = dut.wb_err.value = 0
                continue
            dut.wb_stall.value = stalled = self.model.begin()
            cyc, stb = int(dut.wb_cyc.value), int(dut.wb_stb.value)
            names = ("we", "adr", "dat_w") if stb else ()
            asked = {name: int(getattr(dut, f"wb_{name}").value) for name in names}
            ack, err, data = self.model.end(Request(cyc=cyc, stb=stb, **asked))
            dut.wb_ack.value, dut.wb_err.value = ack, err
            dut.wb_dat_r.value = data
            if stb:
                self.cover.hit("bus", "stalled" if stalled else "at once" if ack else "late")

    def write(self, row: int) -> None:
        """Write a row with groups of some kinds."""
        groups = []
        for _ in range(self.config.head_size // self.config.elements):
            kind = self.random.choice(KINDS)
            self.cover.hit("group", kind)
            groups.append(draw_group(self.config, kind, self.numbers))
        elements = np.concatenate(groups)
        self.golden.write(row, elements)
        self.sources["write_rows"].send(self.codecs["s_axis_write_rows"].encode(row))
        encode = self.codecs["s_axis_elements"].encode
        self.sources["elements"].send(*(encode(int(x)) for x in elements))

    def read(self, row: int) -> None:
        """Read a row and expect what was written."""
        self.scoreboard.expect(*self.golden.read(row))
        self.sources["read_rows"].send(self.codecs["s_axis_read_rows"].encode(row))

    async def play(self, rounds: int) -> None:
        """Write rows while those of the round before are read; the last round only reads."""
        places = self.random.sample(range(self.config.rows), min(self.config.rows, 6))
        old, new = places[::2], places[1::2]
        written = asked = 0
        for number in range(rounds + 1):
            if number:
                for row in self.random.choices(old, k=4):
                    self.read(row)
                    asked += 1
            if number < rounds:
                for row in new:
                    self.write(row)
                written += len(new)
            await self.taken["write_rows"].until(written)
            await self.codes.until(asked * self.config.code_words)
            old, new = new, old
        await self.scoreboard.finish(self.dut, asked * self.config.code_words)
        assert not any(source.pending for source in self.sources.values())
        self.cover.save(self.name)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def smoke(dut):
    """A few rows come back."""
    bench = Bench(dut, "smoke")
    await bench.begin()
    await bench.play(1)


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(gap=["never", "half", "bursts"], stall=["never", "half", "late"])
async def matches_golden(dut, gap, stall):
    """Rows are written and read at the same time, with every pattern of gaps and stalls."""
    bench = Bench(dut, f"matches_golden_{gap}_{stall}", gap, stall)
    await bench.begin()
    await bench.play(ROUNDS)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def back_to_back(dut):
    """Rows are written and read in as many cycles as the configuration says."""
    bench = Bench(dut, "back_to_back")
    await bench.begin()
    config, rows = bench.config, list(range(min(bench.config.rows, 4)))
    for row in rows:
        bench.write(row)
    await bench.taken["write_rows"].until(len(rows))
    cycles = bench.taken["write_rows"].cycles
    assert {b - a for a, b in zip(cycles, cycles[1:], strict=False)} == {config.write_cycles}
    for _ in range(60):
        await RisingEdge(dut.clk)
    for row in rows:
        bench.read(row)
    await bench.codes.until(len(rows) * config.code_words)
    firsts = bench.codes.cycles[:: config.code_words]
    assert {b - a for a, b in zip(firsts, firsts[1:], strict=False)} == {config.read_cycles}
    await bench.scoreboard.finish(dut, len(rows) * config.code_words)


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def reset_mid_stream(dut):
    """After a reset nothing of what was under way comes out, and the unit works."""
    bench = Bench(dut, "reset_mid_stream", "half", "half")
    await bench.begin()
    bench.compares = False
    for wait in (9, 60, 150):
        for row in (0, 1):
            bench.write(row)
            bench.sources["read_rows"].send(bench.codecs["s_axis_read_rows"].encode(row))
        for _ in range(wait):
            await RisingEdge(dut.clk)
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        for source in bench.sources.values():
            source.drop()
        await RisingEdge(dut.clk)
        dut.rst.value = 0
    bench.compares = True
    for monitor in (bench.codes, *bench.taken.values()):
        monitor.beats.clear()
    await bench.play(2)
