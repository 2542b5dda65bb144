"""Judge of the storage of keys and values: rows come back as golden stored them, and in time."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from ...hw.kv.rows import KvStorage
from ...hw.kv.storage_config import StorageConfig
from ...sw.runtime.compiled import CompiledUnit, Traffic
from ..golden.kv_storage import GoldenStorage
from ..testbench.kv_storage_cases import KINDS, draw_group
from .streams import StreamWords

__all__ = ["StorageJudge"]

_GIVEN = ("write_rows", "elements", "read_rows")
"""Streams of a round, in its order."""

_ROOM = 4
"""Words of codes that wait to be taken."""


class StorageJudge:
    """Writes rows while others are read, without pauses and with, and resets while it does.

    Parameters
    ----------
    config : StorageConfig
        Of the storage, in block RAM.
    rounds : int
        Each writes rows and reads those of the rounds before.
    seed : int
        Of everything.
    """

    def __init__(self, config: StorageConfig, rounds: int = 60, seed: int = 1):
        self._config, self._streams = config, StreamWords(KvStorage(config))
        rng, golden = np.random.default_rng(seed), GoldenStorage(config)
        self._missing = range(config.rows, 1 << (config.rows - 1).bit_length())
        self._rounds = []
        written: list[int] = []
        for number in range(rounds):
            # The last round only reads, the first only writes.
            reads = rng.permutation(written).tolist()
            words = [word for row in reads for word in golden.read(row)]
            free = [row for row in range(config.rows) if row not in written]
            count = 0 if number == rounds - 1 else max(1, (config.rows - 1) // 2)
            rows = rng.permutation(free)[:count].tolist()
            if count and number and self._missing:
                rows.insert(rng.integers(count), rng.choice(self._missing).item())
            elements = np.array([self._draw(rng) for _ in rows], np.int64)
            for row, values in zip(rows, elements, strict=True):
                golden.write(row, values)
            self._rounds.append((rows, elements.ravel().tolist(), reads, words))
            written = rows

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return a row with a group of any kind after the other."""
        kinds = rng.choice(KINDS, self._config.head_size // self._config.elements)
        return np.concatenate([draw_group(self._config, kind, rng) for kind in kinds])

    def __call__(self, unit: CompiledUnit) -> bool:
        """Return whether a storage, fresh from reset, does all that it should."""
        for gap, stall in product((0, 0.3, 0.6, 0.9), (0, 0.5, 0.8, 0.95)):
            if not self._plays(unit, self._rounds, gap, stall):
                return False
        if not all(self._reports(unit, row) for row in range(self._missing.stop)):
            return False
        if not self._reads_ahead(unit):
            return False
        first, second = self._rounds[:2]
        period = len(second[0]) * self._config.write_cycles
        for number, cycles in enumerate(range(1, period, max(1, period // 40))):
            if not self._plays(unit, [first], 0, 0):
                return False
            self._interrupt(unit, second, cycles, 0.999 * (number % 2))
            if not self._plays(unit, self._rounds[:4], 0, 0):
                return False
        return True

    def _plays(self, unit: CompiledUnit, rounds: list, gap: float, stall: float) -> bool:
        """Return whether rounds go right; reset the storage after them."""
        for *given, words in rounds:
            if not self._right(unit, given, words, gap, stall):
                return False
        unit.reset()
        return True

    def _reports(self, unit: CompiledUnit, row: int) -> bool:
        """Return whether each word of a row that does not exist is reported, and no other is."""
        elements, words = self._rounds[0][1], self._config.scale_words + self._config.code_words
        words = words if row in self._missing else 0
        offers: tuple[tuple[list[int], list[int], list[int]], ...] = (
            ([row], elements[: self._config.head_size], []),
            ([], [], [row]),
        )
        for given in offers:
            self._offer(unit, given, 0, 0)
            reports = 0
            for _ in range(2 * self._config.write_cycles + 40):
                unit.step()
                reports += unit.peek("failed")
            if reports != words:
                return False
        return True

    def _reads_ahead(self, unit: CompiledUnit) -> bool:
        """Return whether it reads what it has room for, and no more, while nobody takes codes."""
        config = self._config
        words = config.scale_words + config.code_words
        rows, rest = divmod(_ROOM, config.code_words)
        held = rows * words + (config.scale_words + rest if rest else 0) + config.outstanding
        self._offer(unit, ([], [], [0] * (held // words + 9)), 0, 1)
        unit.run(quiet=100, most=1 << 12)
        taken = len(unit.seen("s_axis_read_rows").cycles)
        self._offer(unit, ([], [], []), 0, 0)
        unit.reset()
        return taken == held // words + 1

    def _interrupt(self, unit: CompiledUnit, now: tuple, cycles: int, stall: float) -> None:
        """Reset a storage that writes and reads, some cycles after it began."""
        *given, _ = now
        self._offer(unit, given, 0, stall)
        unit.step(cycles)
        self._offer(unit, ([], [], []), 0, 0)
        unit.reset()

    def _offer(self, unit: CompiledUnit, given: Sequence[list], gap: float, stall: float) -> None:
        """Offer the beats of the streams in `_GIVEN`, and forget all that was seen."""
        unit.forget()
        for number, (name, beats) in enumerate(zip(_GIVEN, given, strict=True)):
            unit.pause(f"s_axis_{name}", Traffic(gap, number + 1))
            unit.offer(f"s_axis_{name}", self._streams.encode(f"s_axis_{name}", beats))
        unit.pause("m_axis_codes", Traffic(stall, 9))

    def _right(
        self, unit: CompiledUnit, given: Sequence[list], words: list, gap: float, stall: float
    ) -> bool:
        """Play a round to a storage that is still; return whether all is right."""
        self._offer(unit, given, gap, stall)
        unit.run(quiet=400, most=1 << 20)
        for name, beats in zip(_GIVEN, given, strict=True):
            if len(unit.seen(f"s_axis_{name}").cycles) != len(beats):
                return False
        seen, wanted = unit.seen("m_axis_codes"), self._streams.encode("m_axis_codes", words)
        if len(seen.cycles) != len(words) or unit.peek("failed"):
            return False
        if any((seen.beats[suffix] != column).any() for suffix, column in wanted.items() if words):
            return False
        return bool(gap or stall) or self._in_time(unit, given, seen.cycles)

    def _in_time(self, unit: CompiledUnit, given: Sequence[list], codes: np.ndarray) -> bool:
        """Return whether rows come as often as they should, and reads give way to writes only."""
        config, (rows, _, reads) = self._config, given
        if rows:
            periods = np.diff(unit.seen("s_axis_write_rows").cycles)
            if (periods != config.write_cycles).any():
                return False
        if not reads:
            return True
        starts = np.diff(codes[:: config.code_words])
        late = int((starts - config.read_cycles).sum())
        words = config.scale_words + config.code_words if rows else 0
        return 0 <= late <= words * (1 + int(starts.sum()) // config.write_cycles)
