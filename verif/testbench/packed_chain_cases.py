"""What chains of packed arrays are tried on."""

from functools import cache
from random import Random

import numpy as np
from numpy.typing import NDArray

from ...hw.engine.requantise_config import RequantiseConfig
from ...hw.packed.chain_config import ChainConfig, ChainLayerConfig
from ...sw.families.packed_chain import ChainParameters
from .requantise_cases import Case, corner_cases, random_cases

__all__ = ["random_parameters", "random_pixels"]

Ints = NDArray[np.int64]


def random_parameters(config: ChainConfig, rng: np.random.Generator) -> list[ChainParameters]:
    """Draw parameters: results of all layers spread over their range, or every bit of one shows.

    In the second case the other layers pass some of their channels through as they are.
    """
    shown = int(rng.integers(len(config.layers))) if rng.random() < 0.85 else -1
    kinds = [_spread if shown < 0 else _shown if i == shown else _through
             for i in range(len(config.layers))]  # fmt: skip
    return [kind(layer, rng) for kind, layer in zip(kinds, config.layers, strict=True)]


def random_pixels(config: ChainConfig, images: int, rng: np.random.Generator) -> Ints:
    """Draw the pixels of images: [images * pixels, channels], a part of them at the ends."""
    low, high = config.layers[0].lane.out_range  # activations have one format throughout
    shape = (images * config.pixels, config.inputs)
    x = rng.integers(low, high + 1, shape)
    return np.where(rng.random(shape) < 0.2, rng.choice([low, high], shape), x)


def _spread(layer: ChainLayerConfig, rng: np.random.Generator) -> ChainParameters:
    """Draw a layer with which results spread over their range, beyond it and at its ends."""
    array, lane = layer.array, layer.lane
    weights = _weights(layer, rng)
    low, high = lane.out_range
    sums = (1 << array.w_bits - 2) * max(-low, high) / 2 * np.sqrt(array.rows)
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


def _weights(layer: ChainLayerConfig, rng: np.random.Generator) -> Ints:
    array, top = layer.array, 1 << layer.array.w_bits - 1
    weights = rng.integers(-top, top, (array.act_lanes, array.cols))
    weights[rng.random(weights.shape) < 0.1] = -top
    weights[rng.random(weights.shape) < 0.4] = 0
    return weights


@cache
def _corners(lane: RequantiseConfig) -> list[Case]:
    return corner_cases(lane)


def _shown(layer: ChainLayerConfig, rng: np.random.Generator) -> ChainParameters:
    """Draw a layer whose results single bits decide: of its sums, or of their requantisation."""
    array, lane = layer.array, layer.lane
    draw = Random(int(rng.integers(1 << 62)))
    cases = random_cases(lane, array.cols, draw)
    if draw.random() < 0.5:
        cases = draw.choices(_corners(lane), k=array.cols)
    end, reach = 1 << lane.acc_width - 1, 1 << array.psum_width - 1
    near = rng.integers(-reach, reach, array.cols) >> rng.integers(0, array.psum_width, array.cols)
    bias = np.array([case.acc + case.bias for case in cases])
    weights = _weights(layer, rng)
    if draw.random() < 0.75:
        weights[:], near = 0, 0 * near  # exactly the cases
    mult, shift = (np.array([getattr(case, name) for case in cases]) for name in ("mult", "shift"))
    plain = weights.any() & (rng.random(array.cols) < 0.4)
    low, high = lane.out_range
    whole = rng.random() < 0.5
    case = cases[0]
    return ChainParameters(
        weights=weights,
        bias=np.clip(np.where(plain, near, bias + near), -end, end - 1),
        mult=np.where(plain, 1, mult),
        shift=np.where(plain, rng.integers(0, 3, array.cols), shift),
        zero_point=0 if whole else case.zero_point,
        low=low if whole else case.lo,
        high=high if whole else case.hi,
        border=int(rng.integers(low, high + 1)),
    )


def _through(layer: ChainLayerConfig, rng: np.random.Generator) -> ChainParameters:
    """Draw a layer that emits channels as they are, moved by its shift."""
    array, outputs = layer.array, np.arange(layer.array.cols)
    weights = np.zeros((array.act_lanes, array.cols), np.int64)
    weights[rng.permutation(np.resize(np.arange(array.act_lanes), array.cols)), outputs] = 1
    low, high = layer.lane.out_range
    zeros = np.zeros_like(outputs)
    return ChainParameters(
        weights=weights, bias=zeros, mult=zeros + 1, shift=zeros, zero_point=0, low=low, high=high,
        border=int(rng.integers(low, high + 1)),
    )  # fmt: skip
