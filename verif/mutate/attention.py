"""Judge of attention units: rows of all kinds, exact factors and weights, exact cycles."""

import numpy as np

from ...hw.attention.config import ROWS, AttentionConfig
from ...hw.attention.unit import Attention
from ...sw.runtime.compiled import CompiledUnit, Traffic
from ..testbench.attention_cases import KINDS, extreme_row, random_row
from .streams import StreamWords

__all__ = ["AttentionJudge"]


class AttentionJudge:
    """Sends the same rows to every unit: never pausing, then with pauses on all sides.

    Where nothing pauses, rows are taken and results appear on the cycles that the schedule says.

    Parameters
    ----------
    config : AttentionConfig
        What the units are made from.
    rows : int
        Random rows, beside those of extremes.
    seed : int
        Of everything.
    """

    def __init__(self, config: AttentionConfig, rows: int = 2500, seed: int = 1):
        rng = np.random.default_rng(seed)
        self._config = config
        streams = StreamWords(Attention(config))
        # Short rows at first: all places fill before the first row's reciprocal is there.
        sizes = [1] * (2 * ROWS) + [config.slots] * (ROWS + 2)
        sizes += [int(rng.integers(1, config.slots + 1)) for _ in range(rows)]
        made = [extreme_row(config, number, 1 + number % 2) for number in range(16)]
        made += [extreme_row(config, number, config.slots) for number in range(16)]
        for number, slots in enumerate(sizes):
            made.append(random_row(config, rng, KINDS[number % len(KINDS)], slots))
        self._lengths = [len(row.scores) for row in made]
        self._columns = {
            name: streams.encode(name, [beat for row in made for beat in beats(row)])
            for name, beats in (
                ("s_axis_scores", lambda row: row.scores),
                ("s_axis_scales", lambda row: row.scales),
                ("m_axis_o", lambda row: row.factors),
            )
        }  # fmt: skip

    def __call__(self, unit: CompiledUnit) -> bool:
        """Return whether a unit, fresh from reset, does all that it should."""
        if not self._right(unit, len(self._lengths), 0, 0, 0):
            return False
        patterns = ((0.5, 0, 0), (0, 0.6, 0.1), (0.1, 0.1, 0.7), (0, 0, 0.95))
        for number, pauses in enumerate(patterns):
            if not self._right(unit, 40, *pauses, seed=10 * number + 1):
                return False
        # Resets, at last while all places are full and nobody takes: all is then as at first.
        full = self._config.latency + (ROWS + 2) * max(self._lengths)
        for number, cycles in enumerate((*range(3, full, 5), full)):
            unit.forget()
            unit.pause("m_axis_o", Traffic(1.0 if cycles == full else 0.5 * (number % 2), 7))
            self._offer(unit, sum(self._lengths))
            unit.step(cycles)
            if cycles == full and not unit.peek("m_axis_o_tvalid"):
                return False  # a beat is offered to whoever does not ask for it
            unit.reset()
            if not self._right(unit, 12, 0, 0, 0):
                return False
        return True

    def _offer(self, unit: CompiledUnit, beats: int) -> None:
        for name in ("s_axis_scores", "s_axis_scales"):
            unit.offer(name, {s: words[:beats] for s, words in self._columns[name].items()})

    def _right(
        self,
        unit: CompiledUnit,
        rows: int,
        scores: float,
        scales: float,
        stall: float,
        seed: int = 1,
    ) -> bool:
        unit.forget()
        beats = sum(self._lengths[:rows])
        for place, (name, pause) in enumerate(
            (("s_axis_scores", scores), ("s_axis_scales", scales), ("m_axis_o", stall))
        ):
            unit.pause(name, Traffic(pause, seed + place))
        self._offer(unit, beats)
        unit.run("m_axis_o", beats, quiet=500)
        unit.pause("m_axis_o", Traffic())
        unit.step(2 * self._config.latency)
        seen = unit.seen("m_axis_o")
        for suffix, words in self._columns["m_axis_o"].items():
            if not np.array_equal(seen.beats[suffix], words[:beats]):
                return False
        if scores or scales or stall:
            return True
        taken = unit.seen("s_axis_scores").cycles
        schedule, starts = self._config.schedule(), np.cumsum([0, *self._lengths[:rows]])[:-1]
        for length, start in zip(self._lengths[:rows], starts, strict=True):
            first = schedule.row(0, length // self._config.groups)
            moved = int(taken[start]) - int(taken[0]), int(seen.cycles[start]) - int(taken[0])
            if moved != first:
                return False
        return True
