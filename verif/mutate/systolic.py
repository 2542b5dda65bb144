"""Judge of systolic arrays: random steps, exact sums, exact cycles."""

from typing import Any

import numpy as np
from amaranth.hdl import Fragment, Shape

from ...hw.bus.axi_stream import AxiStreamTop
from ...hw.engine.datapath import ROW_DISTANCE
from ...hw.systolic.array import SystolicArray
from ...hw.systolic.config import SystolicConfig
from ...sw.pack.systolic import pack_tile
from ...sw.runtime.beats import words_of
from ..golden.systolic import systolic
from ..simulate.compiled import CompiledUnit, Traffic
from ..testbench.stream import Codec

__all__ = ["SystolicJudge"]

_QUIET = 200
"""Cycles in which nothing may move before an array is taken for dead."""
_STREAMS = {"weights": "s_axis_weights", "acts": "s_axis_acts", "psums": "m_axis_psums"}


class SystolicJudge:
    """Runs the same random steps on every array that it is given: never starved, then with pauses.

    Where the streams never pause, every beat must move in the cycle of the configuration's
    timing rule; and always sums of the same row keep their distance, as the accumulator needs it.

    Parameters
    ----------
    config : SystolicConfig
        What the arrays are made from; weight-stationary.
    steps : int
        In each run.
    seed : int
        Of everything.
    """

    def __init__(self, config: SystolicConfig, steps: int = 80, seed: int = 1):
        self._config = config
        self._rng = np.random.default_rng(seed)
        top = AxiStreamTop(SystolicArray(config))
        Fragment.get(top, None)
        self._codecs = dict(zip(_STREAMS, map(Codec, top.axi_streams), strict=True))
        self._widths = {
            name: Shape.cast(port.payload).width
            for name, port in zip(_STREAMS, top.axi_streams, strict=True)
        }
        traffic = ((0, 0), (0.5, 0), (0.8, 0), (0.2, 0.6))
        self._runs = [(pauses, *self._make(steps)) for pauses in traffic]

    def _values(self, shape, bits, is_signed):
        low, high = (-(1 << bits - 1), 1 << bits - 1) if is_signed else (0, 1 << bits)
        if self._rng.random() < 0.3:
            return self._rng.choice([low, high - 1], shape)
        return self._rng.integers(low, high, shape)

    def _make(self, steps: int) -> tuple[Any, ...]:
        """Return beats, cycles without pauses, and where the same row's psum was before, or -1."""
        config, timing = self._config, self._config.timing()
        beats: dict[str, list[dict[str, int]]] = {name: [] for name in _STREAMS}
        cycles: dict[str, list[int]] = {name: [] for name in _STREAMS}
        earlier: list[int] = []
        previous = 0
        for _ in range(steps):
            rows = int(self._rng.choice((1, 1, 2, 3, self._rng.integers(1, 2 * config.rows + 5))))
            first, last = (bool(v) for v in self._rng.integers(0, 2, 2))
            begin = len(earlier) - previous
            earlier += [begin + i if i < previous else -1 for i in range(rows)]
            previous = rows
            x = self._values((rows, config.rows), config.x_bits, config.x_signed)
            w = self._values((config.rows, config.cols), config.w_bits, config.w_signed)
            beats["weights"] += map(self._codecs["weights"].encode, pack_tile(config, w))
            for name, table in (("acts", x), ("psums", systolic(config, x, w))):
                for i, row in enumerate(table.tolist()):
                    beat = {"data": row, "first": first, "last": last, "end": i == rows - 1}
                    beats[name].append(self._codecs[name].encode(beat))
            for name, runs in (
                ("weights", timing.load(0, ())),
                ("acts", timing.step(0, rows, first=first, last=last)),
            ):  # fmt: skip
                cycles[name] += [c + i for c, count in runs for i in range(count)]
            cycles["psums"] += range(timing.last_psum - rows + 1, timing.last_psum + 1)
        columns = {
            name: {
                suffix: words_of([beat[suffix] for beat in found], self._bits(name, suffix))
                for suffix in found[0]
            }
            for name, found in beats.items()
        }
        return columns, cycles, np.array(earlier)

    def _bits(self, name: str, suffix: str) -> int:
        """Return the width of a signal of a stream."""
        return 1 if suffix == "last" else self._widths[name]

    def __call__(self, unit: CompiledUnit) -> bool:
        """Return whether an array, fresh from reset, does all that it should."""
        for number, run in enumerate(self._runs):
            if not self._right(unit, number, *run):
                return False
        # Resets in the middle of things, each at another moment; then everything is as at first.
        for cycles in range(20, 40):
            for name in ("weights", "acts"):
                unit.offer(_STREAMS[name], self._runs[3][1][name])
            unit.step(cycles)
            unit.reset()
            unit.forget()
        return self._right(unit, 0, *self._runs[0])

    def _right(self, unit, number, pauses, beats, cycles, earlier) -> bool:
        unit.forget()
        for i, name in enumerate(("weights", "acts")):
            unit.pause(_STREAMS[name], Traffic(pauses[i], 2 * number + i + 1))
            unit.offer(_STREAMS[name], beats[name])
        expected = beats["psums"]
        unit.run(_STREAMS["psums"], len(expected["data"]), quiet=_QUIET)
        unit.step(40)
        seen = {name: unit.seen(stream) for name, stream in _STREAMS.items()}
        found = seen["psums"].beats
        if any(not np.array_equal(found[suffix], words) for suffix, words in expected.items()):
            return False
        times = seen["psums"].cycles
        if (times - times[earlier])[earlier >= 0].min() < ROW_DISTANCE:
            return False
        if any(pauses):
            return True
        origin = int(seen["acts"].cycles[0])
        return all((seen[n].cycles - origin).tolist() == cycles[n] for n in _STREAMS)
