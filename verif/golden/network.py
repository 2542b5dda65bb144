"""Integer-exact inference of a quantised network, as the engine computes it."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...sw.quantise.layers import QuantisedGraph, QuantisedLayer
from .requantise import requantise

__all__ = ["run", "run_layer", "trace"]

Integers = NDArray[np.int64]

MAX_COPY = 1 << 24
"""Elements of a convolution's patches that are laid out at a time."""


def run(graph: QuantisedGraph, x: Integers) -> Integers:
    """Return the integers that the network's last layer emits.

    Parameters / Returns: ``x`` [n, h, w, c] in the range of the input tensor; returns
    [n, h, w, c] of the output tensor, sums plus bias where the last layer is raw.
    Exactness: int64 sums; matrix products in float64 only where every partial sum is below
    2**53 and so exact.
    Order: images in the order given.
    Independent check: test_network_golden compares with a loop over every multiplication, and
    with onnxruntime.
    """
    return dict(trace(graph, x))[graph.output]


def trace(graph: QuantisedGraph, x: Integers) -> Iterator[tuple[str, Integers]]:
    """Yield each tensor's name and integers [n, h, w, c], the input first."""
    tensor = graph.tensors[graph.input]
    x = np.asarray(x, np.int64)
    if x.shape[1:] != tensor.shape or x.size and (x.min() < tensor.low or x.max() > tensor.high):
        raise ValueError(
            f"input must have shape [n, {', '.join(map(str, tensor.shape))}] and values from "
            f"{tensor.low} to {tensor.high}"
        )
    values = {graph.input: x}
    yield graph.input, x
    for layer in graph.layers:
        result = run_layer(layer, [values[name] for name in layer.inputs], graph.formats.rounding)
        values[layer.output] = result
        yield layer.output, result


def run_layer(layer: QuantisedLayer, inputs: list[Integers], rounding: str) -> Integers:
    """Return one layer's output [n, h, w, c] for its inputs, each [n, h, w, c]."""
    n = len(inputs[0])
    step = max(1, MAX_COPY // (layer.conv_shape[0] * layer.conv_shape[1] * layer.k))
    if n > step:
        parts = (
            run_layer(layer, [x[i : i + step] for x in inputs], rounding)
            for i in range(0, n, step)
        )
        return np.concatenate(list(parts))
    h, w = layer.conv_shape
    rows = np.concatenate([_rows(layer, x) for x in inputs], axis=1)
    sums = _exact_product(rows, layer.weights)
    if layer.raw:
        return (sums + layer.bias).reshape(n, h, w, layer.n)
    y = requantise(
        sums,
        layer.bias,
        layer.mult,
        layer.shift,
        layer.zero_point,
        layer.low,
        layer.high,
        rounding,
    ).reshape(n, h, w, layer.n)
    if layer.pool == 1 and layer.pool_stride == (1, 1):
        return y
    windows = np.lib.stride_tricks.sliding_window_view(y, layer.pool_kernel, (1, 2))
    return windows[:, :: layer.pool_stride[0], :: layer.pool_stride[1]].max((4, 5))


def _rows(layer: QuantisedLayer, x: Integers) -> Integers:
    """Return the patches under the kernel, one a row, in the order (row, column, channel)."""
    top, left, bottom, right = layer.pads
    if any(layer.pads):
        edges = ((0, 0), (top, bottom), (left, right), (0, 0))
        x = np.pad(x, edges, constant_values=layer.pad_value)
    windows = np.lib.stride_tricks.sliding_window_view(x, layer.kernel, (1, 2))
    windows = windows[:, :: layer.stride[0], :: layer.stride[1]]
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, layer.k // len(layer.inputs))


def _exact_product(x: Integers, w: Integers) -> Integers:
    """Return ``x @ w``, by floating point where that is exact, which is twenty times faster."""
    bound = np.abs(x).max(initial=0) * np.abs(w).sum(0).max(initial=0)
    if bound < 1 << 53:
        return np.rint(x.astype(np.float64) @ w.astype(np.float64)).astype(np.int64)
    return x @ w
