"""Bench of the engine on its streams and registers."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from ...hw.engine.registers import engine_registers, register_values
from ...sw.cycles import predict
from ...sw.lower.program import Program
from ...sw.runtime.beats import input_beats
from ..golden.engine import GoldenResult
from .clock import generator, idle, numbers, start, unit_on_bench
from .cover import Cover
from .engine_programs import KINDS, ProgramMaker
from .scoreboard import Scoreboard
from .stream import Monitor, Sink, Source, pattern

_INPUTS = ("cmd", "x", "w")


class Registers:
    """Drives the AXI4-Lite port, one access at a time."""

    def __init__(self, dut):
        self._dut = dut
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready", "awaddr", "awprot",
                     "wdata", "wstrb", "araddr", "arprot"):  # fmt: skip
            getattr(dut, f"s_axi_{name}").value = 0

    async def _send(self, channels: dict[str, dict[str, int]]) -> None:
        await RisingEdge(self._dut.clk)
        for channel, values in channels.items():
            getattr(self._dut, f"s_axi_{channel}valid").value = 1
            for name, value in values.items():
                getattr(self._dut, f"s_axi_{channel}{name}").value = value
        left = set(channels)
        while left:
            await FallingEdge(self._dut.clk)
            taken = {c for c in left if int(getattr(self._dut, f"s_axi_{c}ready").value)}
            await RisingEdge(self._dut.clk)
            for channel in taken:
                getattr(self._dut, f"s_axi_{channel}valid").value = 0
            left -= taken

    async def _answer(self, channel: str, names: tuple[str, ...]) -> list[int]:
        ready = getattr(self._dut, f"s_axi_{channel}ready")
        ready.value = 1
        while True:
            await FallingEdge(self._dut.clk)
            if int(getattr(self._dut, f"s_axi_{channel}valid").value):
                found = [int(getattr(self._dut, f"s_axi_{channel}{n}").value) for n in names]
                await RisingEdge(self._dut.clk)
                ready.value = 0
                return found

    async def read(self, address: int) -> int:
        """Return the register at a byte address."""
        await self._send({"ar": {"addr": address}})
        value, response = await self._answer("r", ("data", "resp"))
        assert response == 0, f"reading {address:#x} answers {response}"
        return value

    async def write(self, address: int, value: int) -> None:
        """Write the register at a byte address."""
        await self._send({"aw": {"addr": address}, "w": {"data": value, "strb": 15}})
        (response,) = await self._answer("b", ("resp",))
        assert response == 0, f"writing {address:#x} answers {response}"


class Bench:
    """Agents on all streams, registers, golden model and coverage."""

    def __init__(self, dut, name: str, gap: str = "never", stall: str = "never"):
        self.dut = dut
        self.config = unit_on_bench()[1]
        self.bank = engine_registers(self.config)
        self.registers = Registers(dut)
        self.scoreboard = Scoreboard(name, _same)
        self.cover = Cover(
            load=("x", "fill", "w", "parameters"),
            gemm=KINDS,
            tiles=("1x1", "1x2", "2x1", "2x2"),
            pool=("1", "2", "3"),
            k_tiles=("1", "more"),
            channels=("all", "some"),
            malformed=("opcode", "length", "span", "field", "flags"),
            gap=(gap,),
            stall=(stall,),
        )
        self.cover.hit("gap", gap)
        self.cover.hit("stall", stall)
        self._numbers = numbers(name)
        self.renew()
        self.sources = {
            stream: Source(dut, f"s_axis_{stream}", pattern(gap, generator(f"{name} {stream}")))
            for stream in _INPUTS
        }
        self.sink = Sink(dut, "m_axis_y", pattern(stall, generator(f"{name} y")))
        self.inputs = {stream: Monitor(dut, f"s_axis_{stream}") for stream in _INPUTS}
        self.results = Monitor(dut, "m_axis_y", self.scoreboard.actual)
        self.expected = 0

    def renew(self) -> None:
        """Forget the golden engine's state, for after a reset."""
        self.maker = ProgramMaker(self.config, self._numbers, self.cover.hit)

    def send(self, gemms: int, bad: float = 0.0) -> tuple[Program, GoldenResult]:
        """Queue a random program and what must come of it; return it and its results."""
        program, result = self.maker.program(gemms, bad=bad)
        for stream, (words, ends) in input_beats(self.config, program).items():
            numbers_ = [sum(int(w) << 64 * i for i, w in enumerate(row)) for row in words]
            self.sources[stream].send(
                *({"data": n, "last": int(e)} for n, e in zip(numbers_, ends, strict=True))
            )
        for lanes, keeps in result.packets:
            for i, beat in enumerate(zip(lanes.tolist(), keeps.tolist(), strict=True)):
                self.scoreboard.expect(_beat(self.config, *beat, last=i == len(lanes) - 1))
            self.expected += len(lanes)
        return program, result

    async def register(self, name: str) -> int:
        """Return a register's value."""
        return await self.registers.read(self.bank.find(name).address)

    async def check_errors(self, expected: int) -> None:
        """Check that the error flags are as expected, and clear them."""
        address = self.bank.find("errors").address
        found = await self.registers.read(address)
        assert found == expected, f"error flags are {found:06b}, not {expected:06b}"
        await self.registers.write(address, found)
        assert await self.registers.read(address) == 0

    async def finish(self) -> None:
        """Wait for all results and check that no more come and the engine is idle."""
        await self.results.until(self.expected)
        await self.scoreboard.finish(self.dut, self.expected)
        for stream, source in self.sources.items():
            assert not source.pending, f"{source.pending} beats of {stream} were never taken"
        assert await self.register("status") == 0, "the engine is busy with nothing"
        self.cover.save(self.scoreboard.name)


