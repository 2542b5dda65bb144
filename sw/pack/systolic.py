"""Weight tiles of the systolic arrays."""

import numpy as np
from numpy.typing import NDArray

from ...hw.systolic.config import SystolicConfig
from .operand import checked_tile

__all__ = ["pack_tile", "unpack_tile"]


def pack_tile(config: SystolicConfig, tile: NDArray[np.int64]) -> list[int]:
    """Return the beats of a weight tile.

    Parameters
    ----------
    config : SystolicConfig
        The array.
    tile : ndarray
        (rows, cols), rows along K, values in the range of the weights.

    Returns
    -------
    list of int
        ``rows`` beats of ``cols * w_bits`` bits, column 0 in the least significant bits: the last
        row first where weights stay, the first row first where sums stay.
    """
    tile = checked_tile(config, tile)
    if config.dataflow == "ws":
        tile = tile[::-1]
    bits = tile[:, :, None] >> np.arange(config.w_bits) & 1
    rows = np.packbits(bits.astype(np.uint8).reshape(config.rows, -1), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def unpack_tile(config: SystolicConfig, beats: list[int]) -> NDArray[np.int64]:
    """Return the weight tile (rows, cols) of its beats: the inverse of `pack_tile`."""
    bits, mask = config.w_bits, (1 << config.w_bits) - 1
    tile = np.array([[beat >> bits * c & mask for c in range(config.cols)] for beat in beats])
    if config.w_signed:
        tile -= (tile >> bits - 1) << bits
    return tile[::-1] if config.dataflow == "ws" else tile
