"""Fixed-point units of a decoder's attention, and how large each channel of its keys is."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .decoder import Decoder, Dimensions, FullAttention, Heads

__all__ = ["QUERY_FACTOR", "Scaling", "calibrate"]

Floats = NDArray[np.float32]

QUERY_FACTOR = math.log2(math.e)
"""What queries are multiplied by, beside 1 / sqrt(head_size), so that softmax is in powers of 2."""


@dataclass(frozen=True)
class Scaling:
    """Units of one block: a number is its integer times ``2**-exponent``.

    Attributes
    ----------
    q, k, v, x : int
        Exponents of queries with their factors, of keys, of values and of the block's input.
    channels : array [kv_heads, head_size]
        How large each channel of keys gets: a few are much larger than the others, always the same.
    """

    q: int
    k: int
    v: int
    x: int
    channels: Floats


class _Observer:
    """Full attention that remembers the largest numbers."""

    def __init__(self, dimensions: Dimensions):
        self._attend = FullAttention(dimensions)
        self._factor = QUERY_FACTOR / math.sqrt(dimensions.head_size)
        self.scaling: list[Scaling] = []

    def __call__(self, heads: Heads) -> Floats:
        """Return the weighted sum of values for every token."""
        parts = (heads.q * self._factor, heads.k, heads.v, heads.x)
        most = (float(np.abs(part).max()) for part in parts)
        q, k, v, x = (14 - math.ceil(math.log2(size)) for size in most)
        channels = np.abs(heads.k).max((0, 1))
        self.scaling.append(Scaling(q=q, k=k, v=v, x=x, channels=channels))
        return self._attend(heads)


def calibrate(decoder: Decoder, tokens: NDArray[np.integer]) -> tuple[Scaling, ...]:
    """Return units for every block: numbers as large as in ``tokens`` then need half the range.

    ``tokens`` is [batch, tokens]; the other half is for the turning of pairs and for other texts.
    """
    observer = _Observer(decoder.dimensions)
    decoder.states(tokens, observer)
    return tuple(observer.scaling)
