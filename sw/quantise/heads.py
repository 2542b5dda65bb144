"""Integer weights for each kind of layer: products, convolutions, averages, sums, copies."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model.graph import Graph, ModelError, Node, from_model, model_shape
from ..model.integer_graph import Formats, QuantisedTensor
from ..model.operators import Add, AveragePool, Convolution, Product
from .calibrate import weight_scales
from .scaling import two_weights

__all__ = ["Head", "integer_head", "quantised_matrix"]

Integers = NDArray[np.int64]
BIAS_STEPS = 1 << 12
MAX_WEIGHTS = 1 << 26


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """A matrix product in integers: geometry, weights [K, N], bias [N].

    Attributes
    ----------
    weights, bias : array
        Zero points of the inputs are folded into the bias.
    unit : array [N]
        Real value of one unit of each sum.
    kernel, stride, pads : tuple of int
        As in `QuantisedLayer`.
    output_shape : tuple of int
        Height, width, channels.
    largest : int
        Largest magnitude of a sum or a bias.
    """

    weights: Integers
    bias: Integers
    unit: NDArray[np.float64]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    output_shape: tuple[int, int, int]
    largest: int


def integer_head(
    graph: Graph,
    node: Node | None,
    inputs: list[QuantisedTensor],
    formats: Formats,
    method: str,
    title: str,
) -> Head:
    """Return the integer form of ``node``, or of a copy where there is none."""
    x = inputs[0]
    h, w, c = x.shape
    kernel, stride, pads = (1, 1), (1, 1), (0, 0, 0, 0)
    weights: Integers
    bias: Integers
    unit: NDArray[np.float64]
    match node:
        case None:
            _check_weights(title, c, c)
            weights, unit = _diagonal(1, c), np.full(c, x.scale, np.float64)
            bias = np.zeros(c, np.int64)
        case Add():
            y = inputs[1]
            if x.shape != y.shape:
                raise ModelError(f"{title}: its inputs differ in shape once flattened")
            _check_weights(title, 2 * c, c)
            weights, unit = _sum(x, y, formats, title, c)
            bias = np.zeros(c, np.int64)
        case AveragePool():
            kernel, stride, pads = node.kernel, node.stride, node.pads
            if graph.tensors[node.inputs[0]].shape != x.shape:
                raise ModelError(
                    f"{title}: windows over a flattened input are not supported; supported: a "
                    "pool before the flattening"
                )
            area = kernel[0] * kernel[1]
            _check_weights(title, area * c, c)
            weights, unit = _diagonal(area, c), np.full(c, x.scale / area, np.float64)
            bias = np.zeros(c, np.int64)
        case Convolution() | Product():
            if isinstance(node, Convolution):
                kernel, stride, pads, matrix = _conv_matrix(graph, node, x, title)
            else:
                kernel, matrix = (h, w), _vector_matrix(graph, node.weights, x)
            weights, unit, bias = quantised_matrix(
                matrix, node.bias, node.steps, x, formats, method, title
            )
        case _:
            raise ModelError(f"{title}: the engine has no form for it")
    points = np.array([tensor.zero_point for tensor in inputs], np.int64)
    zeros = np.repeat(points, len(weights) // len(inputs))
    bias = bias - zeros @ weights
    largest = _largest(title, weights, bias, inputs, formats)
    output = (
        (h + pads[0] + pads[2] - kernel[0]) // stride[0] + 1,
        (w + pads[1] + pads[3] - kernel[1]) // stride[1] + 1,
        weights.shape[1],
    )
    return Head(
        weights=weights,
        bias=bias,
        unit=unit,
        kernel=kernel,
        stride=stride,
        pads=pads,
        output_shape=output,
        largest=largest,
    )


def _check_weights(title: str, k: int, n: int) -> None:
    if k * n > MAX_WEIGHTS:
        raise ModelError(
            f"{title}: it needs a constant matrix of {k} x {n} weights; supported: up to "
            f"{MAX_WEIGHTS:,} in all"
        )


def _diagonal(area: int, channels: int) -> Integers:
    """Return weights that add the ``area`` values of each channel."""
    return np.tile(np.eye(channels, dtype=np.int64), (area, 1))


def _sum(
    x: QuantisedTensor, y: QuantisedTensor, formats: Formats, title: str, channels: int
) -> tuple[Integers, NDArray[np.float64]]:
    """Return weights that bring two inputs to one scale, and that scale."""
    a, b, unit = two_weights(x.scale, y.scale, formats)
    for weight, tensor in ((a, x), (b, y)):
        reach = max(tensor.high - tensor.zero_point, tensor.zero_point - tensor.low)
        wrong = abs(weight * unit - tensor.scale) * reach
        if wrong > max(x.scale, y.scale):
            raise ModelError(
                f"{title}: its inputs have scales {x.scale:.4g} and {y.scale:.4g}, a ratio that "
                f"w_bits = {formats.w_bits} cannot express; supported: equal scales, or more bits"
            )
    eye = np.eye(channels, dtype=np.int64)
    return np.concatenate([a * eye, b * eye]), np.full(channels, unit, np.float64)


def _conv_matrix(
    graph: Graph, node: Convolution, x: QuantisedTensor, title: str
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], NDArray[np.float32]]:
    """Return kernel, stride, pads and weights [K, N] in the engine's order of K."""
    kh, kw, depth, out = node.weights.shape
    if graph.tensors[node.inputs[0]].shape == x.shape:
        return (kh, kw), node.stride, node.pads, node.matrix
    if (kh, kw) != (1, 1) or any(node.pads):
        raise ModelError(
            f"{title}: a kernel of {[kh, kw]} on a flattened input is not supported; supported: "
            "1 x 1 without pads"
        )
    matrix = _vector_matrix(graph, node.matrix, x)
    return (x.shape[0], x.shape[1]), (1, 1), (0, 0, 0, 0), matrix