def _beat(config, lanes: list[int], keeps: list[bool], *, last: bool) -> dict[str, int]:
    bits, size = config.lane_bits, config.lane_bits // 8
    data = mask = keep = 0
    for i, (lane, kept) in enumerate(zip(lanes, keeps, strict=True)):
        if kept:
            data |= (lane & (1 << bits) - 1) << bits * i
            mask |= ((1 << bits) - 1) << bits * i
            keep |= ((1 << size) - 1) << size * i
    return {"data": data, "mask": mask, "keep": keep, "last": int(last)}


def _same(expected: dict[str, int], found: dict[str, int]) -> bool:
    """Compare two beats; lanes that are not kept may hold anything."""
    return (found["data"] & expected["mask"], found["keep"], found["last"]) == (
        expected["data"], expected["keep"], expected["last"],
    )  # fmt: skip


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def smoke(dut):
    """One program of one product."""
    bench = Bench(dut, "smoke")
    await start(dut)
    bench.send(1)
    await bench.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(gap=["never", "half", "bursts"], stall=["never", "mostly", "pulses", "late"])
async def matches_golden(dut, gap, stall):
    """Random programs with every pattern of gaps and stalls."""
    bench = Bench(dut, f"matches_golden_{gap}_{stall}", gap, stall)
    await start(dut)
    for _ in range(3):
        _, result = bench.send(4)
        await bench.finish()
        await bench.check_errors(result.errors)


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(gap=["never", "half"])
async def malformed_commands(dut, gap):
    """Malformed commands between good ones raise flags and change nothing."""
    bench = Bench(dut, f"malformed_commands_{gap}", gap, "half")
    await start(dut)
    for _ in range(6):
        _, result = bench.send(3, bad=0.7)
        await bench.finish()
        await bench.check_errors(result.errors)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def back_to_back(dut):
    """Never starved, results leave in the predicted cycle, and the counters say so."""
    bench = Bench(dut, "back_to_back")
    await start(dut)
    for _ in range(6):
        counters = [r.name for r in bench.bank.registers if r.access == "counter"]
        for name in counters:
            await bench.registers.write(bench.bank.find(name).address, 0)
        begin = len(bench.inputs["cmd"].cycles)
        program, _ = bench.send(3)
        await bench.finish()
        timeline = predict(bench.config, program)
        origin = bench.inputs["cmd"].cycles[begin]
        assert bench.results.cycles[-1] - origin + 1 == timeline.cycles
        assert await bench.register("cycles") == timeline.gemms[-1].done + 2
        assert await bench.register("y_stalled") == 0


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def counters(dut):
    """Cycles in which a stream is starved or stalled are counted as the monitors see them."""
    bench = Bench(dut, "counters", "half", "mostly")
    await start(dut)
    for _ in range(3):
        bench.send(3)
        await bench.finish()
    for name, monitor in (("x_starved", bench.inputs["x"]), ("w_starved", bench.inputs["w"])):
        assert await bench.register(name) == monitor.starved > 0
    assert await bench.register("y_stalled") == bench.results.stalled > 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def identification(dut):
    """Constant registers describe the configuration."""
    bench = Bench(dut, "identification")
    await start(dut)
    for name, value in register_values(bench.config).items():
        assert await bench.register(name) == value, name


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def reset_mid_stream(dut):
    """After a reset at any moment the engine is idle and exact again."""
    bench = Bench(dut, "reset_mid_stream", "half", "half")
    await start(dut)
    for wait in np.linspace(3, 900, 9).astype(int).tolist():
        bench.send(3)
        await idle(dut, wait)
        await RisingEdge(dut.clk)
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        for source in bench.sources.values():
            source.drop()
        bench.scoreboard.drop()
        bench.expected = bench.scoreboard.matched
        bench.renew()
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        assert await bench.register("status") == 0
        assert await bench.register("errors") == 0
    bench.results.beats.clear()
    bench.expected = 0
    matched = bench.scoreboard.matched
    bench.scoreboard.matched = 0
    bench.send(4)
    await bench.finish()
    assert matched > 0, "no reset came in the middle of results"
