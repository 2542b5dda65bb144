"""Judge of requantisers: corner cases and random ones, exact results, exact cycles."""

import random
from typing import Any

import numpy as np
from amaranth.hdl import Fragment, Shape

from ...hw.bus.axi_stream import AxiStreamTop
from ...hw.engine.requantise import Requantise
from ...hw.engine.requantise_config import RequantiseConfig
from ...sw.runtime.beats import words_of
from ...sw.runtime.compiled import CompiledUnit, Traffic
from ..testbench.requantise_cases import corner_cases, expected, random_cases
from ..testbench.stream import Codec

__all__ = ["RequantiseJudge"]


class RequantiseJudge:
    """Runs the same cases on every requantiser: never pausing, then with pauses on both sides.

    Where nothing pauses, results leave one a cycle, ``latency + 1`` cycles after their beats.

    Parameters
    ----------
    config : RequantiseConfig
        What the units are made from.
    cases : int
        Random cases, beside the corner cases.
    seed : int
        Of everything.

    Attributes
    ----------
    allowed : str
        In Verilog, that the clamps are in order and in the range of a result.
    """

    def __init__(self, config: RequantiseConfig, cases: int = 8000, seed: int = 1):
        rng = random.Random(seed)
        self._config = config
        top = AxiStreamTop(Requantise(config))
        Fragment.get(top, None)
        given, taken = top.axi_streams
        chosen = corner_cases(config) + random_cases(config, cases, rng)
        rng.shuffle(chosen)
        beats = [Codec(given).encode(case._asdict())["data"] for case in chosen]
        results = [Codec(taken).encode(value)["data"] for value in expected(config, chosen)]
        fields: Any = given.payload
        lo, hi = (
            f"$signed(s_axis_i_tdata[{field.offset + field.width - 1}:{field.offset}])"
            for field in (fields[name] for name in ("lo", "hi"))
        )
        low, high = config.out_range
        self.allowed = f"{lo} <= {hi} && {lo} >= {low} && {hi} <= {high}"
        self._beats = words_of(beats, Shape.cast(given.payload).width)
        self._results = words_of(results, Shape.cast(taken.payload).width)

    def __call__(self, unit: CompiledUnit) -> bool:
        """Return whether a requantiser, fresh from reset, does all that it should."""
        pauses = ((0, 0), (0.5, 0), (0.1, 0.5), (0.3, 0.9))
        if not all(self._right(unit, number, *both) for number, both in enumerate(pauses)):
            return False
        # A reset while the pipeline is full and nobody takes: then everything is as at first.
        unit.pause("m_axis_o", Traffic(0.999, 7))
        unit.offer("s_axis_i", {"data": self._beats})
        unit.step(60)
        unit.reset()
        return self._right(unit, 0, 0, 0)

    def _right(self, unit: CompiledUnit, number: int, gap: float, stall: float) -> bool:
        unit.forget()
        count = len(self._beats) if number == 0 else 700
        unit.pause("s_axis_i", Traffic(gap, number + 1))
        unit.pause("m_axis_o", Traffic(stall, number + 9))
        unit.offer("s_axis_i", {"data": self._beats[:count]})
        unit.run("m_axis_o", count, quiet=200)
        unit.pause("m_axis_o", Traffic())
        unit.step(40)
        seen = unit.seen("m_axis_o")
        if not np.array_equal(seen.beats["data"], self._results[:count]):
            return False
        if gap or stall:
            return True
        first = int(unit.seen("s_axis_i").cycles[0]) + self._config.latency + 1
        return bool((seen.cycles == np.arange(first, first + count)).all())
