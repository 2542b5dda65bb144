"""A host adapter as a compiled unit, driven byte by byte from plain Python."""

import functools
import random
from collections import deque
from collections.abc import Callable

from amaranth.back import rtlil  # type: ignore[attr-defined]  # no stubs
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...hw.bus.axi_lite import RegisterBank
from ...hw.bus.host import HostCore
from ...hw.bus.host_config import HostConfig
from ...hw.bus.host_streams import feeder_beat, host_result
from ...hw.bus.registers import Register, RegisterBankConfig
from ...hw.bus.uart import received_byte
from ...sw.runtime.beats import words_of
from ...sw.runtime.compiled import CompiledUnit, compile_unit

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


class _Board(wiring.Component):
    """A `HostCore` with a register bank and streams that are ready at half of all cycles.

    After a reset no result is taken until ``goes_on``; ``broken`` tells that a beat that waited was
    taken back or changed without a reset.
    """

    given: Signal
    byte: data.View
    stalled: Signal
    goes_on: Signal
    broken: Signal
    resets: Signal
    o: stream.Interface
    results: stream.Interface

    def __init__(self, config: HostConfig):
        self._config = config
        super().__init__(
            {
                "given": In(1),
                "byte": In(received_byte),
                "stalled": In(1),
                "goes_on": In(1),
                "broken": Out(1),
                "resets": Out(16),
                "o": Out(stream.Signature(8)),
                "results": In(stream.Signature(host_result(config))),
            }
            | {name: Out(stream.Signature(feeder_beat(bits))) for name, bits in config.streams}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = HostCore(self._config)
        m.submodules.bank = bank = RegisterBank(REGISTERS)
        wiring.connect(m, core.registers, bank.s_axi)
        wiring.connect(m, core.o, wiring.flipped(self.o))
        waits = Signal()
        ready = Signal()
        noise = Signal(15, init=1)
        m.d.sync += noise.eq(Cat(noise[-1] ^ noise[-2], noise))
        m.d.comb += ready.eq(noise[0] & ~self.stalled)
        for name, _ in self._config.streams:
            given, taken = getattr(core, name), getattr(self, name)
            before, waited = Signal.like(given.payload), Signal()
            m.d.comb += [
                given.ready.eq(ready),
                taken.valid.eq(given.valid & ready),
                taken.payload.eq(given.payload),
            ]
            m.d.sync += [before.eq(given.payload), waited.eq(given.valid & ~ready & ~core.reset)]
            with m.If(waited & (~given.valid | (given.payload.as_value() != before.as_value()))):
                m.d.sync += self.broken.eq(1)
        m.d.comb += [
            core.i.valid.eq(self.given),
            core.i.payload.eq(self.byte),
            core.results.payload.eq(self.results.payload),
            core.results.valid.eq(self.results.valid & ~waits),
            self.results.ready.eq(core.results.ready & ~waits),
        ]
        with m.If(core.reset):
            m.d.sync += [waits.eq(1), self.resets.eq(self.resets + 1)]
        with m.Elif(self.goes_on):
            m.d.sync += waits.eq(0)
        return m


@functools.cache
def _compiled(config: HostConfig) -> CompiledUnit:
    return compile_unit(rtlil.convert(_Board(config), name="host", emit_src=False), "host")


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
    """

    def __init__(self, config: HostConfig, fault: Callable[[bytes], bytes] = bytes):
        self.config = config
        self.fault = fault
        self.taken: dict[str, list[tuple[int, int]]] = {name: [] for name, _ in config.streams}
        self.results: deque[tuple[list[int], int, int]] = deque()
        self.resets = 0
        self._unit = _compiled(config).another()
        self._offered = 0
        self._to_board: deque[tuple[int, int]] = deque()
        self._from_board = bytearray()

    def stall(self, stalled: bool) -> None:
        """Have the engine take nothing, or go on."""
        self._unit.poke("stalled", stalled)

    def run(self, cycles: int) -> None:
        """Let ``cycles`` pass."""
        end = self._unit.cycle + cycles
        while (left := end - self._unit.cycle) > 0:
            if len(self.results) != self._offered:
                self._offer()
            if self._to_board:
                byte, error = self._to_board.popleft()
                self._unit.poke("byte", byte | error << 8)
                self._unit.poke("given", 1)
                self._unit.step()
                self._unit.poke("given", 0)
                self._unit.step(min(left, SPACING) - 1) if left > 1 else None
            else:
                self._unit.step(min(left, 50))
            self._gather()

    def _offer(self) -> None:
        bits, lanes = self.config.result_bits, self.config.result_lanes
        words = []
        for numbers, keep, last in self.results:
            packed = sum((n & (1 << bits) - 1) << bits * i for i, n in enumerate(numbers))
            words.append(packed | (keep | last << lanes) << bits * lanes)
        self._unit.offer("results", {"payload": words_of(words, (bits + 1) * lanes + 1)})
        self._offered = len(words)

    def _gather(self) -> None:
        """Note what the streams have carried."""
        unit = self._unit
        assert not unit.peek("broken"), "a beat that waits stays as it is"
        self._from_board += bytes(unit.seen("o").beats["payload"][:, 0].tolist())
        for name, bits in self.config.streams:
            for row in unit.seen(name).beats["payload"].tolist():
                beat = sum(word << 64 * i for i, word in enumerate(row))
                self.taken[name].append((beat & (1 << bits) - 1, beat >> bits))
        for _ in unit.seen("results").cycles:
            self.results.popleft()
            self._offered -= 1
        unit.forget()
        if (resets := unit.peek("resets")) != self.resets:
            self.resets = resets
            self.results.clear()
            self._offer()
            unit.poke("goes_on", 1)
            unit.step()
            unit.poke("goes_on", 0)

    def clock(self) -> float:
        """Return the simulated time in seconds."""
        return self._unit.cycle * PERIOD

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
