"""Judge of the storage of keys and values: rows come back as golden stored them, and in time."""

import numpy as np

from ...hw.kv.rows import KvStorage
from ...hw.kv.storage_config import StorageConfig
from ..golden.kv_storage import GoldenStorage
from ..simulate.compiled import CompiledUnit, Traffic
from .streams import StreamWords

__all__ = ["StorageJudge"]


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
        for rows, elements, reads, words in rounds:
            given = {"write_rows": rows, "elements": elements, "read_rows": reads}
            if not self._right(unit, given, words, gap, stall):
                return False
        unit.reset()
        return True

    def _interrupt(self, unit: CompiledUnit, now: tuple, cycles: int, stall: float) -> None:
        """Reset a storage that writes and reads, some cycles after it began."""
        rows, elements, reads, _ = now
        unit.forget()
        unit.pause("m_axis_codes", Traffic(stall, 9))
        given = {"write_rows": rows, "elements": elements, "read_rows": reads}
        for name, beats in given.items():
            unit.pause(f"s_axis_{name}", Traffic(0, 1))
            unit.offer(f"s_axis_{name}", self._streams.encode(f"s_axis_{name}", beats))
        unit.step(cycles)
        for name in given:
            unit.offer(f"s_axis_{name}", self._streams.encode(f"s_axis_{name}", []))
        unit.reset()

    def _right(self, unit: CompiledUnit, given: dict, words: list, gap: float, stall: float):
        """Play a round to a storage that is still; return whether all is right."""
        unit.forget()
        for number, (name, beats) in enumerate(given.items()):
            unit.pause(f"s_axis_{name}", Traffic(gap, number + 1))
            unit.offer(f"s_axis_{name}", self._streams.encode(f"s_axis_{name}", beats))
        unit.pause("m_axis_codes", Traffic(stall, 9))
        unit.run(quiet=400, most=1 << 20)
        for name, beats in given.items():
            if len(unit.seen(f"s_axis_{name}").cycles) != len(beats):
                return False
        seen, wanted = unit.seen("m_axis_codes"), self._streams.encode("m_axis_codes", words)
        if len(seen.cycles) != len(words) or unit.peek("failed"):
            return False
        if any((seen.beats[suffix] != column).any() for suffix, column in wanted.items() if words):
            return False
        return bool(gap or stall) or self._in_time(unit, given, seen.cycles)

    def _in_time(self, unit: CompiledUnit, given: dict, codes: np.ndarray) -> bool:
        """Return whether rows come as often as they should where only writes or reads are made."""
        config = self._config
        if not given["read_rows"]:
            periods = np.diff(unit.seen("s_axis_write_rows").cycles)
            return bool((periods == config.write_cycles).all())
        if not given["write_rows"]:
            return bool((np.diff(codes[:: config.code_words]) == config.read_cycles).all())
        return True
