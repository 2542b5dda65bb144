"""Judge of the storage of keys and values: rows come back as golden stored them, and in time."""

from collections.abc import Sequence

import numpy as np

from ...hw.kv.rows import KvStorage
from ...hw.kv.storage_config import StorageConfig
from ..golden.kv_storage import GoldenStorage
from ..simulate.compiled import CompiledUnit, Traffic
from .streams import StreamWords

__all__ = ["StorageJudge"]

_GIVEN = ("write_rows", "elements", "read_rows")
"""Streams of a round, in its order."""


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

    def __init__(self, config: StorageConfig, rounds: int = 40, seed: int = 1):
        self._config, self._streams = config, StreamWords(KvStorage(config))
        rng, golden = np.random.default_rng(seed), GoldenStorage(config)
        self._rounds = []
        written: list[int] = []
        for number in range(rounds):
            # The last round only reads, the first only writes.
            reads = rng.permutation(written).tolist()
            words = [word for row in reads for word in golden.read(row)]
            free = [row for row in range(config.rows) if row not in written]
            count = 0 if number == rounds - 1 else max(1, config.rows // 2 - 1)
            rows = rng.permutation(free)[:count].tolist()
            sizes = 2.0 ** rng.uniform(0, 17, (len(rows), config.head_size // config.elements))
            sizes = np.repeat(sizes, config.elements, 1)
            elements = rng.normal(0, sizes)
            elements = np.clip(np.rint(elements), -32768, 32767).astype(np.int64)
            for row, values in zip(rows, elements, strict=True):
                golden.write(row, values)
            self._rounds.append((rows, elements.ravel().tolist(), reads, words))
            written = rows

    def __call__(self, unit: CompiledUnit) -> bool:
        """Return whether a storage, fresh from reset, does all that it should."""
        for gap, stall in ((0, 0), (0.3, 0.5), (0, 0.95), (0.9, 0)):
            if not self._plays(unit, self._rounds, gap, stall):
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
        """Return whether rows come as often as they should where only writes or reads are made."""
        config, (rows, _, reads) = self._config, given
        if not reads:
            periods = np.diff(unit.seen("s_axis_write_rows").cycles)
            return bool((periods == config.write_cycles).all())
        if not rows:
            return bool((np.diff(codes[:: config.code_words]) == config.read_cycles).all())
        return True
