"""Sums that lie half way between two integers, where the scale is no power of two."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..model.integer_graph import Formats, QuantisedLayer
from .scaling import bracket, tie_ratio

__all__ = ["with_exact_ties"]

_WIDEST = 4096


def with_exact_ties(
    layer: QuantisedLayer, factors: NDArray[np.float64], largest: int, formats: Formats
) -> tuple[QuantisedLayer, ...]:
    """Return layers that compute ``layer`` and round ties as the engine is configured.

    An average of six values is often a tie, but its multiplier is a little more or less than 1/6,
    which would round all ties one way. With a multiplier a little above, ties go away from zero.
    With one a little below and one a little above, a layer computes both neighbours of a tie, and
    their mean, which a second layer takes, is a tie exactly.

    Parameters
    ----------
    layer : QuantisedLayer
        With the nearest multipliers.
    factors : array [n]
        What the multipliers stand for.
    largest : int
        Largest magnitude of a sum or a bias.
    formats : Formats
        Formats of the engine.
    """
    found = {factor: tie_ratio(factor) for factor in np.unique(factors).tolist()}
    ratios = {factor: ratio for factor, ratio in found.items() if ratio is not None}
    if len(ratios) < len(found):
        return (layer,)
    reach = 1 + max(layer.high - layer.zero_point, layer.zero_point - layer.low)
    weight = max(1, int(np.abs(layer.weights).max(initial=1)))
    widest = min(formats.w_high // weight, (1 << formats.acc_width - 1) // (largest + 1), _WIDEST)
    ends = {factor: bracket(ratio, reach, max(1, widest)) for factor, ratio in ratios.items()}
    sides = [np.array([ends[f][side] for f in factors.tolist()]).T for side in (0, 1)]
    if formats.rounding == "half_away":
        return (_scaled(layer, sides[1:]),)
    between = f"{layer.output}:neighbours"
    n = layer.n
    both = replace(
        _scaled(layer, sides), name=f"{layer.name}:neighbours", output=between,
        pool_kernel=(1, 1), pool_stride=(1, 1),
    )  # fmt: skip
    mean = replace(
        layer,
        inputs=(between,),
        input_shape=both.output_shape,
        weights=np.tile(np.eye(n, dtype=np.int64), (2, 1)),
        bias=np.full(n, -2 * layer.zero_point),
        mult=np.full(n, 1 << 15),
        shift=np.full(n, 16),
        kernel=(1, 1),
        stride=(1, 1),
        pads=(0, 0, 0, 0),
        pad_value=layer.zero_point,
    )
    return both, mean


def _scaled(layer: QuantisedLayer, sides: list[NDArray[np.int64]]) -> QuantisedLayer:
    """Return the layer with its channels once for each side: weight, multiplier and shift."""
    weight, mult, shift = np.concatenate(sides, axis=1)
    times = len(sides)
    return replace(
        layer,
        weights=np.tile(layer.weights, times) * weight,
        bias=np.tile(layer.bias, times) * weight,
        mult=mult,
        shift=shift,
        raw_scale=np.tile(layer.raw_scale, times) / weight,
    )
