"""Integer-exact inference of a quantised network, as the engine and its host compute it."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ...verif.golden.requantise import requantise
from ...verif.golden.systolic import exact_product
from .integer_graph import HostLayer, QuantisedGraph, QuantisedLayer

__all__ = ["Product", "run", "run_layer", "tiled_product", "trace"]

Integers = NDArray[np.int64]

MAX_COPY = 1 << 24
"""Elements of a convolution's patches that are laid out at a time."""


Product = Callable[[QuantisedLayer, Integers], Integers]
"""From a layer and the patches under its kernel, one a row, to sums."""


def _plain(layer: QuantisedLayer, rows: Integers) -> Integers:
    return exact_product(rows, layer.weights)


def tiled_product(
    golden: Callable[[Integers, Integers, int], Integers], k_tiles: dict[str, Integers]
) -> Product:
    """Return the product of a datapath whose sums depend on how K is cut into tiles.

    Parameters: golden model of the datapath, from activations, weights and mode to sums; for each
    layer's name [tiles, act_lanes], which K each lane of a tile holds, -1 for none.
    """

    def product(layer: QuantisedLayer, rows: Integers) -> Integers:
        sums = np.zeros((len(rows), layer.n), np.int64)
        for lanes in k_tiles[layer.name]:
            held = lanes >= 0
            x = np.where(held, rows[:, lanes], 0)
            w = np.where(held[:, None], layer.weights[lanes], 0)
            sums += golden(x, w, layer.mode)
        return sums

    return product


def run(graph: QuantisedGraph, x: Integers, product: Product = _plain) -> Integers:
    """Return the integers that the network's last layer emits.

    Parameters / Returns: ``x`` [n, h, w, c] in the range of the input tensor; ``product`` where the
    datapath computes other sums than the exact ones; returns [n, h, w, c] of the output tensor,
    sums plus bias where the last layer is raw.
    Exactness: int64 sums; matrix products in float64 only where every partial sum is below
    2**53 and so exact.
    Order: images in the order given.
    Independent check: test_network_golden compares with a loop over every multiplication, and
    with onnxruntime.
    """
    return dict(trace(graph, x, product))[graph.output]


def trace(
    graph: QuantisedGraph, x: Integers, product: Product = _plain
) -> Iterator[tuple[str, Integers]]:
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
        inputs = [values[name] for name in layer.inputs]
        result = run_layer(layer, inputs, graph.formats.rounding, product)
        values[layer.output] = result
        yield layer.output, result


def run_layer(
    layer: QuantisedLayer | HostLayer,
    inputs: list[Integers],
    rounding: str,
    product: Product = _plain,
) -> Integers:
    """Return one layer's output [n, h, w, c] for its inputs, each [n, h, w, c]."""
    if isinstance(layer, HostLayer):
        terms = zip(inputs, layer.input_zeros, layer.factors, strict=True)
        return requantise(
            layer.node.compute([(x - zero) * factor for x, zero, factor in terms]),
            layer.bias,
            layer.mult,
            layer.shift,
            layer.zero_point,
            layer.low,
            layer.high,
            rounding,
            layer.node.divisor,
        )
    n = len(inputs[0])
    step = max(1, MAX_COPY // (layer.conv_shape[0] * layer.conv_shape[1] * layer.k))
    if n > step:
        parts = (
            run_layer(layer, [x[i : i + step] for x in inputs], rounding, product)
            for i in range(0, n, step)
        )
        return np.concatenate(list(parts))
    h, w = layer.conv_shape
    rows = np.concatenate([_rows(layer, x) for x in inputs], axis=1)
    sums = product(layer, rows)
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
