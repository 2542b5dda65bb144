"""Weights as the operand of a product: in what order the array takes their channels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Operand"]

Ints = NDArray[np.int64]


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
