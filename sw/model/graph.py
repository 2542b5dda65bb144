"""A network before quantisation: static shapes, dense weights, nothing left to fold."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Floats", "Graph", "Layout", "ModelError", "Node", "Quantisation", "Shape", "Tensor",
    "from_model", "graph_of", "model_shape", "to_model",
]  # fmt: skip

Floats = NDArray[np.float32]
Shape = tuple[int, ...]
Layout = Literal["nchw", "nhwc"]


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
    """An activation: ``(height, width, channels)`` or ``(features,)``, without the batch.

    Attributes
    ----------
    name : str
        Name in the model.
    shape : tuple of int
        Images have three sizes, vectors one; a reshape may make others.
    quantisation : Quantisation or None
        What the model says of its integers, None where it is plain float.
    """

    name: str
    shape: Shape
    quantisation: Quantisation | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One operation of `tilewright.sw.model.operators`.

    Attributes
    ----------
    name : str
        Name of the layer in the model.
    op : str
        The model's operators that it stands for, joined by ``+``.
    inputs : tuple of str
        Tensors that it reads.
    output : str
        Tensor that it makes.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str

    @property
    def divisor(self) -> int:
        """How many times the result, without bias, `compute` gives."""
        return 1

    def shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the result for inputs of these shapes."""
        return inputs[0]

    def compute(self, x: list[NDArray]) -> NDArray:
        """Return `divisor` times the result, without bias and bounds, for values where 0 is 0."""
        raise NotImplementedError(f"{type(self).__name__} has no rule for integers")

    def real(self, x: list[Floats], layout: Layout) -> NDArray:
        """Return the result for real values; floats add up in the order of the model's layout."""
        return self.compute(x) / np.float32(self.divisor)


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Nodes in an order that computes each tensor before its use.

    Attributes
    ----------
    name : str
        Name of the model.
    layout : str
        Order in which the model itself keeps images, ``"nchw"`` or ``"nhwc"``: its inputs and
        outputs have it, and a reshape takes values in it. Inside the graph channels are last.
    tensors : dict
        Every activation by name.
    nodes : tuple of Node
        What to compute.
    input : str
        The tensor that is given.
    outputs : tuple of str
        The tensors that are wanted.
    """

    name: str
    layout: Layout
    tensors: dict[str, Tensor]
    nodes: tuple[Node, ...]
    input: str
    outputs: tuple[str, ...]

    @property
    def output(self) -> str:
        """The one output.

        Raises
        ------
        ModelError
            There are several.
        """
        if len(self.outputs) != 1:
            names = ", ".join(self.outputs)
            raise ModelError(f"model {self.name!r} has several outputs ({names}); supported: one")
        return self.outputs[0]

    def consumers(self, name: str) -> list[Node]:
        """Return the nodes that read tensor ``name``."""
        return [node for node in self.nodes if name in node.inputs]

    def model_shape(self, name: str) -> Shape:
        """Return a tensor's shape in the model's layout."""
        return model_shape(self.layout, self.tensors[name].shape)


def model_shape(layout: Layout, shape: Shape) -> Shape:
    """Return a shape of the graph in a model's layout."""
    return (shape[2], *shape[:2]) if layout == "nchw" and len(shape) == 3 else shape


def to_model(layout: Layout, values: NDArray) -> NDArray:
    """Return a batch of a tensor in a model's layout."""
    return values.transpose(0, 3, 1, 2) if layout == "nchw" and values.ndim == 4 else values


def from_model(layout: Layout, values: NDArray) -> NDArray:
    """Return a batch of a tensor in a model's layout with channels last."""
    return values.transpose(0, 2, 3, 1) if layout == "nchw" and values.ndim == 4 else values


def graph_of(
    name: str, input: str, shape: Shape, nodes: Iterable[Node], outputs: tuple[str, ...]
) -> Graph:
    """Return the graph of nodes over images with channels last, all shapes worked out."""
    nodes = tuple(nodes)
    tensors = {input: Tensor(name=input, shape=shape)}
    for node in nodes:
        made = node.shape(*(tensors[source].shape for source in node.inputs))
        tensors[node.output] = Tensor(name=node.output, shape=made)
    return Graph(
        name=name, layout="nhwc", tensors=tensors, nodes=nodes, input=input, outputs=outputs
    )
