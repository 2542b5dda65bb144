"""UART receiver and transmitter, and a whole engine behind one."""

import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from tilewright.gen.verilog import emit
from tilewright.hw.bus.host_config import UartConfig
from tilewright.hw.bus.uart import UartReceiver, UartTransmitter
from tilewright.hw.bus.uart_engine import UartEngine
from tilewright.hw.bus.uart_engine_config import UartEngineConfig
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.mapping.matmul import plan_matmul
from tilewright.sw.pack.systolic import pack_tile
from tilewright.sw.runtime.serial import Link, LinkError
from tilewright.sw.runtime.serial_engine import SerialEngine
from tilewright.verif.simulate.compiled import compile_unit
from tilewright.verif.testbench.uart_line import UartLine

BYTES = bytes(random.Random(1).randbytes(12)) + b"\x00\xff\x55\xaa\x7e\x01\x80"


def receive(levels, divisor):
    """Feed one line level per cycle to a receiver; return (byte, error) of what it gives."""
    unit = UartReceiver(UartConfig(clock_hz=1_000_000, baud=1_000_000 // divisor))
    found = []

    async def feed(ctx):
        for level in levels:
            ctx.set(unit.rx, level)
            await ctx.tick()
            if ctx.get(unit.o.valid):
                found.append((ctx.get(unit.o.payload.data), ctx.get(unit.o.payload.error)))

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.run()
    return found


def wave(data, bit, idle=0.0, stop=1):
    """Return line levels for bytes whose bits last ``bit`` cycles, which need not be whole."""
    bits = [1, 1]
    for byte in data:
        bits += [0, *(byte >> i & 1 for i in range(8)), stop]
    bits += [1, 1]
    return [bits[int(t / bit)] for t in range(int(len(bits) * bit))]


@pytest.mark.parametrize("divisor", [8, 9, 16, 50])
@pytest.mark.parametrize("drift", [0.97, 1.0, 1.03])
def test_receiver_at_any_divisor_and_drift(divisor, drift):
    expected = [(byte, 0) for byte in BYTES]
    assert receive(wave(BYTES, divisor * drift), divisor) == expected


def test_receiver_votes_spikes_down():
    levels = wave(b"\x5a\xc3", 32)
    for middle in range(32 * 2 + 16, 32 * 21, 32):
        levels[middle] ^= 1
    assert receive(levels, 32) == [(0x5A, 0), (0xC3, 0)]


def test_receiver_ignores_a_spike_on_the_idle_line():
    assert receive([1] * 20 + [0] * 3 + [1] * 40 + wave(b"\x11", 16), 16) == [(0x11, 0)]


def test_receiver_reports_a_missing_stop_bit_and_goes_on():
    broken = wave(b"\xf0", 16, stop=0)
    assert receive(broken + [1] * 16 + wave(b"\x33", 16), 16) == [(0xF0, 1), (0x33, 0)]


def test_receiver_waits_out_a_break():
    levels = [1] * 8 + [0] * 16 * 30 + [1] * 40 + wave(b"\x42", 16)
    assert receive(levels, 16) == [(0x00, 1), (0x42, 0)]


@pytest.mark.parametrize("divisor", [8, 11, 40])
def test_transmitter_is_understood_back_to_back(divisor):
    config = UartConfig(clock_hz=1_000_000, baud=round(1_000_000 / divisor))
    assert config.divisor == divisor
    m = Module()
    m.submodules.transmitter = transmitter = UartTransmitter(config)
    levels = []

    async def feed(ctx):
        for byte in BYTES:
            ctx.set(transmitter.i.payload, byte)
            ctx.set(transmitter.i.valid, 1)
            await ctx.tick().until(transmitter.i.ready)
        ctx.set(transmitter.i.valid, 0)
        await ctx.tick().repeat(12 * divisor)

    async def watch(ctx):
        async for _, _, level in ctx.tick().sample(transmitter.tx):
            levels.append(level)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    assert receive(levels, divisor) == [(byte, 0) for byte in BYTES]
    assert 10 * divisor * len(BYTES) <= len(levels) < 10 * divisor * (len(BYTES) + 2)


@pytest.fixture(scope="module")
def board():
    config = UartEngineConfig(
        engine=EngineConfig(
            datapath=SystolicConfig(rows=4, cols=4, k_max=512),
            drain_lanes=2,
            act_depth=64,
            weight_depth=64,
            acc_depth=16,
            param_depth=16,
        ),
        uart=UartConfig(clock_hz=16_000_000, baud=2_000_000),
    )
    unit = compile_unit(emit(UartEngine(config), "board").rtlil, "board")
    return config, UartLine(unit, config.uart.clock_hz, config.uart.divisor)


def _link(line):
    return Link(line, timeout=0.02, patience=0.5, clock=line.clock)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (5, 7, 9), (20, 13, 6)])
def test_engine_multiplies_over_the_line(board, m, k, n):
    config, line = board
    engine = SerialEngine(config, _link(line))
    rng = np.random.default_rng(m)
    x, w = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
    plan = plan_matmul(config.engine, x, w, pack_tile)
    beats = []
    result = engine.run(plan.program, progress=beats.append)
    assert np.array_equal(plan.assemble(result.lanes, config.engine.drain_lanes), x @ w)
    assert beats[-1] == sum(plan.program.y_beats) == len(result.lanes)
    assert result.last[-1]
    assert result.cycles > 0
    assert engine.errors() == 0
    assert engine.link.retries == 0


def test_engine_reports_errors_over_the_line(board):
    config, line = board
    engine = SerialEngine(config, _link(line))
    engine.link.send(0, (0xEE).to_bytes(4, "little"))
    assert engine.errors() == 1, "unknown opcode"
    assert engine.errors() == 0, "and cleared"


def test_another_engine_is_noticed(board):
    config, line = board
    other = UartEngineConfig(
        engine=EngineConfig(datapath=SystolicConfig(rows=4, cols=4, k_max=512), drain_lanes=1),
        uart=config.uart,
    )
    with pytest.raises(LinkError, match="^the board's streams have "):
        SerialEngine(other, _link(line))
    other = UartEngineConfig(
        engine=EngineConfig(datapath=SystolicConfig(rows=4, cols=4, k_max=512), drain_lanes=2),
        uart=config.uart,
    )
    with pytest.raises(LinkError, match="^the board's engine has buffers 0x00400040, the conf"):
        SerialEngine(other, _link(line))
