"""Operators of networks over arrays with channels last, for real values and integers alike."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .graph import Floats, Graph, Layout, Node, Shape, from_model, to_model

__all__ = [
    "Add",
    "AveragePool",
    "Clip",
    "Convolution",
    "DepthToSpace",
    "DepthwiseConvolution",
    "MaxPool",
    "Pad",
    "Pads",
    "Pair",
    "Product",
    "Requantise",
    "Reshape",
    "ResizeBilinear",
    "Shift",
    "convolutions",
    "with_matrix",
]  # fmt: skip

Pair = tuple[int, int]
"""Of rows and of columns."""

Pads = tuple[int, int, int, int]
"""Rows above, columns left, rows below, columns right."""

MAX_COPY = 1 << 25
"""Elements of a convolution's patches that are laid out at a time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution(Node):
    """Two-dimensional cross-correlation, groups and dilations written out as zeros.

    Attributes
    ----------
    weights : array [height, width, in, out]
        Dense kernel.
    bias : array [out]
        Added to each channel.
    stride, pads : tuple of int
        Height and width; rows above, columns left, rows below, columns right.
    steps : array [out] or None
        Scale of each channel's weights where the model holds integers.
    """

    weights: Floats = field(repr=False)
    bias: Floats = field(repr=False)
    stride: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    steps: Floats | None = field(default=None, repr=False)

    @property
    def matrix(self) -> Floats:
        """The weights [K, N]."""
        return self.weights.reshape(-1, self.weights.shape[-1])

    def shape(self, *inputs: Shape) -> Shape:
        sizes = _sizes(inputs[0], self.weights.shape[:2], self.stride, self.pads)
        return (*sizes, self.weights.shape[3])

    def real(self, x: list[Floats], layout: Layout) -> NDArray:
        order = (2, 0, 1) if layout == "nchw" else (0, 1, 2)
        matrix = self.weights.transpose(3, *order).reshape(self.weights.shape[3], -1).T
        windows = _windows(x[0], self.weights.shape[:2], self.stride, self.pads)
        n, h, w = windows.shape[:3]
        result = np.empty((n, h, w, matrix.shape[1]), np.result_type(x[0], matrix, self.bias))
        step = max(1, MAX_COPY // max(1, h * w * len(matrix)))
        for i in range(0, n, step):
            part = windows[i : i + step].transpose(0, 1, 2, *(3 + axis for axis in order))
            # By image or all at once: BLAS rounds differently, and calibration must not change.
            rows = (len(part), h * w, -1) if layout == "nchw" else (-1, len(matrix))
            sums = part.reshape(rows) @ matrix + self.bias
            result[i : i + step] = sums.reshape(-1, h, w, matrix.shape[1])
        return result


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthwiseConvolution(Node):
    """Convolution of each channel by itself.

    Attributes
    ----------
    weights : array [height, width, channels]
        A kernel for each channel.
    bias, stride, pads
        As of `Convolution`.
    """

    weights: NDArray = field(repr=False)
    bias: NDArray = field(repr=False)
    stride: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)

    def shape(self, *inputs: Shape) -> Shape:
        sizes = _sizes(inputs[0], self.weights.shape[:2], self.stride, self.pads)
        return (*sizes, self.weights.shape[2])

    def compute(self, x: list[NDArray]) -> NDArray:
        taps = _taps(x[0], self.weights.shape[:2], self.stride, self.pads)
        rows = self.weights.reshape(-1, self.weights.shape[2])
        result = next(taps) * rows[0]
        for tap, row in zip(taps, rows[1:], strict=True):
            result += tap * row
        return result

    def real(self, x: list[Floats], layout: Layout) -> NDArray:
        return self.compute(list(x)) + self.bias


@dataclass(frozen=True, kw_only=True, eq=False)
class Product(Node):
    """Product of a vector with constant weights [in, out], plus bias.

    ``steps`` is as of `Convolution`. Where the vector is a flattened image, ``in`` is in the order
    of the graph's layout.
    """

    weights: Floats = field(repr=False)
    bias: Floats = field(repr=False)
    steps: Floats | None = field(default=None, repr=False)

    def shape(self, *inputs: Shape) -> Shape:
        return (self.weights.shape[1],)

    def real(self, x: list[Floats], layout: Layout) -> NDArray:
        return x[0] @ self.weights + self.bias


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Node):
    """Sum of two tensors of one shape."""

    def compute(self, x: list[NDArray]) -> NDArray:
        return x[0] + x[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePool(Node):
    """Mean of each window, padding counted as zeros."""

    kernel: Pair
    stride: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)

    @property
    def divisor(self) -> int:
        return math.prod(self.kernel)

    def shape(self, *inputs: Shape) -> Shape:
        return (*_sizes(inputs[0], self.kernel, self.stride, self.pads), inputs[0][2])

    def compute(self, x: list[NDArray]) -> NDArray:
        return _windows(x[0], self.kernel, self.stride, self.pads).sum((3, 4))


