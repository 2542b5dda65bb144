"""Arrays for ternary weights, and networks whose weights become ternary after training.

Each output channel gets weights of -1, 0 and 1 and one scale, which its requantisation takes over.
A scale starts as that of Ternary Weight Networks: the mean magnitude of the weights above 0.7 of
the mean magnitude. The error of a rounded weight is passed on to the weights that follow, as data
say is best (OBQ, GPTQ); then scale and bias are fitted once more to what the layer gave before.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...hw.ternary.config import TernaryConfig
from ...verif.golden.systolic import exact_product
from ..model.inference import run
from ..model.integer_graph import Formats, QuantisedGraph, QuantisedLayer
from ..quantise.scaling import multiplier
from .base import Family
from .operand import Values
from .systolic import pack_rows, unpack_rows

__all__ = ["Ternary", "ternarised"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_SOURCE_BITS = 8
"""Width of the weights of the networks that become ternary."""
_THRESHOLD = 0.7
_DAMPING = 0.01
_IMAGES, _ROWS = 500, 20_000


class Ternary(Family):
    """Arrays whose cells add, subtract or skip; of a weight's two bits the upper one subtracts."""

    config: TernaryConfig

    def operands(self, mode: int = 0) -> tuple[Values, Values]:
        """Return which values activations and weights may take: -2 is no ternary weight."""
        return super().operands(mode)[0], Values(-1, 1)

    def pack(self, tile: Ints, mode: int = 0) -> list[int]:
        """Return the beats of a weight tile."""
        return pack_rows(self.checked(tile, mode)[::-1], 2)

    def unpack(self, beats: Sequence[int], mode: int = 0) -> Ints:
        """Return the weight tile of its beats; the code of -2 subtracts like that of -1."""
        return np.sign(unpack_rows(beats, 2, self.config.cols, is_signed=True))[::-1]

    def formats(self, formats: Formats) -> Formats:
        """Return the formats of a network with 8-bit weights, and sums as much wider."""
        width = min(64, formats.acc_width + _SOURCE_BITS)
        return dataclasses.replace(formats, w_bits=_SOURCE_BITS, acc_width=width)

    def prepare(self, network: QuantisedGraph, inputs: Ints) -> QuantisedGraph:
        """Return ``network`` with ternary weights, see the module."""
        inputs = inputs[:_IMAGES]
        before = _rows(network, inputs)
        made = network
        for i, layer in enumerate(network.layers):
            if not isinstance(layer, QuantisedLayer):
                continue
            given = _rows(made, inputs)[layer.name]
            wanted = exact_product(before[layer.name], layer.weights) + layer.bias
            layers = list(made.layers)
            layers[i] = ternarised(layer, given.astype(np.float64), wanted.astype(np.float64))
            made = dataclasses.replace(made, layers=tuple(layers))
        formats = network.formats
        width = formats.acc_width - _SOURCE_BITS if formats.acc_width < 64 else 64
        formats = dataclasses.replace(formats, w_bits=self.config.w_bits, acc_width=width)
        return dataclasses.replace(made, formats=formats)

    def lut4_equivalents(self) -> float:
        """Count a carry chain for each row of each column, and the gates before it elsewhere."""
        config = self.config
        widths = sum(config.sum_width(row + 1) for row in range(config.rows))
        gates = 0 if config.fabric == "ecp5" else config.rows * (config.x_bits + 1)
        return 25 + config.cols * (1.05 * widths + gates)


def ternarised(layer: QuantisedLayer, given: Floats, wanted: Floats) -> QuantisedLayer:
    """Return ``layer`` with ternary weights, the scale of each channel in its requantisation.

    Parameters
    ----------
    layer : QuantisedLayer
        With the weights that it was quantised with.
    given : array [samples, K]
        Vectors that the layer sees from now on.
    wanted : array [samples, N]
        What it gave for them before, in the units of its sums, bias included.
    """
    mean = given.mean(axis=0)
    centred = given - mean
    moment = centred.T @ centred
    moment += np.eye(len(moment)) * (_DAMPING * np.trace(moment) / len(moment) + 1e-9)
    # The weights that would give on these vectors what was given before.
    pull = moment - centred.T @ centred
    target = centred.T @ (wanted - wanted.mean(axis=0)) + pull @ layer.weights
    weights = np.linalg.solve(moment, target)
    size = np.abs(weights)
    large = size > _THRESHOLD * size.mean(axis=0)
    scale = (size * large).sum(axis=0) / np.maximum(large.sum(axis=0), 1)
    scale = np.where(scale > 0, scale, 1.0)
    signs = _rounded(weights / scale, np.linalg.inv(moment))
    sums = centred @ signs
    energy = (sums**2).sum(axis=0)
    fit = (sums * (wanted - wanted.mean(axis=0))).sum(axis=0) / np.maximum(energy, 1e-9)
    scale = np.where(fit > 0, fit, scale)
    bias = wanted.mean(axis=0) / scale - mean @ signs
    made = dataclasses.replace(
        layer, weights=signs.astype(np.int64), bias=np.rint(bias).astype(np.int64),
        raw_scale=layer.raw_scale * scale,
    )  # fmt: skip
    if layer.raw:
        return made
    mult, shift = multiplier(np.ldexp(layer.mult.astype(np.float64), -layer.shift) * scale)
    return dataclasses.replace(made, mult=mult, shift=shift)


def _rounded(weights: Floats, inverse: Floats) -> Floats:
    """Return weights [K, N] of -1, 0 and 1, the error of each passed on to those that follow."""
    weights, inverse = weights.copy(), inverse.copy()
    for k in range(len(weights)):
        rounded = np.clip(np.rint(weights[k]), -1, 1)
        gain = inverse[k + 1 :, k] / inverse[k, k]
        weights[k + 1 :] -= np.outer(gain, weights[k] - rounded)
        inverse[k + 1 :, k + 1 :] -= np.outer(gain, inverse[k, k + 1 :])
        weights[k] = rounded
    return weights


def _rows(network: QuantisedGraph, inputs: Ints) -> dict[str, Ints]:
    """Return some of the vectors that every layer sees, the same places for any weights."""
    seen: dict[str, list[Ints]] = {layer.name: [] for layer in network.engine_layers}

    def observing(layer: QuantisedLayer, rows: Ints) -> Ints:
        step = max(1, len(inputs) * layer.rows // _ROWS)
        seen[layer.name].append(rows[::step])
        return exact_product(rows, layer.weights)

    run(network, inputs, observing)
    return {name: np.concatenate(parts) for name, parts in seen.items()}
