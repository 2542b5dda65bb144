"""Quantised networks that run layer by layer: integers everywhere, products on any engine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..quantise.layers import Formats, QuantisedTensor
from ..quantise.scaling import multiplier
from .network import Add, Convolve, Depthwise, Move, Network, Product, Step, evaluate

__all__ = ["QuantisedNetwork", "Requantise", "quantise", "ranges"]

Integers = NDArray[np.int64]

_ADD_BITS = 12
"""Bits of the factors that bring two summands to one scale."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantise:
    """``clip(round((sum + bias) * mult / 2**shift) + zero_point, low, high)``.

    Steps that an engine does not run divide by ``divisor`` too, so that ties of means are exact.
    Halves go to even, or away from zero with ``rounding="half_away"``.
    """

    bias: Integers
    mult: Integers
    shift: Integers
    zero_point: int
    low: int
    high: int
    divisor: int = 1
    rounding: str = "half_even"

    def __call__(self, sums: Integers) -> Integers:
        """Return the integers that the next steps read.

        Real numbers of double precision are exact here: bias and sum have up to 36 bits.
        """
        scaled = (sums + self.bias) * self.mult * np.ldexp(1.0, -self.shift) / self.divisor
        whole = np.rint(scaled)
        if self.rounding == "half_away":
            towards = np.trunc(scaled)
            ties = np.abs(scaled - towards) == 0.5
            whole = np.where(ties, towards + np.sign(scaled), whole)
        return np.clip(whole + self.zero_point, self.low, self.high).astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantisedNetwork:
    """Steps with integer weights, and how their sums become integers again.

    Attributes
    ----------
    network : Network
        The steps; weights and factors are whole numbers.
    tensors : dict of str to QuantisedTensor
        Scale and zero of every array.
    finish : dict of str to Requantise
        By step, for those that compute sums.
    formats : Formats
        Widths of activations and weights.
    """

    network: Network
    tensors: dict[str, QuantisedTensor] = field(repr=False)
    finish: dict[str, Requantise] = field(repr=False)
    formats: Formats

    def run(
        self, images: NDArray[np.floating], product: Product | None = None
    ) -> dict[str, Integers]:
        """Return the integers of every array for images [n, rows, columns, channels].

        ``product`` gets each convolution's patches, in the format of activations, and weights, in
        that of weights, and must return their exact product; NumPy's is the default.
        """
        product = product or exact_product
        net = self.network
        values = {net.input: self.tensors[net.input].quantise(images)}
        for step in net.steps:
            values[step.output] = self.step(step, [values[name] for name in step.inputs], product)
        return values

    def step(self, step: Step, inputs: list[Integers], product: Product) -> Integers:
        """Return one step's integers from those of its inputs."""
        zeros = [self.tensors[name].zero_point for name in step.inputs]

        def centred(name: str, x: Integers, w: Integers) -> Integers:
            # The engine gets the integers as they are, so that they fit its format.
            return product(name, x + zeros[0], w) - zeros[0] * w.sum(axis=0)

        sums = step.compute([x - zero for x, zero in zip(inputs, zeros, strict=True)], centred)
        if step.name in self.finish:
            return self.finish[step.name](sums)
        out = self.tensors[step.output]
        return np.clip(sums + out.zero_point, out.low, out.high)

    def results(self, values: Mapping[str, Integers]) -> dict[str, NDArray[np.float64]]:
        """Return the real values of the outputs."""
        return {name: self.tensors[name].dequantise(values[name]) for name in self.network.outputs}


def exact_product(_: str, x: Integers, w: Integers) -> Integers:
    """Return the product of integers of up to 16 bits; doubles hold every sum exactly."""
    return (x.astype(np.float64) @ w.astype(np.float64)).astype(np.int64)


def ranges(
    network: Network, images: NDArray[np.floating], *, tail: float = 0.0
) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest value of every array over images, 0 included.

    ``tail`` is the part of the values of an array that may lie beyond each end.
    """
    found = {}
    for name, values in evaluate(network, images):
        ends = np.quantile(values, (tail, 1 - tail)) if tail else (values.min(), values.max())
        found[name] = min(0.0, float(ends[0])), max(0.0, float(ends[1]))
    return found


def quantise(
    network: Network, found: Mapping[str, tuple[float, float]], formats: Formats | None = None
) -> QuantisedNetwork:
    """Return the network in integers.

    Weights are symmetric with a scale for each output channel, activations have a scale and a
    zero for each array, from the ranges ``found`` on calibration data. What a step only moves
    keeps its scale, unless it has a bound that is not 0.
    """
    formats = formats or Formats()
    tensors = {network.input: _tensor(network.input, found, formats)}
    steps: list[Step] = []
    finish: dict[str, Requantise] = {}
    for step in network.steps:
        source = [tensors[name] for name in step.inputs]
        bounds = (step.low, step.high)
        if isinstance(step, Move) and all(end == 0 or math.isinf(end) for end in bounds):
            kept = source[0]
            tensors[step.output] = replace(
                kept, name=step.output, low=_bound(kept, step.low), high=_bound(kept, step.high)
            )
            steps.append(step)
            continue
        out = tensors[step.output] = _tensor(step.output, found, formats)
        bias = np.zeros(1, np.int64)
        if isinstance(step, Convolve | Depthwise):
            weights = step.weights
            top = np.abs(weights).reshape(-1, weights.shape[-1]).max(axis=0)
            scales = np.where(top > 0, top, 1) / formats.w_high
            # A bias that the accumulator does not hold coarsens its channel.
            room = (1 << formats.acc_width - 1) - 1
            scales = np.maximum(scales, np.abs(step.bias) / (source[0].scale * room))
            units = scales.astype(np.float64) * source[0].scale
            bias = np.rint(step.bias / units).astype(np.int64)
            step = replace(step, weights=np.rint(weights / scales).astype(np.int64), bias=bias)
        elif isinstance(step, Add):
            largest = max(tensor.scale for tensor in source)
            units = np.array([largest / (1 << _ADD_BITS)])
            first, second = (round(tensor.scale / float(units[0])) for tensor in source)
            step = replace(step, factors=(first, second))
        else:
            units = np.array([source[0].scale])
        mult, shift = multiplier(units / out.scale)
        finish[step.name] = Requantise(
            bias=bias, mult=mult, shift=shift, zero_point=out.zero_point,
            low=_bound(out, step.low), high=_bound(out, step.high), divisor=step.divisor,
            rounding=formats.rounding,
        )  # fmt: skip
        steps.append(step)
    return QuantisedNetwork(
        network=replace(network, steps=tuple(steps)), tensors=tensors, finish=finish,
        formats=formats,
    )  # fmt: skip


def _tensor(
    name: str, found: Mapping[str, tuple[float, float]], formats: Formats
) -> QuantisedTensor:
    low, high = found[name]
    scale = (high - low) / (formats.x_high - formats.x_low) or 1.0
    zero = int(np.clip(round(formats.x_low - low / scale), formats.x_low, formats.x_high))
    return QuantisedTensor(
        name=name, shape=(1, 1, 1), scale=scale, zero_point=zero,
        low=formats.x_low, high=formats.x_high,
    )  # fmt: skip


def _bound(out: QuantisedTensor, value: float) -> int:
    return int(out.quantise(np.array([value]))[0])
