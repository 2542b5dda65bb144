"""Weights as the operand of a product: in what order the array takes their channels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.config import DatapathConfig

__all__ = ["Operand", "check_values", "checked_tile"]

Ints = NDArray[np.int64]


def check_values(name: str, values: Ints, bits: int, is_signed: bool) -> None:
    """Raise `ValueError` unless all values are numbers of that format."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
    if values.size and (values.min() < low or values.max() > high):
        kind = "signed" if is_signed else "unsigned"
        raise ValueError(
            f"{name} must lie in {low}..{high} ({bits} bits, {kind}), "
            f"but holds {values.min()}..{values.max()}"
        )


def checked_tile(config: DatapathConfig, tile: Ints, mode: int = 0) -> Ints:
    """Return a weight tile as int64.

    Raises
    ------
    ValueError
        It has another shape, or weights that ``mode`` has no numbers for.
    """
    tile = np.asarray(tile, np.int64)
    shape = (config.act_lanes, config.cols)
    if tile.shape != shape:
        raise ValueError(f"tile must have shape {shape}, not {tile.shape}")
    full = (config.w_bits, config.w_signed)
    check_values("w", tile, *(config.operand_formats(mode)[1] if config.mode_bits else full))
    return tile


@dataclass(frozen=True, eq=False)
class Operand:
    """Weights and the activations that they meet.

    Attributes
    ----------
    weights : array [L, N]
        What the array multiplies by.
    lanes : array [L] or None
        Which channel of the activations each row is for, -1 for none; None for rising order.
    channels : int
        Channels of the activations, K.
    useful : int
        Products for each row of activations that are not wasted on a zero of packed weights.
    """

    weights: Ints
    lanes: NDArray[np.int64] | None
    channels: int
    useful: int

    def gather(self, x: Ints) -> Ints:
        """Return activations [M, K] as the array takes them, [M, L]."""
        return x if self.lanes is None else np.where(self.lanes < 0, 0, x[:, self.lanes])
