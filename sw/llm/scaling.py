"""Fixed-point units of a decoder's attention, and weights whose keys have even channels."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .decoder import Decoder, Dimensions, FullAttention, Heads

__all__ = ["QUERY_FACTOR", "Scaling", "calibrate", "even_channels"]

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
    """

    q: int
    k: int
    v: int
    x: int


class _Observer:
    """Full attention that remembers the largest numbers and the sizes of channels."""

    def __init__(self, dimensions: Dimensions):
        self._attend = FullAttention(dimensions)
        self._factor = QUERY_FACTOR / math.sqrt(dimensions.head_size)
        self.scaling: list[Scaling] = []
        self.keys: list[Floats] = []
        self.values: list[Floats] = []

    def __call__(self, heads: Heads) -> Floats:
        """Return the mix of values for every token."""
        parts = (heads.q * self._factor, heads.k, heads.v, heads.x)
        most = (float(np.abs(part).max()) for part in parts)
        self.scaling.append(Scaling(*(14 - math.ceil(math.log2(size)) for size in most)))
        self.keys.append(np.abs(heads.k).max((0, 1)))
        self.values.append(np.abs(heads.v).max((0, 1)))
        return self._attend(heads)


def calibrate(decoder: Decoder, tokens: NDArray[np.integer]) -> tuple[Scaling, ...]:
    """Return units for every block: numbers as large as in ``tokens`` then need half the range.

    ``tokens`` is [batch, tokens]; the other half is for the turning of pairs and for other texts.
    """
    observer = _Observer(decoder.dimensions)
    decoder.states(tokens, observer)
    return tuple(observer.scaling)


def even_channels(decoder: Decoder, tokens: NDArray[np.integer]) -> Decoder:
    """Return a decoder that computes the same, its keys' and values' channels equally large.

    A few channels of keys are much larger than the others, always the same ones, and a scale for
    the whole head leaves too few levels to the others. So each channel of keys is divided by how
    large it gets in ``tokens`` and its queries are multiplied by that; both elements of a rotary
    pair by the same, since positions mix them. Values' channels are divided, and the columns of the
    output's weights multiplied.
    """
    observer = _Observer(decoder.dimensions)
    decoder.states(tokens, observer)
    share = decoder.dimensions.heads // decoder.dimensions.kv_heads
    layers = []
    for layer, keys, values in zip(decoder.layers, observer.keys, observer.values, strict=True):
        pairs = keys.reshape(len(keys), -1, 2).max(-1)
        key, value = np.repeat(pairs, 2, -1), values
        query, mixed = np.repeat(key, share, 0).ravel(), np.repeat(value, share, 0).ravel()
        layers.append(
            replace(
                layer,
                key=layer.key / key.ravel()[:, None],
                query=layer.query * query[:, None],
                value=layer.value / value.ravel()[:, None],
                output=layer.output * mixed,
            )
        )
    return replace(decoder, layers=tuple(layers))
