"""Serial arrays: weight tiles as bit planes, columns or rows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...hw.serial.config import SerialConfig
from .base import Family
from .systolic import pack_rows, unpack_rows

__all__ = ["Serial", "bit_mac_luts"]

Ints = NDArray[np.int64]

_PORTABLE = 1.35
"""How much larger arrays are that are not made from the part's own cells."""


def bit_mac_luts(config: SerialConfig) -> float:
    """Return the LUT4-equivalents of an array of bit-serial cells."""
    return 1.7 * config.rows * config.cols * config.vectors * config.psum_width


class Serial(Family):
    """Serial arrays.

    A tile's beats, the first element in the least significant bits, are bit plane by bit plane of
    each column (``"planes"``), column by column (``"digits"``, ``"tables"``), or row by row
    (``"bit_mac"``).
    """

    config: SerialConfig

    def pack(self, tile: Ints, mode: int = 0) -> list[int]:
        """Return the beats of a weight tile; the mode may ask for fewer bits."""
        tile, config = self.checked(tile, mode), self.config
        if config.pe == "bit_mac":
            return pack_rows(tile, config.w_bits)
        if config.pe == "planes":
            planes = tile.T[:, None] >> np.arange(config.w_bits)[:, None] & 1
            return pack_rows(planes.reshape(-1, config.rows), 1)
        return pack_rows(tile.T, config.w_bits)

    def unpack(self, beats: Sequence[int], mode: int = 0) -> Ints:
        """Return the weight tile of its beats."""
        config = self.config
        bits, is_signed = config.w_bits, config.w_signed
        if config.pe == "bit_mac":
            return unpack_rows(beats, bits, config.cols, is_signed)
        if config.pe != "planes":
            return unpack_rows(beats, bits, config.rows, is_signed).T
        planes = unpack_rows(beats, 1, config.rows, False).reshape(config.cols, bits, config.rows)
        tile = (planes << np.arange(bits)[:, None]).sum(axis=1).T
        return tile - (tile >> bits - 1 << bits) if is_signed else tile

    def lut4_equivalents(self) -> float:
        """Count lanes and sums, both for each vector in flight."""
        config = self.config
        if config.pe == "bit_mac":
            return bit_mac_luts(config)
        lanes = config.rows * config.cols * config.vectors
        sums = config.cols * config.vectors * config.psum_width
        array = {
            "planes": 230 + 5 * lanes + 1.8 * sums,
            "digits": 260 + 3 * lanes * config.x_bits + 0.4 * sums,
            "tables": 250
            + 0.73 * lanes * (config.w_bits + 2)
            + sums
            + 6 * config.rows * config.vectors,
        }[config.pe]
        return array if config.fabric == "ecp5" else _PORTABLE * array
