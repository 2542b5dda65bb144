"""The engine as compiled RTL behind the runtime's interface."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...gen.errors import ToolError
from ...gen.registry import find_unit, load
from ...hw.engine.config import EngineConfig
from ...hw.engine.registers import engine_registers
from ..lower.program import Program
from .beats import input_beats, unpack_bits
from .compiled import compile_component

__all__ = ["RunResult", "SimulatedEngine"]

_TOP = "engine"
_BUS_CYCLES = 100
"""Cycles that the register bus may take to answer."""
_QUIET_CYCLES = 20_000_000
"""Cycles without a transfer after which the engine counts as stopped; layers may take long."""
_QUIET_RECORD = 100_000
"""Cycles that a recorded program may take."""
_REPORTS = 50
"""Calls of ``progress`` in a run."""


@dataclass(frozen=True)
class RunResult:
    """What came back from a program.

    Attributes
    ----------
    lanes : ndarray
        Result beats (beats, drain_lanes).
    keep : ndarray
        Which of the lanes are real.
    last : ndarray
        Which beats end a packet.
    cycles : int
        From the first command word to the last result beat, both included.
    done : ndarray
        Cycle of each result beat, from the first command word at 0.
    """

    lanes: NDArray[np.int64]
    keep: NDArray[np.bool_]
    last: NDArray[np.bool_]
    cycles: int
    done: NDArray[np.int64]


class SimulatedEngine:
    """One engine, reset once; every `run` starts where the last one left it.

    A run that failed or was interrupted leaves the engine amid its program; the next one then has
    an engine as it is after reset.

    Raises
    ------
    ToolError
        There is no C++ compiler or no Verilator.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        # Primitives equal plain arithmetic bit for bit and cycle for cycle, which compiles faster.
        portable = replace(config, datapath=replace(config.datapath, fabric="portable"))
        self._unit = compile_component(load(find_unit("engine").component), portable, _TOP)
        self._is_amid = False

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note that the engine is amid something where that does not come to its end."""
        try:
            yield
        except BaseException:
            self._is_amid = True
            raise

    @contextmanager
    def _program(self) -> Iterator[None]:
        """Have a program begin on an engine that is not amid another."""
        if self._is_amid:
            self._unit = self._unit.another()
            self._is_amid = False
        with self._noting():
            yield

    def run(
        self, program: Program, *, progress: Callable[[int], None] = lambda beats: None
    ) -> RunResult:
        """Send a program with streams that never starve and take results at once.

        ``progress`` is called now and then with the result beats that are out.

        Raises
        ------
        ToolError
            The engine stopped before all results were out.
        """
        with self._program():
            return self._run(program, progress)

    def _run(self, program: Program, progress: Callable[[int], None]) -> RunResult:
        unit, config = self._unit, self.config
        unit.forget()
        for name, (words, ends) in input_beats(config, program).items():
            unit.offer(f"s_axis_{name}", {"data": words, "last": ends})
        total = sum(program.y_beats)
        step = max(1, total // _REPORTS)
        for count in (*range(step, total, step), total):
            if not unit.run("m_axis_y", count, quiet=_QUIET_CYCLES):
                raise ToolError("the simulated engine stopped before all results were out")
            progress(count)
        y = unit.seen("m_axis_y")
        start = int(unit.seen("s_axis_cmd").cycles[0])
        done = y.cycles - start
        # One bit per byte; a lane's bytes are all real or none.
        keep = unpack_bits(
            y.beats["keep"], 1, config.drain_lanes * config.lane_bits // 8, signed=False
        )
        return RunResult(
            lanes=unpack_bits(y.beats["data"], config.lane_bits, config.drain_lanes),
            keep=keep[:, :: config.lane_bits // 8].astype(bool),
            last=y.beats["last"][:, 0].astype(bool),
            cycles=int(done[-1]) + 1,
            done=done,
        )

    def recorded_ports(self) -> dict[str, int]:
        """Return the ports of the streams, and their bits."""
        return {
            port.name: port.width
            for port in self._unit.ports
            if "axis" in port.name and not port.name.endswith(("tlast", "tkeep"))
        }

    def record(self, program: Program) -> list[dict[str, int]]:
        """Run a short program; return the values of the `recorded_ports` in every cycle.

        Raises
        ------
        ToolError
            The engine stopped before all results were out.
        """
        with self._program():
            return self._record(program)

    def _record(self, program: Program) -> list[dict[str, int]]:
        unit = self._unit
        unit.forget()
        for name, (words, ends) in input_beats(self.config, program).items():
            unit.offer(f"s_axis_{name}", {"data": words, "last": ends})
        outputs = {port.name for port in unit.ports if not port.is_input}
        cycles: list[dict[str, int]] = []
        while len(unit.seen("m_axis_y").cycles) < sum(program.y_beats):
            if len(cycles) > _QUIET_RECORD:
                raise ToolError("the simulated engine stopped before all results were out")
            # Outputs belong to the cycle before the clock edge, inputs are driven up to it.
            values = {name: unit.peek(name) for name in self.recorded_ports() if name in outputs}
            unit.run(most=1)
            cycles.append(
                {
                    name: values[name] if name in outputs else unit.peek(name)
                    for name in self.recorded_ports()
                }
            )
        return cycles

    def errors(self) -> int:
        """Return the error flags, bit i for `ERRORS` i, and clear them."""
        address = engine_registers(self.config).find("errors").address
        flags = self.read_register(address)
        self.write_register(address, flags)
        return flags

    def _transfer(self, ready: str, valid: str, **payload: int) -> None:
        """Drive one AXI4-Lite channel until its transfer has happened."""
        for name, value in payload.items():
            self._unit.poke(f"s_axi_{name}", value)
        self._unit.poke(f"s_axi_{valid}", 1)
        self._wait(ready)
        self._unit.run(most=1)
        self._unit.poke(f"s_axi_{valid}", 0)

    def _wait(self, signal: str) -> None:
        for _ in range(_BUS_CYCLES):
            if self._unit.peek(f"s_axi_{signal}"):
                return
            self._unit.run(most=1)
        raise ToolError("the simulated engine does not answer on its register bus")

    def read_register(self, address: int) -> int:
        """Return the register at byte address ``address``."""
        with self._noting():
            self._transfer("arready", "arvalid", araddr=address)
            self._wait("rvalid")
            value = self._unit.peek("s_axi_rdata")
            self._unit.poke("s_axi_rready", 1)
            self._unit.run(most=1)
            self._unit.poke("s_axi_rready", 0)
            return value

    def write_register(self, address: int, value: int) -> None:
        """Write the register at byte address ``address``."""
        with self._noting():
            self._transfer("awready", "awvalid", awaddr=address)
            self._transfer("wready", "wvalid", wdata=value, wstrb=0b1111)
            self._wait("bvalid")
            self._unit.poke("s_axi_bready", 1)
            self._unit.run(most=1)
            self._unit.poke("s_axi_bready", 0)
