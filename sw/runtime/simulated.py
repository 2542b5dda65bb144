"""The engine as compiled RTL behind the runtime's interface."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...gen.catalog import find_unit, load
from ...gen.errors import ToolError
from ...gen.verilog import emit
from ...hw.engine.config import EngineConfig
from ..program import Program
from .beats import input_beats, unpack_bits

__all__ = ["RunResult", "SimulatedEngine"]

_TOP = "engine"


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

    Raises
    ------
    ToolError
        There is no C++ compiler or no Yosys.
    """

    def __init__(self, config: EngineConfig):
        self.config = config
        design = emit(load(find_unit("engine").component)(config), _TOP)
        self._unit = load("verif.simulate.compiled:compile_unit")(design.rtlil, _TOP)

    def run(self, program: Program) -> RunResult:
        """Send a program with streams that never starve and take results at once.

        Raises
        ------
        ToolError
            The engine stopped before all results were out.
        """
        unit, config = self._unit, self.config
        unit.forget()
        for name, (words, ends) in input_beats(config, program).items():
            unit.offer(f"s_axis_{name}", {"data": words, "last": ends})
        if not unit.run("m_axis_y", sum(program.y_beats)):
            raise ToolError("the simulated engine stopped before all results were out")
        y = unit.seen("m_axis_y")
        start = int(unit.seen("s_axis_cmd").cycles[0])
        done = y.cycles - start
        return RunResult(
            lanes=unpack_bits(y.beats["data"], config.lane_bits, config.drain_lanes),
            keep=unpack_bits(
                y.beats["keep"], 1, config.drain_lanes, signed=False
            ).astype(bool),
            last=y.beats["last"][:, 0].astype(bool),
            cycles=int(done[-1]) + 1,
            done=done,
        )
