"""Weight tiles of the arrays for N:M structured sparsity, and packed weights as operands."""

import numpy as np
from numpy.typing import NDArray

from ...hw.config import ConfigError
from ...hw.nm.config import NmConfig
from ..sparse.nm import PackedNm, unpack_nm
from .operand import Operand
from .select import pack_tile, plain_operand, prepare, unpack_tile

__all__ = ["PACKED", "operand", "pack_tile", "prepare", "settings", "unpack_tile"]

PACKED = PackedNm
"""What products take as w besides plain matrices."""


def settings(config: NmConfig, w: PackedNm) -> dict[str, int]:
    """Return the mode's settings for packed weights, which must be as sparse as the array is."""
    n = w.values.shape[1]
    if w.m != config.m or n > config.n:
        raise ConfigError(f"n and m must be those of w, {n}:{w.m}, not {config.n}:{config.m}")
    return {"sparse": 1} if config.mode_bits else {}


def operand(config: NmConfig, w: NDArray[np.int64] | PackedNm, mode: int = 0) -> Operand:
    """Return weights as an operand; plain ones [K, N] must fit the mode without loss."""
    return plain_operand(config, unpack_nm(w) if isinstance(w, PackedNm) else w, mode)
