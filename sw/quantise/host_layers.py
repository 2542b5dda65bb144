"""Integer forms of the operators that a host computes between the products of an engine."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..model.graph import ModelError, Node
from ..model.integer_graph import Formats, HostLayer, QuantisedTensor
from ..model.operators import (
    Add,
    AveragePool,
    Clip,
    DepthToSpace,
    DepthwiseConvolution,
    MaxPool,
    Pad,
    Requantise,
    Reshape,
    ResizeBilinear,
    Shift,
)
from .heads import quantised_matrix
from .scaling import multiplier

__all__ = ["HOST_MOVES", "host_layer"]

HOST_MOVES = (Clip, DepthToSpace, MaxPool, Pad, Requantise, Reshape, Shift)
"""Operators whose results are values of their input, or 0."""

_ADD_BITS = 12
"""Bits of the factors that bring two summands to one scale."""


def host_layer(
    node: Node,
    inputs: list[QuantisedTensor],
    output: QuantisedTensor,
    formats: Formats,
    method: str,
    title: str,
    *,
    name: str,
    op: str,
    low: int,
    high: int,
    moves: bool,
) -> HostLayer:
    """Return the integer form of ``node``; ``moves`` where the output has its input's scale.

    Parameters
    ----------
    node : Node
        The operator.
    inputs, output : QuantisedTensor
        What it reads and makes.
    formats, method
        See `quantise`.
    title : str
        How messages call the layer.
    name, op, low, high
        See `HostLayer`.

    Raises
    ------
    ModelError
        There is no such form, or no requantisation to the output's scale.
    """
    factors = (1,) * len(inputs)
    bias = np.zeros(1, np.int64)
    unit: NDArray[np.float64] = np.array([inputs[0].scale])
    match node:
        case DepthwiseConvolution():
            matrix = node.weights.reshape(-1, node.weights.shape[2])
            weights, unit, bias = quantised_matrix(
                matrix, node.bias, None, inputs[0], formats, method, title
            )
            node = replace(node, weights=weights.reshape(node.weights.shape), bias=bias)
        case Add():
            unit = np.array([max(tensor.scale for tensor in inputs) / (1 << _ADD_BITS)])
            factors = tuple(round(tensor.scale / float(unit[0])) for tensor in inputs)
        case Reshape():
            node = replace(node, to=output.shape)
        case AveragePool() | ResizeBilinear():
            pass
        case _ if not isinstance(node, HOST_MOVES):
            raise ModelError(f"{title}: the host has no integer form for it")
    mult, shift = np.ones(1, np.int64), np.zeros(1, np.int64)
    if not moves:
        try:
            mult, shift = multiplier(unit / output.scale)
        except ValueError as error:
            raise ModelError(f"{title}: {error}, so its output scale is unusable") from None
    return HostLayer(
        name=name, op=op, inputs=tuple(tensor.name for tensor in inputs), output=output.name,
        node=node, output_shape=output.shape,
        input_zeros=tuple(tensor.zero_point for tensor in inputs), factors=factors,
        bias=bias, mult=mult, shift=shift, zero_point=output.zero_point, low=low, high=high,
    )  # fmt: skip
