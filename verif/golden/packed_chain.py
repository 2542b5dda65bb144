"""Golden model of chains of column-combining arrays."""

from collections.abc import Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from ...hw.packed.chain_config import ChainConfig
from ...sw.families.packed_chain import ChainParameters
from .requantise import requantise
from .systolic import exact_product

__all__ = ["packed_chain"]

Ints = NDArray[np.int64]

_DOWN = (0, -1, 1, 0, 0, -1, -1, 1, 1)
_RIGHT = (0, 0, 0, -1, 1, -1, 1, -1, 1)
"""Where a shift code moves the picture of its channel."""


def packed_chain(config: ChainConfig, layers: Sequence[ChainParameters], pixels: Ints) -> Ints:
    """Chain of column-combining arrays: every layer of a network of 1 x 1 or shift convolutions.

    Parameters and result: ``layers`` one for each of the chain; ``pixels`` (n, channels) of whole
    images, row by row; returns (n, outputs).
    Exactness: bit-exact with `PackedChain`; int64 throughout.
    Order: results in the order of the pixels; of a packed column and output the weight of largest
    magnitude counts, of equal ones that of the first channel.
    Independent check: test_packed_chain compares with naive loops.
    Reference: Kung, McDanel, Zhang, ASPLOS 2019, column combining, shift convolutions and
    cross-layer pipelining; Jacob et al., CVPR 2018, for what is between layers.
    """
    x = np.asarray(pixels, np.int64)
    x = x.reshape(-1, config.height, config.width, x.shape[1])
    for sizes, codes, layer in zip(config.sizes, config.codes or repeat(()), layers, strict=False):
        if codes:
            x = _moved(x, codes, layer.border)
        sums = exact_product(x.reshape(-1, x.shape[3]), _kept(layer.weights, sizes))
        y = requantise(
            sums, layer.bias, layer.mult, layer.shift, layer.zero_point, layer.low, layer.high,
            config.rounding,
        )  # fmt: skip
        x = y.reshape(*x.shape[:3], -1)
    return x.reshape(-1, x.shape[3])


def _kept(weights: Ints, sizes: Sequence[int]) -> Ints:
    """Return the weights with the largest of each packed column and output, all others zero."""
    kept = np.zeros_like(weights)
    outputs = np.arange(weights.shape[1])
    first = 0
    for size in sizes:
        best = first + np.abs(weights[first : first + size]).argmax(axis=0)
        kept[best, outputs] = weights[best, outputs]
        first += size
    return kept


def _moved(x: Ints, codes: Sequence[int], border: int) -> Ints:
    """Return images [n, rows, columns, channels] with each channel moved as its code says."""
    height, width = x.shape[1:3]
    room = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=border)
    moved = np.empty_like(x)
    for channel, code in enumerate(codes):
        top, left = 1 - _DOWN[code], 1 - _RIGHT[code]
        moved[..., channel] = room[:, top : top + height, left : left + width, channel]
    return moved
