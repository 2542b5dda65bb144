"""UART receiver and transmitter, and a whole engine behind one."""

import dataclasses
import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from tilewright.gen.verilog import emit
from tilewright.hw.bus.host_config import PENDING, WAITING, Channel, UartConfig
from tilewright.hw.bus.uart import UartReceiver, UartTransmitter
from tilewright.hw.bus.uart_engine import UartEngine
from tilewright.hw.bus.uart_engine_config import STREAMS, UartEngineConfig
from tilewright.hw.engine import commands
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.lower.matmul import plan_matmul
from tilewright.sw.runtime.compiled import compile_unit
from tilewright.sw.runtime.frames import Frame, encode
from tilewright.sw.runtime.serial import Link, LinkError
from tilewright.sw.runtime.serial_engine import SerialEngine
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


@pytest.mark.parametrize("divisor", [9, 16, 25])
def test_receiver_outvotes_a_spike_anywhere_in_any_bit(divisor):
    """One cycle of each bit is wrong, start and stop bit included; every cycle has its turn."""
    data = random.Random(divisor).randbytes(divisor)
    levels = wave(data, divisor)
    for at in range(divisor):
        start = (2 + 10 * at) * divisor
        for bit in range(10):
            levels[start + bit * divisor + at] ^= 1
    # What is wrong at the edge of the start bit or at the end of the stop bit only moves the edge.
    assert receive(levels, divisor) == [(byte, 0) for byte in data]


def test_receiver_wants_two_low_samples_of_a_start_bit():
    """Of every pair of cycles, those that are two of the three samples end the byte."""
    divisor = 16
    given = set()
    for first in range(1, divisor):
        for second in range(first + 1, divisor):
            levels = [1] * 8 + [0] * divisor + [1] * (11 * divisor)
            levels[8 + first] = levels[8 + second] = 1
            if not receive(levels, divisor):
                given.add((first, second))
    samples = sorted({cycle for pair in given for cycle in pair})
    assert len(samples) == 3
    assert given == {(samples[0], samples[1]), (samples[0], samples[2]), (samples[1], samples[2])}
    assert samples[1] in (divisor // 2 - 1, divisor // 2)


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
        uart=UartConfig(clock_hz=25_000_000, baud=1_000_000),
    )
    assert config.uart.divisor == 25
    unit = compile_unit(emit(UartEngine(config), "board").rtlil, "board")
    return config, UartLine(unit, config.uart.clock_hz, config.uart.divisor)


def _link(line):
    return Link(line, timeout=0.02, patience=0.5, clock=line.clock)


def product(config, shape, seed):
    """Return a random product's plan and its result."""
    rng = np.random.default_rng(seed)
    m, k, n = shape
    x, w = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
    return plan_matmul(config.engine, x, w), x @ w


def multiply(engine, config, shape, seed):
    """Run a random product; return whether it is right."""
    plan, wanted = product(config, shape, seed)
    found = plan.assemble(engine.run(plan.program).lanes, config.engine.drain_lanes)
    return np.array_equal(found, wanted)


@pytest.mark.parametrize(
    ("shape", "drift"), [((1, 1, 1), 0.0), ((5, 7, 9), 0.02), ((20, 13, 6), -0.02)]
)
def test_engine_multiplies_over_the_line(board, monkeypatch, shape, drift):
    """At 25 cycles a bit, with a host whose bits are as long as the board's or 2 % off."""
    config, line = board
    monkeypatch.setattr(line, "drift", drift)
    engine = SerialEngine(config, _link(line))
    plan, wanted = product(config, shape, seed=shape[0])
    beats = []
    result = engine.run(plan.program, progress=beats.append)
    assert np.array_equal(plan.assemble(result.lanes, config.engine.drain_lanes), wanted)
    assert beats[-1] == sum(plan.program.y_beats) == len(result.lanes)
    assert result.last[-1]
    assert result.cycles > 0
    assert engine.errors() == 0
    assert engine.link.retries == 0


SHAPE = (3, 5, 4)


def leave_unread(engine, config):
    """Send a program and read none of its results."""
    plan, _ = product(config, SHAPE, seed=1)
    for stream, packet in engine._packets(plan.program):
        engine.link.send(STREAMS.index(stream), packet)
    for _ in range(100):
        engine.read_register(0)
        if engine.link._flags & WAITING:
            return
    raise AssertionError("no results wait")


