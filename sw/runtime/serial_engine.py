"""The engine on a board behind a serial line, behind the runtime's interface."""

from collections.abc import Callable

import numpy as np

from ...hw.bus.uart_engine_config import STREAMS, UartEngineConfig
from ...hw.engine.commands import COMMANDS
from ...hw.engine.registers import engine_registers, register_values
from ..lower.program import Program
from .beats import input_beats
from .serial import Link, LinkError, SerialPort
from .simulated import RunResult

__all__ = ["SerialEngine"]

_DATA_OF = {COMMANDS["LOAD_X"].opcode: "x", COMMANDS["LOAD_W"].opcode: "w"}
_FILL = COMMANDS["LOAD_X"].field("fill")


class SerialEngine:
    """An engine at the other end of a line; every `run` starts where the last one left it.

    The session begins with a reset, and so does a run after one that failed or was interrupted.

    Parameters
    ----------
    config : UartEngineConfig
        What the board was built from.
    line : str or Link
        Name of the serial port, or a session that is open already.

    Raises
    ------
    LinkError
        The port cannot be opened, the board does not answer, or it holds another engine.
    """

    def __init__(self, config: UartEngineConfig, line: str | Link):
        self.config = config.engine
        self._registers = engine_registers(self.config)
        self._is_amid = False
        if isinstance(line, Link):
            self.link = line
            self._check(config)
            return
        port = SerialPort(line, config.uart.baud)
        try:
            self.link = Link(port)
            self._check(config)
        except BaseException:
            port.close()
            raise

    def _check(self, config: UartEngineConfig) -> None:
        """Compare what the board says with its configuration."""
        host, found = config.host, self.link.description
        sizes = (found.beat_bytes, found.result_lanes, 8 * found.result_bytes)
        if sizes != (host.beat_bytes, host.result_lanes, host.result_bits):
            raise LinkError(
                f"the board's streams have {sizes} bytes and bits per beat, those of "
                f"the configuration {host.beat_bytes}, {host.result_bits}"
            )
        for name, value in register_values(self.config).items():
            read = self.read_register(self._registers.find(name).address)
            if read != value:
                raise LinkError(
                    f"the board's engine has {name} {read:#010x}, the configuration "
                    f"{value:#010x}; was it built from another one?"
                )
        if self.read_register(self._registers.find("status").address):
            raise LinkError("the board's engine is at work, though nothing was sent")

    def close(self) -> None:
        """Close the line."""
        self.link.close()

    def run(
        self, program: Program, *, progress: Callable[[int], None] = lambda beats: None
    ) -> RunResult:
        """Send a program and collect its results.

        ``progress`` is called after each packet of results with the beats that have come. The
        result's ``cycles`` are those in which the engine was busy, most of which it waited for the
        line; which beat was out when is not known, so ``done`` is ``cycles`` for each.

        Raises
        ------
        LinkError
            The board does not answer, the engine stopped before all results were out, or there are
            results that are not this program's.
        """
        if self._is_amid:
            self.link.reset()
        self._is_amid = True
        self.link.check_empty()
        result = self._run(program, progress)
        self.link.check_empty()
        self._is_amid = False
        return result

    def _run(self, program: Program, progress: Callable[[int], None]) -> RunResult:
        counter = self._registers.find("cycles").address
        self.write_register(counter, 0)
        for stream, packet in self._packets(program):
            self.link.send(STREAMS.index(stream), packet)
        size = self.config.lane_bits // 8 * self.config.drain_lanes
        keep_size = -(-self.config.drain_lanes // 8)
        received, last, count = [], [], 0
        for beats in program.y_beats:
            packet = self.link.receive()
            if len(packet) != beats * (size + keep_size):
                raise LinkError(
                    f"the engine gave {len(packet)} bytes of results instead of "
                    f"{beats * (size + keep_size)}"
                )
            received.append(np.frombuffer(packet, np.uint8).reshape(beats, -1))
            last += [False] * (beats - 1) + [True]
            count += beats
            progress(count)
        cycles = self.read_register(counter)
        rows = np.concatenate([np.zeros((0, size + keep_size), np.uint8), *received])
        lanes = np.ascontiguousarray(rows[:, :size]).view(f"<i{self.config.lane_bits // 8}")
        keep = np.unpackbits(
            rows[:, size:], axis=1, bitorder="little", count=self.config.drain_lanes
        )
        return RunResult(
            lanes=lanes.astype(np.int64),
            keep=keep.astype(bool),
            last=np.array(last, bool),
            cycles=cycles,
            done=np.full(count, cycles, np.int64),
        )

    def _packets(self, program: Program):
        """Yield (stream, bytes) in an order in which no packet waits for a later one."""
        cut = {}
        for name, (words, ends) in input_beats(self.config, program).items():
            size = self.link.description.beat_bytes[STREAMS.index(name)]
            octets = np.ascontiguousarray(words).view(np.uint8).reshape(len(words), -1)[:, :size]
            bounds = np.flatnonzero(ends)[:-1] + 1
            cut[name] = [part.tobytes() for part in np.split(octets, bounds)] if len(words) else []
        data = {name: iter(cut[name]) for name in ("x", "w")}
        for command, packet in zip(program.commands, cut["cmd"], strict=True):
            yield "cmd", packet
            stream = _DATA_OF.get(command[0] & 0xFF)
            if stream == "w" or (stream == "x" and not command[0] >> _FILL.lsb & 1):
                yield stream, next(data[stream])

    def errors(self) -> int:
        """Return the error flags, bit i for `ERRORS` i, and clear them."""
        address = self._registers.find("errors").address
        flags = self.read_register(address)
        self.write_register(address, flags)
        return flags

    def read_register(self, address: int) -> int:
        """Return the register at byte address ``address``."""
        return self.link.read(address)

    def write_register(self, address: int, value: int) -> None:
        """Write the register at byte address ``address``."""
        self.link.write(address, value)
