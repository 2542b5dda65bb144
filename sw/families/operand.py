"""Operands of a product: which values they may take, and in what order channels are taken."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Operand", "Values"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Values:
    """The integers from ``low`` to ``high``, which an operand may take."""

    low: int
    high: int

    @classmethod
    def of(cls, bits: int, is_signed: bool) -> "Values":
        """Return all numbers of ``bits`` bits."""
        return cls(-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else cls(0, (1 << bits) - 1)

    def check(self, name: str, values: Ints) -> None:
        """Raise `ValueError` unless all of ``values`` are among them."""
        if values.size and (values.min() < self.low or values.max() > self.high):
            raise ValueError(
                f"{name} must lie in {self.low}..{self.high}{self._format()}, "
                f"but holds {values.min()}..{values.max()}"
            )

    def _format(self) -> str:
        """Say whether they are all the numbers of a format."""
        bits, is_signed = (self.high - self.low).bit_length(), self.low < 0
        kind = "signed" if is_signed else "unsigned"
        return f" ({bits} bits, {kind})" if self == Values.of(bits, is_signed) else ""

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Ints:
        """Return some of them, each as likely as any other."""
        return rng.integers(self.low, self.high, shape, endpoint=True)


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
