"""A network before quantisation: static shapes, dense weights, nothing left to fold."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Add",
    "AveragePool",
    "Clip",
    "Convolution",
    "Graph",
    "MaxPool",
    "ModelError",
    "Node",
    "Product",
    "Quantisation",
    "Requantise",
    "Reshape",
    "Tensor",
    "evaluate",
]

Floats = NDArray[np.float32]
Pair = tuple[int, int]
Pads = tuple[int, int, int, int]

MAX_COPY = 1 << 25
"""Elements of a convolution's patches that are laid out at a time."""


class ModelError(ValueError):
    """A model that cannot run; the message names layer, operator, reason and what would do.

    Names come from the file, so characters that are not printable are replaced.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else "?" for c in message))


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """How a model that is already quantised stores a tensor: ``scale * (q - zero_point)``.

    Attributes
    ----------
    scale : float
        Step between neighbouring values.
    zero_point : int
        Integer that stands for zero.
    low, high : int
        Range of the integers in the model's own type.
    """

    scale: float
    zero_point: int
    low: int
    high: int


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An activation: ``(channels, height, width)`` or ``(features,)``, without the batch.

    Attributes
    ----------
    name : str
        Name in the model.
    shape : tuple of int
        Three sizes or one.
    quantisation : Quantisation or None
        What the model says of its integers, None where it is plain float.
    """

    name: str
    shape: tuple[int, ...]
    quantisation: Quantisation | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One operation: ``op`` names the model's operators that it stands for, joined by ``+``."""

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution(Node):
    """Two-dimensional cross-correlation, groups and dilations written out as zeros.

    Attributes
    ----------
    weights : array [out, in, height, width]
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Product(Node):
    """Product of a vector with constant weights [in, out], plus bias; ``steps`` as above."""

    weights: Floats = field(repr=False)
    bias: Floats = field(repr=False)
    steps: Floats | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip(Node):
    """Values below ``low`` become ``low``, above ``high`` become ``high``; ReLU is ``0..inf``."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Node):
    """Largest value of each window; padding never wins."""

    kernel: Pair
    stride: Pair
    pads: Pads = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePool(Node):
    """Mean of each window, padding counted as zeros."""

    kernel: Pair
    stride: Pair
    pads: Pads = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Node):
    """The same values in another shape, in the model's order (channel, row, column)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantise(Node):
    """The same values as integers of another scale, which the model states for the output."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Node):
    """Sum of two tensors of one shape."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Nodes in an order that computes each tensor before its use; one input, one output."""

    name: str
    tensors: dict[str, Tensor]
    nodes: tuple[Node, ...]
    input: str
    output: str

    def consumers(self, name: str) -> list[Node]:
        """Return the nodes that read tensor ``name``."""
        return [node for node in self.nodes if name in node.inputs]


def evaluate(graph: Graph, x: NDArray[np.floating]) -> Iterator[tuple[str, Floats]]:
    """Yield each tensor's name and float values for inputs ``x`` [n, ...], in order of execution.

    This is the network as the model states it: where it states integers, values are rounded and
    saturate, since the saturation may stand for a ReLU.
    """
    shape = graph.tensors[graph.input].shape
    x = np.asarray(x, np.float32)
    if x.shape[1:] != shape:
        expected = ", ".join(str(size) for size in shape)
        raise ModelError(
            f"input {graph.input!r} must have shape [n, {expected}], not {list(x.shape)}"
        )
    x = _on_grid(x, graph.tensors[graph.input].quantisation)
    values = {graph.input: x}
    yield graph.input, x
    uses = {name: len(graph.consumers(name)) for name in graph.tensors}
    for node in graph.nodes:
        result = _compute(node, [values[name] for name in node.inputs])
        result = result.reshape(-1, *graph.tensors[node.output].shape)
        result = _on_grid(result, graph.tensors[node.output].quantisation)
        values[node.output] = result
        for name in set(node.inputs):
            uses[name] -= 1
            if not uses[name]:
                del values[name]
        yield node.output, result


def _on_grid(x: Floats, said: Quantisation | None) -> Floats:
    """Return what is left of the values once they are the integers that the model states."""
    if said is None:
        return x
    scale = np.float32(said.scale)
    low, high = said.low - said.zero_point, said.high - said.zero_point
    return np.clip(np.rint(x / scale), np.float32(low), np.float32(high)) * scale


def _compute(node: Node, inputs: list[Floats]) -> Floats:
    x = inputs[0]
    match node:
        case Convolution():
            out, _, *kernel = node.weights.shape
            patches = _windows(x, (kernel[0], kernel[1]), node.stride, node.pads, 0.0)
            n, _, h, w = patches.shape[:4]
            matrix = node.weights.reshape(out, -1).T
            result = np.empty((n, h * w, out), np.float32)
            step = max(1, MAX_COPY // max(1, h * w * len(matrix)))
            for i in range(0, n, step):
                part = patches[i : i + step].transpose(0, 2, 3, 1, 4, 5)
                result[i : i + step] = part.reshape(-1, h * w, len(matrix)) @ matrix + node.bias
            return result.reshape(n, h, w, out).transpose(0, 3, 1, 2)
        case Product():
            return x @ node.weights + node.bias
        case Clip():
            return np.clip(x, np.float32(node.low), np.float32(node.high))
        case MaxPool():
            return _windows(x, node.kernel, node.stride, node.pads, -math.inf).max((4, 5))
        case AveragePool():
            return _windows(x, node.kernel, node.stride, node.pads, 0.0).mean((4, 5))
        case Reshape() | Requantise():
            return x
        case Add():
            return x + inputs[1]
    raise TypeError(f"no rule to evaluate {type(node).__name__}")


def _windows(x: Floats, kernel: Pair, stride: Pair, pads: Pads, value: float) -> Floats:
    """Return the windows of NCHW ``x`` as [n, c, h, w, kernel row, kernel column]."""
    if any(pads):
        top, left, bottom, right = pads
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, (2, 3))
    return view[:, :, :: stride[0], :: stride[1]]