@dataclass(frozen=True, kw_only=True, eq=False)
class ResizeBilinear(Node):
    """Twice the rows and columns, bilinear between pixel centres."""

    @property
    def divisor(self) -> int:
        return 16

    def shape(self, *inputs: Shape) -> Shape:
        height, width, channels = inputs[0]
        return 2 * height, 2 * width, channels

    def compute(self, x: list[NDArray]) -> NDArray:
        result = x[0]
        for axis in (1, 2):
            result = _double(result, axis)
        return result


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip(Node):
    """Values below ``low`` become ``low``, above ``high`` become ``high``; ReLU is ``0..inf``."""

    low: float
    high: float

    def compute(self, x: list[NDArray]) -> NDArray:
        return x[0]

    def real(self, x: list[Floats], layout: Layout) -> NDArray:
        return np.clip(x[0], np.float32(self.low), np.float32(self.high))


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantise(Node):
    """The same values as integers of another scale, which the model states for the output."""

    def compute(self, x: list[NDArray]) -> NDArray:
        return x[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Node):
    """Largest value of each window; padding never wins, partial windows are dropped."""

    kernel: Pair
    stride: Pair
    pads: Pads = (0, 0, 0, 0)

    def shape(self, *inputs: Shape) -> Shape:
        return (*_sizes(inputs[0], self.kernel, self.stride, self.pads), inputs[0][2])

    def compute(self, x: list[NDArray]) -> NDArray:
        least = -math.inf if x[0].dtype.kind == "f" else np.iinfo(x[0].dtype).min
        return _windows(x[0], self.kernel, self.stride, self.pads, least).max((3, 4))


@dataclass(frozen=True, kw_only=True, eq=False)
class Shift(Node):
    """Moves each channel by its own whole number of pixels, zeros coming in at the borders.

    ``offsets`` [channels, 2]: pixel (r, c) of the result is pixel (r, c) + offset of the input.
    """

    offsets: NDArray[np.int64] = field(repr=False)

    def compute(self, x: list[NDArray]) -> NDArray:
        reach = int(np.abs(self.offsets).max(initial=0))
        n, h, w, _ = x[0].shape
        padded = np.pad(x[0], ((0, 0), (reach, reach), (reach, reach), (0, 0)))
        result = np.empty_like(x[0])
        for row, column in np.unique(self.offsets, axis=0).tolist():
            channels = (self.offsets == (row, column)).all(axis=1)
            top, left = reach + row, reach + column
            result[..., channels] = padded[:, top : top + h, left : left + w, channels]
        return result


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Node):
    """Zeros around rows, columns and channels; ``before`` and ``after`` of each."""

    widths: tuple[Pair, ...]

    def shape(self, *inputs: Shape) -> Shape:
        return tuple(a + size + b for (a, b), size in zip(self.widths, inputs[0], strict=True))

    def compute(self, x: list[NDArray]) -> NDArray:
        return np.pad(x[0], ((0, 0), *self.widths))


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthToSpace(Node):
    """Groups of ``block * block`` channels become blocks of pixels."""

    block: int

    def shape(self, *inputs: Shape) -> Shape:
        (height, width, channels), b = inputs[0], self.block
        return height * b, width * b, channels // b**2

    def compute(self, x: list[NDArray]) -> NDArray:
        n, h, w, c = x[0].shape
        b = self.block
        parts = x[0].reshape(n, h, w, b, b, c // b // b).transpose(0, 1, 3, 2, 4, 5)
        return parts.reshape(n, *self.shape((h, w, c)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Node):
    """The same values in the shape ``to``, in the order of the model's layout."""

    to: Shape

    def shape(self, *inputs: Shape) -> Shape:
        return self.to

    def compute(self, x: list[NDArray]) -> NDArray:
        return x[0].reshape(-1, *self.to)

    def real(self, x: list[Floats], layout: Layout) -> NDArray:
        if layout == "nhwc":
            return self.compute(list(x))
        to = (self.to[2], *self.to[:2]) if len(self.to) == 3 else self.to
        return from_model(layout, to_model(layout, x[0]).reshape(-1, *to))


def convolutions(graph: Graph) -> dict[str, Convolution]:
    """Return the convolutions of a graph by the name of the layer."""
    return {node.name: node for node in graph.nodes if isinstance(node, Convolution)}


def with_matrix(node: Convolution, matrix: NDArray) -> Convolution:
    """Return the convolution with other weights, [K, N]."""
    return replace(node, weights=matrix.reshape(node.weights.shape))


def _sizes(shape: Shape, kernel: tuple[int, ...], stride: Pair, pads: Pads) -> Pair:
    """Return how many windows there are in a column and in a row."""
    rows, columns = (
        (shape[i] + pads[i] + pads[i + 2] - kernel[i]) // stride[i] + 1 for i in (0, 1)
    )
    return rows, columns


def _padded(x: NDArray, pads: Pads, value: float) -> NDArray:
    if not any(pads):
        return x
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def _windows(
    x: NDArray, kernel: tuple[int, ...], stride: Pair, pads: Pads, value: float = 0
) -> NDArray:
    """Return the windows of ``x`` as [n, h, w, kernel row, kernel column, c]."""
    x = _padded(x, pads, value)
    view = np.lib.stride_tricks.sliding_window_view(x, kernel[:2], (1, 2))
    return view[:, :: stride[0], :: stride[1]].transpose(0, 1, 2, 4, 5, 3)


def _taps(x: NDArray, kernel: tuple[int, ...], stride: Pair, pads: Pads) -> Iterator[NDArray]:
    """Yield what each place of a kernel sees, row by row."""
    height, width = _sizes(x.shape[1:], kernel, stride, pads)
    x = _padded(x, pads, 0)
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            rows = slice(row, row + (height - 1) * stride[0] + 1, stride[0])
            columns = slice(column, column + (width - 1) * stride[1] + 1, stride[1])
            yield x[:, rows, columns]


def _double(x: NDArray, axis: int) -> NDArray:
    """Return four times ``x`` with twice the pixels along an axis: 3 parts near, 1 part far."""
    x = np.moveaxis(x, axis, 0)
    before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
    both = np.stack([3 * x + before, 3 * x + after], axis=1)
    return np.moveaxis(both.reshape(-1, *x.shape[1:]), 0, axis)
