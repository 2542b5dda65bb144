"""The graph under construction while an ONNX file is read."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from .graph import (
    AveragePool,
    Convolution,
    Graph,
    ModelError,
    Node,
    Product,
    Quantisation,
    Reshape,
    Tensor,
)
from .onnx_fold import Constant, OnnxNode, check_size

__all__ = ["Builder"]

class Builder:
    """What each name of the file stands for, and the nodes made so far.

    Parameters
    ----------
    name : str
        Name of the model.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.uses: dict[str, int] = {}
        self.constants: dict[str, Constant] = {}
        self.tensors: dict[str, Tensor] = {}
        self._nodes: dict[str, Node] = {}
        self._alias: dict[str, str] = {}
        self._codes: dict[str, tuple[str, Quantisation]] = {}
        self._shared: set[str] = set()
        self._input = ""
        self._batch = 1

    def start(self, name: str, shape: list[int]) -> None:
        """Enter the model's input, ``shape`` with the batch."""
        self._input = name
        self._batch = shape[0]
        self.tensors[name] = Tensor(name=name, shape=tuple(shape[1:]))
        self.name_tensor(name, name)

    def finish(self, output: str) -> Graph:
        """Return the graph that ends in the file's value ``output``."""
        if output not in self._alias or not self._nodes:
            raise ModelError(f"output {output!r} does not depend on the input through any layer")
        return Graph(
            name=self.name,
            tensors=self.tensors,
            nodes=tuple(self._nodes.values()),
            input=self._input,
            output=self._alias[output],
        )

    def shape(self, name: str) -> list[int] | None:
        """Return the shape, with the batch, of the file's value ``name`` if it is a tensor."""
        if name not in self._alias:
            return None
        return [self._batch, *self.tensors[self._alias[name]].shape]

    def name_tensor(self, name: str, tensor: str) -> None:
        """Let the file's value ``name`` stand for ``tensor``."""
        self._alias[name] = tensor
        if self.uses.get(name, 0) > 1:
            self._shared.add(tensor)

    def is_activation(self, node: OnnxNode, index: int) -> bool:
        """Return whether an input depends on the model's input."""
        return len(node.inputs) > index and node.inputs[index] in self._alias

    def activation(self, node: OnnxNode, index: int = 0) -> Tensor:
        """Return an input that depends on the model's input."""
        name = node.inputs[index] if len(node.inputs) > index else ""
        if name in self._alias:
            return self.tensors[self._alias[name]]
        if name in self._codes:
            raise node.fail(
                "it works on the integers of QuantizeLinear; supported: a DequantizeLinear between"
            )
        raise node.fail(f"input {name!r} is a constant; supported: a value that the model computes")

    def image(self, node: OnnxNode) -> Tensor:
        """Return the first input, which must have channels, height and width."""
        x = self.activation(node)
        if len(x.shape) != 3:
            raise node.fail(
                f"input has shape {[self._batch, *x.shape]}; supported: [batch, channels, height, "
                "width]"
            )
        return x

    def constant(self, node: OnnxNode, index: int) -> Constant | None:
        """Return a constant input, or None where it is left out."""
        name = node.inputs[index] if len(node.inputs) > index else ""
        if not name:
            return None
        if name not in self.constants:
            raise node.fail(f"input {name!r} is computed by the model; supported: a constant")
        return self.constants[name]

    def weights(self, node: OnnxNode, index: int) -> Constant:
        """Return a constant input that must be there, of finite floats."""
        constant = self.constant(node, index)
        if constant is None:
            raise node.fail(f"input {index} is missing")
        if constant.value.dtype.kind != "f" or not np.isfinite(constant.value).all():
            raise node.fail(f"input {node.inputs[index]!r} holds values that are no finite numbers")
        steps = constant.steps
        if steps is not None:
            steps = np.broadcast_to(steps, constant.value.shape)
        return Constant(constant.value.astype(np.float32), steps)

    def vector(self, node: OnnxNode, index: int, size: int, default: float = 0.0) -> NDArray:
        """Return a constant of ``size`` elements or one, or the default where it is left out."""
        if self.constant(node, index) is None:
            return np.full(size, default, np.float32)
        value = self.weights(node, index).value
        if value.size not in (1, size) or max(value.shape, default=1) != value.size:
            raise node.fail(
                f"input {node.inputs[index]!r} has shape {list(value.shape)}; supported: [{size}]"
            )
        return np.broadcast_to(value.reshape(-1), (size,)).astype(np.float32)

    def emit(self, result: Node, shape: tuple[int, ...], name: str | None = None) -> None:
        """Append a node whose output is the tensor ``result.output``, the file's ``name``."""
        self._nodes[result.output] = result
        self.tensors[result.output] = Tensor(name=result.output, shape=shape)
        self.name_tensor(name or result.output, result.output)

    def alias(self, node: OnnxNode) -> None:
        """Let the node's output stand for its input."""
        self.name_tensor(node.outputs[0], self.activation(node).name)

    def scale_and_shift(self, node: OnnxNode, gain: NDArray, shift: NDArray) -> None:
        """Multiply each channel by ``gain`` and add ``shift``: into the layer before, if it can."""
        x = self.activation(node)
        before = self._nodes.get(x.name)
        if (
            isinstance(before, Convolution | Product)
            and x.name not in self._shared
            and x.quantisation is None
        ):
            along = gain.reshape(-1, 1, 1, 1) if isinstance(before, Convolution) else gain
            steps = before.steps
            if steps is not None:
                steps = np.where(gain != 0, np.abs(gain) * steps, steps).astype(np.float32)
            folded = dataclasses.replace(
                before,
                op=f"{before.op}+{node.op}",
                output=node.outputs[0],
                weights=_finite(node, before.weights * along),
                bias=_finite(node, before.bias * gain + shift),
                steps=steps,
            )
            del self._nodes[x.name], self.tensors[x.name]
            self.emit(folded, x.shape)
            return
        size = x.shape[0]
        check_size(node, (size, size))
        diagonal = np.diag(gain).astype(np.float32)
        result: Node
        if len(x.shape) == 3:
            result = Convolution(
                name=node.name,
                op=node.op,
                inputs=(x.name,),
                output=node.outputs[0],
                weights=diagonal.reshape(size, size, 1, 1),
                bias=shift,
            )
        else:
            result = Product(
                name=node.name,
                op=node.op,
                inputs=(x.name,),
                output=node.outputs[0],
                weights=diagonal,
                bias=shift,
            )
        self.emit(result, x.shape)

    def encode(self, node: OnnxNode, quantisation: Quantisation) -> None:
        """Note that the node's output holds the integers of its input."""
        self._codes[node.outputs[0]] = (self.activation(node).name, quantisation)

    def decode(self, node: OnnxNode, quantisation: Quantisation) -> None:
        """Let the node's output stand for the tensor whose integers it reads."""
        if node.inputs[0] not in self._codes:
            raise node.fail("its input is not the output of a QuantizeLinear")
        name, coded = self._codes[node.inputs[0]]
        if coded != quantisation:
            raise node.fail("its scale or zero point differs from that of its QuantizeLinear")
        tensor = self.tensors[name]
        if tensor.quantisation is None:
            self.tensors[name] = dataclasses.replace(tensor, quantisation=quantisation)
        elif tensor.quantisation != quantisation:
            output = node.outputs[0]
            copy = AveragePool(
                name=node.name,
                op="QuantizeLinear",
                inputs=(name,),
                output=output,
                kernel=(1, 1),
                stride=(1, 1),
            )
            self.emit(copy, tensor.shape)
            self.tensors[output] = dataclasses.replace(
                self.tensors[output], quantisation=quantisation
            )
            return
        self.name_tensor(node.outputs[0], name)

    def reshape(self, node: OnnxNode, shape: list[int]) -> None:
        """Give the input another shape, ``shape`` with the batch."""
        x = self.activation(node)
        target = tuple(shape[1:])
        size = math.prod(x.shape)
        if shape[0] != self._batch or math.prod(target) != size:
            raise node.fail(
                f"it makes {shape} of {[self._batch, *x.shape]}; supported: the batch kept"
            )
        flat_input = x.name == self._input and len(x.shape) == 1 and target[0] == 1
        if target == x.shape:
            self.alias(node)
        elif target == (size,) or (len(target) == 3 and (target[1:] == (1, 1) or flat_input)):
            self.emit(
                Reshape(name=node.name, op=node.op, inputs=(x.name,), output=node.outputs[0]),
                target,
            )
        else:
            raise node.fail(
                f"it makes {shape} of {[self._batch, *x.shape]}; supported: flattening to "
                f"[{self._batch}, {size}]"
            )


def _finite(node: OnnxNode, values: NDArray) -> NDArray:
    if not np.isfinite(values).all():
        raise node.fail("folding it gives weights that are no finite numbers")
    return values.astype(np.float32)
