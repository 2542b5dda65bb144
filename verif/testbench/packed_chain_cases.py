"""What chains of packed arrays are tried on."""

import numpy as np
from numpy.typing import NDArray

from tilewright.hw.packed.chain_config import ChainConfig, ChainLayerConfig
from tilewright.sw.pack.packed_chain import ChainParameters

__all__ = ["random_parameters", "random_pixels"]

Ints = NDArray[np.int64]


def random_parameters(config: ChainConfig, rng: np.random.Generator) -> list[ChainParameters]:
    """Draw parameters with which results spread over their range, beyond it and at its ends."""
    return [_layer(layer, rng) for layer in config.layers]


def random_pixels(config: ChainConfig, images: int, rng: np.random.Generator) -> Ints:
    """Draw the pixels of images: [images * pixels, channels], a part of them at the ends."""
    low, high = config.layers[0].lane.out_range  # activations have one format throughout
    shape = (images * config.pixels, config.inputs)
    x = rng.integers(low, high + 1, shape)
    return np.where(rng.random(shape) < 0.2, rng.choice([low, high], shape), x)


def _layer(layer: ChainLayerConfig, rng: np.random.Generator) -> ChainParameters:
    array, lane = layer.array, layer.lane
    top = 1 << array.w_bits - 1
    shape = (array.act_lanes, array.cols)
    weights = rng.integers(-top, top, shape)
    weights[rng.random(shape) < 0.1] = -top
    weights[rng.random(shape) < 0.4] = 0
    low, high = lane.out_range
    sums = top / 2 * max(-low, high) / 2 * np.sqrt(array.rows)
    power = np.log2(sums / (high - low)) + rng.uniform(0, 2, array.cols)
    mult = rng.integers(1 << 12, 1 << 16, array.cols)
    shift = np.clip(np.rint(np.log2(mult) + power), 0, 63).astype(np.int64)
    end = 1 << lane.acc_width - 1
    bias = np.rint(rng.normal(0, sums / 2, array.cols)).astype(np.int64)
    bias = np.clip(bias, -end, end - 1)
    if rng.random() < 0.3:
        bias[rng.integers(array.cols)] = rng.choice([-end, end - 1])
    zero_point = int(rng.integers(low, high + 1))
    ends = [(low, high), (low, high), (zero_point, high), tuple(sorted(rng.integers(low, high, 2)))]
    lo, hi = map(int, ends[rng.integers(len(ends))])
    return ChainParameters(
        weights=weights, bias=bias, mult=mult, shift=shift, zero_point=zero_point, low=lo, high=hi,
        border=int(rng.integers(low, high + 1)),
    )  # fmt: skip
