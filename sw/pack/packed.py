"""Weight tiles of the column-combining arrays, and packed columns as operands."""

import numpy as np
from numpy.typing import NDArray

from ...hw.config import ConfigError
from ...hw.packed.config import PackedConfig
from ..sparse.columns import PackedColumns
from .operand import Operand
from .select import pack_tile, plain_operand, prepare, unpack_tile

__all__ = ["PACKED", "operand", "pack_tile", "prepare", "settings", "unpack_tile"]

PACKED = PackedColumns
"""What products take as w besides plain matrices."""


def settings(config: PackedConfig, w: PackedColumns) -> dict[str, int]:
    """Return the mode's settings for packed columns: the fewest channels that hold theirs."""
    alpha = w.sources.shape[1]
    if alpha > config.alpha:
        raise ConfigError(f"alpha must be at least the {alpha} channels of w, not {config.alpha}")
    channels = min(span for span in config.spans if span >= alpha)
    return {"channels": channels} if config.mode_bits else {}


def operand(
    config: PackedConfig, w: NDArray[np.int64] | PackedColumns, mode: int = 0
) -> Operand:
    """Return weights as an operand; plain ones [K, N] must fit the mode without loss.

    The columns of a group stand side by side, filled up with none where there are fewer than
    the mode has channels.
    """
    if not isinstance(w, PackedColumns):
        return plain_operand(config, w, mode)
    groups, outputs = w.values.shape
    lanes = np.full((max(1, groups), config.span(mode)), -1, np.int64)
    lanes[:groups, : w.sources.shape[1]] = w.sources
    weights = np.zeros((*lanes.shape, outputs), w.values.dtype)
    np.put_along_axis(weights[:groups], w.selects[:, None], w.values[:, None], axis=1)
    return Operand(
        weights=weights.reshape(-1, outputs),
        lanes=lanes.reshape(-1),
        channels=w.columns,
        useful=int(np.count_nonzero(w.values)),
    )
