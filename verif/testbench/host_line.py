"""A host adapter in Amaranth's simulator, driven byte by byte from plain Python."""

import random
from collections import deque
from collections.abc import Callable

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from tilewright.hw.bus.axi_lite import RegisterBank
from tilewright.hw.bus.host import HostCore
from tilewright.hw.bus.host_config import HostConfig
from tilewright.hw.bus.registers import Register, RegisterBankConfig

__all__ = ["REGISTERS", "SimulatedLine", "damage"]

REGISTERS = RegisterBankConfig(
    registers=(
        Register(name="scratch", address=0x00, access="rw", reset=0x600DCAFE),
        Register(name="flags", address=0x04, access="w1c"),
        Register(name="ident", address=0x10, access="ro"),
    ),
    address_bits=8,
)
PERIOD = 1e-6
SPACING = 4
"""Cycles from one byte to the next, fewer than any UART needs."""


class SimulatedLine:
    """A `Transport` whose far end is a `HostCore` with a register bank and recorded streams.

    Attributes
    ----------
    taken : dict
        For each stream, its beats as (data, last).
    results : deque
        Beats to give to the adapter, as (numbers, keep, last); a reset drops them.
    resets : int
        How often the engine was reset.
    stalled : bool
        The engine takes nothing.
    """

    def __init__(self, config: HostConfig, fault: Callable[[bytes], bytes] = bytes):
        self.core = HostCore(config)
        self.config = config
        self.fault = fault
        self.taken: dict[str, list[tuple[int, int]]] = {name: [] for name, _ in config.streams}
        self.results: deque[tuple[list[int], int, int]] = deque()
        self.resets = 0
        self.stalled = False
        self.cycle = 0
        self._to_board: deque[tuple[int, int]] = deque()
        self._from_board = bytearray()
        m = Module()
        m.submodules.core = self.core
        m.submodules.bank = bank = RegisterBank(REGISTERS)
        wiring.connect(m, self.core.registers, bank.s_axi)
        self._simulator = Simulator(m)
        self._simulator.add_clock(PERIOD)
        self._simulator.add_testbench(self._send, background=True)
        self._simulator.add_testbench(self._watch, background=True)

    async def _send(self, ctx):
        ctx.set(self.core.o.ready, 1)
        while True:
            if self._to_board:
                byte, error = self._to_board.popleft()
                ctx.set(self.core.i.payload, {"data": byte, "error": error})
                ctx.set(self.core.i.valid, 1)
                await ctx.tick()
                ctx.set(self.core.i.valid, 0)
                await ctx.tick().repeat(SPACING - 1)
            else:
                await ctx.tick()

    async def _watch(self, ctx):
        streams = [getattr(self.core, name) for name in self.taken]
        transfers = Cat(port.valid & port.ready for port in (self.core.o, *streams))
        beats = [port.payload for port in streams]
        rng = random.Random("stalls")
        core = self.core
        tick = ctx.tick().sample(
            transfers, core.reset, core.results.ready, core.o.payload, *beats
        )
        gives = False
        async for _, _, done, reset, taken, byte, *values in tick:
            if done & 1:
                self._from_board.append(byte)
            for i, (name, beat) in enumerate(zip(self.taken, values, strict=True)):
                if done >> i + 1 & 1:
                    self.taken[name].append((beat.data, beat.last))
                ctx.set(streams[i].ready, not self.stalled and rng.random() < 0.5)
            if gives and taken:
                self.results.popleft()
            if reset:
                self.resets += 1
                self.results.clear()
            gives = bool(self.results)
            if gives:
                numbers, keep, last = self.results[0]
                beat = {"data": numbers, "keep": keep, "last": last}
                ctx.set(self.core.results.payload, beat)
            ctx.set(self.core.results.valid, gives)

    def run(self, cycles: int) -> None:
        """Let ``cycles`` pass."""
        self.cycle += cycles
        self._simulator.run_until(self.cycle * PERIOD)

    def clock(self) -> float:
        """Return the simulated time in seconds."""
        return self.cycle * PERIOD

    def write(self, line: bytes, error_at: int | None = None) -> None:
        """Send bytes, after the line's faults; one of them may have no stop bit."""
        sent = self.fault(line)
        self._to_board += [(byte, i == error_at) for i, byte in enumerate(sent)]

    def read(self, timeout: float) -> bytes:
        """Let time pass until bytes have come and the line is quiet, or ``timeout`` is over."""
        left = max(round(timeout / PERIOD), 1)
        while left > 0 and not (self._from_board and self._from_board[-1] == 0x7E):
            self.run(min(left, 200))
            left -= 200
        found, self._from_board = bytes(self._from_board), bytearray()
        return self.fault(found)

    def close(self) -> None:
        """Do nothing; the simulation ends with this object."""


def damage(rng: random.Random, rate: float) -> Callable[[bytes], bytes]:
    """Return a fault that changes, loses, doubles or inserts a byte with ``rate`` each byte."""

    def fault(line: bytes) -> bytes:
        out = bytearray()
        for byte in line:
            if rng.random() >= rate:
                out.append(byte)
                continue
            kind = rng.choice("cldi")
            if kind == "c":
                out.append(byte ^ 1 << rng.randrange(8))
            elif kind == "d":
                out += bytes((byte, byte))
            elif kind == "i":
                out += bytes((rng.randrange(256), byte))
        return bytes(out)

    return fault
