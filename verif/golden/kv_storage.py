"""Rows of keys and values as the cache stores them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hw.attention.config import AttentionConfig
from ...hw.kv.storage_config import StorageConfig
from .attention import Stored, store

__all__ = ["GoldenStorage"]


class GoldenStorage:
    """Stores rows, each quantised when it is written.

    Parameters / Returns: elements are [head_size] in 16 signed bits; words are what a read gives,
    each a dictionary of codes, scale, failed and last. Rows from ``config.rows`` on do not exist:
    what is written there is lost, and reads give words of zeros that failed.
    Exactness: integers throughout, see `store`.
    Independent check: test_kv_storage bounds the error of what is restored, and compares with exact
    fractions.
    Reference: none; symmetric quantisation with the least scale that saturates nothing.

    Parameters
    ----------
    config : StorageConfig
        Of the storage.
    """

    def __init__(self, config: StorageConfig):
        self.config = config
        self._format = AttentionConfig(
            head_size=config.head_size, group=config.elements, kv_bits=config.kv_bits
        )
        self._rows: dict[int, Stored] = {}

    def write(self, row: int, elements: NDArray[np.int64]) -> Stored:
        """Keep a row's elements; return their codes [head_size] and scales [groups]."""
        kept = store(self._format, np.asarray(elements, np.int64))
        if row < self.config.rows:
            self._rows[row] = kept
        return kept

    def read(self, row: int) -> list[dict[str, Any]]:
        """Return the words of a row that was written or does not exist."""
        config, failed = self.config, int(row >= self.config.rows)
        if failed:
            words = [[0] * config.lanes] * config.code_words
            scales = [0 if config.scale_words else config.highest + 1] * config.code_words
        else:
            kept = self._rows[row]
            words = kept.codes.reshape(-1, config.lanes).tolist()
            scales = np.repeat(kept.scales, config.elements // config.lanes).tolist()
        last = len(words) - 1
        return [
            {"codes": codes, "scale": scale, "failed": failed, "last": int(i == last)}
            for i, (codes, scale) in enumerate(zip(words, scales, strict=True))
        ]
