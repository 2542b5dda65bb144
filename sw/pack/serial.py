"""Weight tiles of the serial arrays."""

import numpy as np
from numpy.typing import NDArray

from ...hw.serial.config import SerialConfig
from .operand import checked_tile

__all__ = ["pack_tile", "unpack_tile"]


def pack_tile(config: SerialConfig, tile: NDArray[np.int64], mode: int = 0) -> list[int]:
    """Return the beats of a weight tile.

    Parameters
    ----------
    config : SerialConfig
        The array.
    tile : ndarray
        (rows, cols), rows along K, values in the range of the weights.
    mode : int
        That of the GEMM, which may ask for fewer bits.

    Returns
    -------
    list of int
        ``weight_beats`` beats, the first element in the least significant bits: bit plane by bit
        plane of each column (``"planes"``), column by column (``"digits"``, ``"tables"``), or row
        by row (``"bit_mac"``).
    """
    tile = checked_tile(config, tile, mode)
    bits = tile[:, :, None] >> np.arange(config.w_bits) & 1
    order = {"planes": (1, 2, 0), "bit_mac": (0, 1, 2)}.get(config.pe, (1, 0, 2))
    beats = bits.astype(np.uint8).transpose(order).reshape(config.weight_beats, -1)
    packed = np.packbits(beats, axis=1, bitorder="little")
    return [int.from_bytes(beat.tobytes(), "little") for beat in packed]


def unpack_tile(config: SerialConfig, beats: list[int]) -> NDArray[np.int64]:
    """Return the weight tile (rows, cols) of its beats: the inverse of `pack_tile`."""
    rows, cols, planes = config.rows, config.cols, config.w_bits
    bits = np.array([[beat >> i & 1 for i in range(config.weight_beat_bits)] for beat in beats])
    if config.pe == "planes":
        bits = bits.reshape(cols, planes, rows).transpose(2, 0, 1)
    elif config.pe != "bit_mac":
        bits = bits.reshape(cols, rows, planes).transpose(1, 0, 2)
    tile = (bits.reshape(rows, cols, planes) << np.arange(planes)).sum(axis=2)
    return tile - (tile >> planes - 1 << planes) if config.w_signed else tile
