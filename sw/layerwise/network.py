"""Steps of a network over NHWC arrays, for real values and for integers alike."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Add",
    "Convolve",
    "Depthwise",
    "Enlarge",
    "MaxPool",
    "MeanPool",
    "Move",
    "Network",
    "Pad",
    "Rearrange",
    "Shift",
    "Step",
    "evaluate",
]

Pads = tuple[int, int, int, int]
Product = Callable[[str, NDArray, NDArray], NDArray]
"""Name of the layer, activations [M, K], weights [K, N] to their product."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One operation.

    Attributes
    ----------
    name : str
        Name in the model.
    inputs : tuple of str
        Names of the arrays that it reads.
    output : str
        Name of the array that it makes.
    low, high : float
        Bounds of its result, those of its activation function.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    low: float = -math.inf
    high: float = math.inf

    @property
    def divisor(self) -> int:
        """What `compute` gives is so many times the result without bias."""
        return 1

    def compute(self, x: list[NDArray], product: Product) -> NDArray:
        """Return the result times `divisor`, without bias and bounds, where 0 is 0."""
        raise NotImplementedError

    def real(self, x: list[NDArray]) -> NDArray[np.float32]:
        """Return the result for real values."""
        result = self.compute(x, lambda _, rows, matrix: rows @ matrix)
        bias = getattr(self, "bias", None)
        result = result / self.divisor if bias is None else result + bias
        return np.clip(result, self.low, self.high).astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolve(Step):
    """Convolution with ``weights`` [height, width, in, out], stride and padding by zeros."""

    weights: NDArray = field(repr=False)
    bias: NDArray = field(repr=False)
    stride: int = 1
    pads: Pads = (0, 0, 0, 0)

    @property
    def matrix(self) -> NDArray:
        """The weights [K, N]."""
        return self.weights.reshape(-1, self.weights.shape[-1])

    def compute(self, x: list[NDArray], product: Product) -> NDArray:
        patches = np.concatenate(
            list(_taps(x[0], self.weights.shape[:2], self.stride, self.pads)), axis=3
        )
        rows = product(self.name, patches.reshape(-1, patches.shape[3]), self.matrix)
        return rows.reshape(*patches.shape[:3], -1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Depthwise(Step):
    """Convolution of each channel by itself with ``weights`` [height, width, channels]."""

    weights: NDArray = field(repr=False)
    bias: NDArray = field(repr=False)
    stride: int = 1
    pads: Pads = (0, 0, 0, 0)

    def compute(self, x: list[NDArray], product: Product) -> NDArray:
        taps = _taps(x[0], self.weights.shape[:2], self.stride, self.pads)
        rows = self.weights.reshape(-1, self.weights.shape[2])
        result = next(taps) * rows[0]
        for tap, row in zip(taps, rows[1:], strict=True):
            result += tap * row
        return result


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Step):
    """Sum of two arrays, each times its factor."""

    factors: tuple[int, int] = (1, 1)

    def compute(self, x: list[NDArray], product: Product) -> NDArray:
        return x[0] * self.factors[0] + x[1] * self.factors[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class MeanPool(Step):
    """Mean over all rows and columns."""

    pixels: int

    @property
    def divisor(self) -> int:
        return self.pixels

    def compute(self, x: list[NDArray], product: Product) -> NDArray:
        return x[0].sum(axis=(1, 2), keepdims=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Enlarge(Step):
    """Twice the rows and columns, bilinear between pixel centres."""

    @property
    def divisor(self) -> int:
        return 16

    def compute(self, x: list[NDArray], product: Product) -> NDArray:
        result = x[0]
        for axis in (1, 2):
            result = _double(result, axis)
        return result


@dataclass(frozen=True, kw_only=True, eq=False)
class Move(Step):
    """A step that only moves values, so that its result keeps its input's scale."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Move):
    """Largest of each window of ``size`` rows and columns, without overlap or padding."""

    size: int = 2

    def compute(self, x: list[NDArray], product: Product) -> NDArray:
        n, h, w, c = x[0].shape
        h, w = h // self.size, w // self.size
        cut = x[0][:, : h * self.size, : w * self.size]
        return cut.reshape(n, h, self.size, w, self.size, c).max(axis=(2, 4))


@dataclass(frozen=True, kw_only=True, eq=False)
class Shift(Move):
    """Moves each channel by its own whole number of pixels, zeros coming in at the borders.

    ``offsets`` [channels, 2]: pixel (r, c) of the result is pixel (r, c) + offset of the input.
    """

    offsets: NDArray[np.int64] = field(repr=False)

    def compute(self, x: list[NDArray], product: Product) -> NDArray:
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
class Pad(Move):
    """Zeros around rows, columns and channels; ``before`` and ``after`` of each."""

    widths: tuple[tuple[int, int], ...]

    def compute(self, x: list[NDArray], product: Product) -> NDArray:
        return np.pad(x[0], ((0, 0), *self.widths))


@dataclass(frozen=True, kw_only=True, eq=False)
class Rearrange(Move):
    """Blocks of channels become pixels (``block`` above 1), then the shape becomes ``to``."""

    to: tuple[int, ...]
    block: int = 1

    def compute(self, x: list[NDArray], product: Product) -> NDArray:
        n, h, w, c = x[0].shape
        b = self.block
        parts = x[0].reshape(n, h, w, b, b, c // b // b).transpose(0, 1, 3, 2, 4, 5)
        return parts.reshape(n, *self.to)


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """Steps in an order that makes each array before its use.

    Attributes
    ----------
    name : str
        Name of the model.
    input, outputs : str, tuple of str
        Arrays that are given and wanted.
    shape : tuple of int
        Rows, columns and channels of the input.
    steps : tuple of Step
        What to do.
    """

    name: str
    input: str
    outputs: tuple[str, ...]
    shape: tuple[int, int, int]
    steps: tuple[Step, ...]

    def convolutions(self) -> dict[str, Convolve]:
        """Return the steps that an engine can run, by name."""
        return {step.name: step for step in self.steps if isinstance(step, Convolve)}


def evaluate(network: Network, images: NDArray[np.floating]) -> Iterator[tuple[str, NDArray]]:
    """Yield the name and values of every array for images [n, rows, columns, channels]."""
    values = {network.input: np.asarray(images, np.float32)}
    yield network.input, values[network.input]
    for step in network.steps:
        values[step.output] = step.real([values[name] for name in step.inputs])
        yield step.output, values[step.output]


def _taps(x: NDArray, kernel: tuple[int, ...], stride: int, pads: Pads) -> Iterator[NDArray]:
    """Yield what each place of a kernel sees, row by row."""
    top, left, bottom, right = pads
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    height, width = ((x.shape[1 + i] - kernel[i]) // stride + 1 for i in (0, 1))
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            rows = slice(row, row + (height - 1) * stride + 1, stride)
            columns = slice(column, column + (width - 1) * stride + 1, stride)
            yield x[:, rows, columns]


def _double(x: NDArray, axis: int) -> NDArray:
    """Return four times ``x`` with twice the pixels along an axis: 3 parts near, 1 part far."""
    x = np.moveaxis(x, axis, 0)
    before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
    both = np.stack([3 * x + before, 3 * x + after], axis=1)
    return np.moveaxis(both.reshape(-1, *x.shape[1:]), 0, axis)