def _vector_matrix(
    graph: Graph, weights: NDArray[np.float32], x: QuantisedTensor
) -> NDArray[np.float32]:
    """Return weights whose rows, in the order of the model, stand in the engine's."""
    n = weights.shape[1]
    kernels = weights.T.reshape(n, *model_shape(graph.layout, x.shape))
    return np.ascontiguousarray(from_model(graph.layout, kernels).reshape(n, -1).T)


def quantised_matrix(
    matrix: NDArray[np.float32],
    bias: NDArray[np.floating],
    steps: NDArray[np.float32] | None,
    x: QuantisedTensor,
    formats: Formats,
    method: str,
    title: str,
) -> tuple[Integers, NDArray[np.float64], Integers]:
    """Return integer weights, the unit of each sum, and the bias in that unit."""
    # Converters take the largest weight, and round, in the precision of the model itself.
    real = matrix if method == "minmax" else matrix.astype(np.float64)
    bias = bias.astype(np.float64)
    if steps is not None:
        scales: Any = np.broadcast_to(steps.astype(np.float64), bias.shape)
        weights = np.rint(real / scales).astype(np.int64)
        if weights.min() < formats.w_low or weights.max() > formats.w_high:
            raise ModelError(
                f"{title}: the model's integer weights run from {weights.min()} to "
                f"{weights.max()}, which w_bits = {formats.w_bits} does not hold"
            )
        unit = x.scale * scales
        return weights, unit, np.rint(bias / unit).astype(np.int64)
    scales = weight_scales(real, formats, method)
    empty = ~real.any(0)
    fine = np.abs(bias) / (x.scale * BIAS_STEPS)
    scales = np.where(empty & (fine > 0), fine, scales).astype(real.dtype)
    weights = _round_weights(real, scales, formats)
    # A bias that the accumulator cannot hold beside the folded zero point coarsens its channel.
    room = (1 << formats.acc_width - 1) - 2 - abs(x.zero_point) * np.abs(weights).sum(0)
    coarse = np.abs(bias) / (x.scale * np.maximum(room, 1).astype(np.float64))
    coarse = np.nextafter(coarse.astype(real.dtype), np.inf)
    scales = np.where(coarse > scales, coarse, scales)
    weights = _round_weights(real, scales, formats)
    unit = x.scale * scales.astype(np.float64)
    return weights, unit, np.rint(bias / unit).astype(np.int64)


def _round_weights(
    real: NDArray[np.floating], scales: NDArray[np.floating], formats: Formats
) -> Integers:
    """Return the nearest integers, halves to even, saturated symmetrically."""
    return np.clip(np.rint(real / scales), -formats.w_high, formats.w_high).astype(np.int64)


def _largest(
    title: str,
    weights: Integers,
    bias: Integers,
    inputs: list[QuantisedTensor],
    formats: Formats,
) -> int:
    """Return the largest magnitude of a sum or bias; refuse one beyond the accumulator."""
    share = len(weights) // len(inputs)
    low, high = (
        np.repeat([getattr(tensor, end) for tensor in inputs], share)[:, None]
        for end in ("low", "high")
    )
    least = np.minimum(np.minimum(weights * low, weights * high), 0).sum(0)
    most = np.maximum(np.maximum(weights * low, weights * high), 0).sum(0)
    ends = [int(end) for end in (least.min(), bias.min(), most.max(), bias.max())]
    needed = 1 + max((end if end >= 0 else ~end).bit_length() for end in ends)
    if needed > formats.acc_width:
        raise ModelError(
            f"{title}: its sums of {len(weights)} products and its bias need {needed} bits, more "
            f"than the accumulator's {formats.acc_width}"
        )
    return max(map(abs, ends))
