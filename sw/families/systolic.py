"""Systolic arrays: rows of a weight tile, one a beat."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ...hw.packed.select_config import SelectConfig
from ...hw.systolic.config import SystolicConfig
from .base import Family

__all__ = ["Systolic", "pack_rows", "parallel_luts", "unpack_rows"]

Ints = NDArray[np.int64]


def pack_rows(rows: Ints, bits: int) -> list[int]:
    """Return rows of numbers as beats, each number's lower ``bits`` bits, the first one lowest."""
    split = rows[:, :, None] >> np.arange(bits) & 1
    packed = np.packbits(split.astype(np.uint8).reshape(len(rows), -1), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def unpack_rows(beats: Sequence[int], bits: int, count: int, is_signed: bool) -> Ints:
    """Return the ``count`` numbers of each beat: the inverse of `pack_rows`."""
    mask = (1 << bits) - 1
    rows = np.array([[beat >> bits * c & mask for c in range(count)] for beat in beats], np.int64)
    return rows - (rows >> bits - 1 << bits) if is_signed else rows


def parallel_luts(config: SystolicConfig | SelectConfig, sums: float, from_luts: int) -> float:
    """Return the LUT4-equivalents of an array with word-parallel products, so many from LUTs."""
    each = 1.13 if config.fabric == "ecp5" else 2.13
    return 25 + sums + from_luts * each * config.x_bits * config.w_bits


class Systolic(Family):
    """Dense systolic arrays.

    A tile's beats are its ``rows`` rows along K, column 0 in the least significant bits: the last
    row first where weights stay, the first row first where sums stay.
    """

    config: SystolicConfig

    def pack(self, tile: Ints, mode: int = 0) -> list[int]:
        """Return the beats of a weight tile."""
        return pack_rows(self._ordered(self.checked(tile, mode)), self.config.w_bits)

    def unpack(self, beats: Sequence[int], mode: int = 0) -> Ints:
        """Return the weight tile of its beats."""
        config = self.config
        return self._ordered(unpack_rows(beats, config.w_bits, config.cols, config.w_signed))

    def _ordered(self, rows: Ints) -> Ints:
        return rows[::-1] if self.config.dataflow == "ws" else rows

    def lut4_equivalents(self) -> float:
        """Count adders of partial sums, and products that are made from LUTs."""
        config = self.config
        if config.dataflow == "os":
            sums = 2.2 * config.rows * config.cols * config.psum_width
        else:
            sums = (config.rows - 1) * config.cols * config.psum_width
        return parallel_luts(config, sums, list(chain(*config.kinds)).count("L"))
