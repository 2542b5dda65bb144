"""Judge of datapaths of any family: random steps, exact sums, exact cycles."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Fragment, Shape
from numpy.typing import NDArray

from ...hw.bus.axi_stream import AxiStreamTop
from ...hw.engine.datapath import ROW_DISTANCE
from ...sw.families.base import family_of
from ...sw.families.operand import Values
from ...sw.runtime.beats import words_of
from ...sw.runtime.compiled import CompiledUnit, Traffic
from ..datapaths import cycles_of, random_mode, sums_inside
from ..testbench.stream import Codec

__all__ = ["DatapathJudge"]

_QUIET = 400
"""Cycles in which nothing may move before a datapath is taken for dead."""
_STREAMS = {"weights": "s_axis_weights", "acts": "s_axis_acts", "psums": "m_axis_psums"}
_PAUSES = ((0, 0), (0.5, 0), (0.8, 0), (0.2, 0.6), (0, 0.3), (0, 0.7))
"""Of weights and of acts, in each run."""


@dataclass(frozen=True)
class _Run:
    """Steps and what must come of them.

    Attributes
    ----------
    beats : dict
        Per stream, by suffix, 64-bit words of all beats.
    taken : dict
        Cycle in which each beat of each stream moves if nothing ever pauses.
    above : ndarray
        For every psum beat, where the one of the same row in the step before is, or -1.
    """

    beats: dict[str, dict[str, NDArray[np.uint64]]]
    taken: dict[str, list[int]]
    above: NDArray[np.int64]


class DatapathJudge:
    """Runs the same random steps on every datapath that it is given: never starved, then pausing.

    Where the streams never pause, every beat must move in the cycle of the configuration's
    timing rule, partial sums included. Partial sums of the same row always
    keep their distance, as the accumulator needs it. Resets come at many moments, and after each
    everything is as at first.

    Parameters
    ----------
    config : DatapathConfig
        What the datapaths are made from.
    steps : int
        In each run.
    seed : int
        Of everything.
    """

    def __init__(self, config: Any, steps: int = 160, seed: int = 1):
        self._config = config
        self._rng = np.random.default_rng(seed)
        self._family = family_of(config)
        top = AxiStreamTop(config.build())
        Fragment.get(top, None)
        self._codecs = dict(zip(_STREAMS, map(Codec, top.axi_streams), strict=True))
        self._widths = {
            name: Shape.cast(port.payload).width
            for name, port in zip(_STREAMS, top.axi_streams, strict=True)
        }
        self._short = self._make(6)
        self._runs = [self._make(steps) for _ in _PAUSES]

    def _values(self, shape: tuple[int, int], legal: Values) -> NDArray[np.int64]:
        if self._rng.random() < 0.3:
            return self._rng.choice([legal.low, legal.high], shape)
        return legal.random(self._rng, shape)

    def _tile(self, w: NDArray[np.int64], mode: int) -> tuple[list[int], NDArray[np.int64]]:
        """Return the beats of a weight tile, and what they mean."""
        return self._family.pack(w, mode), w

    def _make(self, steps: int) -> _Run:
        config, rng, timing = self._config, self._rng, self._config.timing()
        beats: dict[str, list[dict[str, int]]] = {name: [] for name in _STREAMS}
        taken: dict[str, list[int]] = {name: [] for name in _STREAMS}
        above: list[int] = []
        own_sums = sums_inside(config)
        sums, rows, last, mode = np.zeros((0, config.cols), np.int64), 0, True, 0
        for step in range(steps):
            before, first = rows, bool(rng.integers(2))
            if last or not own_sums:
                most = 2 * config.act_lanes + 5
                rows = int(rng.choice((1, 1, 2, 3, rng.integers(1, most))))
                rows, mode = min(rows, config.max_tile_rows or rows), random_mode(self._family, rng)
            if own_sums:
                first = last
            last = bool(rng.integers(2)) or (own_sums and step == steps - 1)
            x_values, w_values = self._family.operands(mode)
            x = self._values((rows, config.act_lanes), x_values)
            w = self._values((config.act_lanes, config.cols), w_values)
            most = (w_values.high - w_values.low).bit_length()
            w >>= int(rng.choice([0, int(rng.integers(most))]))
            w[self._family.tile(mode).k :] = 0
            tile, w = self._tile(w, mode)
            flags: dict[str, int] = {"first": first, "last": last}
            beats["weights"] += map(self._codecs["weights"].encode, tile)
            with_mode = flags | ({"mode": mode} if config.mode_bits else {})
            beats["acts"] += self._beats("acts", x, with_mode)
            product = self._family.golden(x, w, mode)
            sums = product if first or not own_sums else sums + product
            for name, runs in (
                ("weights", timing.load(0, tile)),
                ("acts", timing.step(0, rows, **flags, mode=mode)),
            ):
                taken[name] += cycles_of(runs)
            if own_sums and not last:
                continue
            begin = len(above) - before
            above += [begin + i if i < before and not own_sums else -1 for i in range(rows)]
            beats["psums"] += self._beats("psums", sums, flags | {"first": first or own_sums})
            taken["psums"] += cycles_of(timing.psums)
        columns = {
            name: {
                suffix: words_of([beat[suffix] for beat in found], self._bits(name, suffix))
                for suffix in found[0]
            }
            for name, found in beats.items()
        }
        return _Run(columns, taken, np.array(above))

    def _beats(self, name: str, table: NDArray[np.int64], flags: dict[str, int]) -> list[Any]:
        """Return the beats of a step's rows on a stream that has flags."""
        return [
            self._codecs[name].encode({"data": row, "end": i == len(table) - 1, **flags})
            for i, row in enumerate(table.tolist())
        ]

    def _bits(self, name: str, suffix: str) -> int:
        """Return the width of a signal of a stream."""
        return 1 if suffix == "last" else self._widths[name]

    def __call__(self, unit: CompiledUnit) -> bool:
        """Return whether a datapath, fresh from reset, does all that it should."""
        for number, (run, pauses) in enumerate(zip(self._runs, _PAUSES, strict=True)):
            if not self._right(unit, run, number, pauses):
                return False
        # Resets in the middle of things, each at another moment; then everything is as at first.
        most = max(60, self._runs[3].taken["psums"][0] + 20)
        for cycles in range(20, most, most // 60):
            for name in ("weights", "acts"):
                unit.offer(_STREAMS[name], self._runs[3].beats[name])
            unit.step(cycles)
            unit.reset()
            if not self._right(unit, self._short, 0, (0, 0)):
                return False
        return True

    def _right(
        self, unit: CompiledUnit, run: _Run, number: int, pauses: tuple[float, float]
    ) -> bool:
        unit.forget()
        for i, name in enumerate(("weights", "acts")):
            unit.pause(_STREAMS[name], Traffic(pauses[i], 2 * number + i + 1))
            unit.offer(_STREAMS[name], run.beats[name])
        expected = run.beats["psums"]
        unit.run(_STREAMS["psums"], len(expected["data"]), quiet=_QUIET)
        unit.step(40)
        seen = {name: unit.seen(stream) for name, stream in _STREAMS.items()}
        found = seen["psums"].beats
        if any(not np.array_equal(found[suffix], words) for suffix, words in expected.items()):
            return False
        times, above = seen["psums"].cycles, run.above
        if (times - times[above])[above >= 0].min(initial=ROW_DISTANCE) < ROW_DISTANCE:
            return False
        if any(pauses):
            return True
        origin = int(seen["acts"].cycles[0]) - run.taken["acts"][0]
        return all((seen[n].cycles - origin).tolist() == run.taken[n] for n in run.taken)