def leave_amid_a_packet(engine, config):
    """Send the activations of a program in part."""
    plan, _ = product(config, SHAPE, seed=1)
    for stream, packet in engine._packets(plan.program):
        if stream == "x":
            engine.link._ask(Channel.STREAM + 1, packet[:4], "the first beat of several")
            return
        engine.link.send(STREAMS.index(stream), packet)


def leave_between_commands(engine, config):
    """Send a program but for its last command."""
    plan, _ = product(config, SHAPE, seed=1)
    for stream, packet in list(engine._packets(plan.program))[:-1]:
        engine.link.send(STREAMS.index(stream), packet)


def leave_amid_a_frame(engine, config):
    """Send half of a request, behind a command that is not finished."""
    engine.link._ask(Channel.STREAM, b"\x04\0\0\0", "the first word of a GEMM")
    engine.link._transport.write(encode(Frame(Channel.STREAM, 99, bytes(range(40))))[:20])


def leave_stuck(engine, config):
    """Send activations that nobody asked for, more than the engine's queues take."""
    for _ in range(100):
        engine.link._ask(Channel.STREAM + 1, bytes(100), "activations")
        engine.read_register(0)
        if engine.link._flags & PENDING:
            return
    raise AssertionError("all was taken")


@pytest.mark.parametrize("leave", [
    leave_unread, leave_amid_a_packet, leave_between_commands, leave_amid_a_frame, leave_stuck,
])  # fmt: skip
def test_a_session_after_one_that_died(board, leave):
    """It has results of its own, of the same size and of another."""
    config, line = board
    leave(SerialEngine(config, _link(line)), config)
    engine = SerialEngine(config, _link(line))
    assert multiply(engine, config, SHAPE, seed=2)
    assert engine.errors() == 0
    assert multiply(engine, config, (1, 3, 2), seed=3)


@pytest.mark.parametrize("requests", [1, 4, 6, 8, None])
def test_a_run_that_was_interrupted_has_no_effect_on_the_next(board, monkeypatch, requests):
    """In the middle of that request, or where the results have come."""
    config, line = board
    engine = SerialEngine(config, _link(line))
    plan, _ = product(config, SHAPE, seed=1)
    sent, write = [], line.write

    def interrupted(request):
        sent.append(request)
        write(request[:9] if len(sent) == requests else request)
        if len(sent) == requests:
            raise KeyboardInterrupt

    def progress(beats):
        raise KeyboardInterrupt

    monkeypatch.setattr(line, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.run(plan.program, progress=progress)
    assert requests is None or len(sent) == requests
    monkeypatch.undo()
    assert multiply(engine, config, SHAPE, seed=2)
    assert engine.errors() == 0


def test_results_that_no_program_counts_are_noticed(board):
    """A program that gives more than it says, and a session in which another's are left."""
    config, line = board
    engine = SerialEngine(config, _link(line))
    plan, _ = product(config, SHAPE, seed=1)
    more = dataclasses.replace(plan.program, y_beats=[])
    with pytest.raises(LinkError, match="results of something else"):
        engine.run(more)
    assert multiply(engine, config, SHAPE, seed=2)
    leave_unread(engine, config)
    with pytest.raises(LinkError, match="results of something else"):
        multiply(engine, config, SHAPE, seed=3)
    assert multiply(engine, config, SHAPE, seed=3)
    wrong = dataclasses.replace(plan.program, y_beats=[n + 1 for n in plan.program.y_beats])
    with pytest.raises(LinkError, match="gave [0-9]+ bytes of results instead of"):
        engine.run(wrong)
    assert multiply(engine, config, SHAPE, seed=4)


def test_an_engine_at_work_after_its_reset_is_noticed(board, monkeypatch):
    config, line = board
    link = _link(line)
    words = commands.encode("LOAD_X", base=0, count=4)
    link.send(0, b"".join(word.to_bytes(4, "little") for word in words))
    monkeypatch.setattr(Link, "reset", lambda self: None)
    with pytest.raises(LinkError, match="engine is at work, though nothing was sent"):
        SerialEngine(config, link)


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
