"""The graph under construction while an ONNX file is read."""

import dataclasses
import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from ...model.graph import Graph, ModelError, Node, Quantisation, Tensor, model_shape
from ...model.operators import Convolution, Product, Requantise, Reshape
from .folding import Constant, OnnxNode, check_size

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
        self._requantised: dict[tuple[str, Quantisation], str] = {}
        self._shared: set[str] = set()
        self._input = ""
        self._batch = 1

    def start(self, name: str, shape: list[int]) -> None:
        """Enter the model's input, ``shape`` with the batch."""
        self._input = name
        self._batch = shape[0]
        self.tensors[name] = Tensor(name=name, shape=_inside(shape))
        self.name_tensor(name, name)

    def finish(self, output: str) -> Graph:
        """Return the graph that ends in the file's value ``output``.

        Nodes of which only a shape was wanted are left out. Integers that a model states for all
        readers of a tensor become the tensor's own.
        """
        last = self._alias.get(output, "")
        wanted, nodes = {last}, []
        for node in reversed(self._nodes.values()):
            if node.output in wanted:
                wanted.update(node.inputs)
                nodes.append(node)
        if not nodes:
            raise ModelError(f"output {output!r} does not depend on the input through any layer")
        readers = Counter(name for node in nodes for name in set(node.inputs))
        tensors = {name: self.tensors[name] for name in self.tensors if name in wanted}
        names = {name: name for name in tensors}
        kept = []
        for node in reversed(nodes):
            inputs = tuple(names[name] for name in node.inputs)
            if isinstance(node, Requantise):
                source = tensors[inputs[0]]
                if readers[node.inputs[0]] == 1 and source.quantisation is None:
                    said = tensors.pop(node.output).quantisation
                    tensors[source.name] = dataclasses.replace(source, quantisation=said)
                    names[node.output] = source.name
                    continue
            kept.append(dataclasses.replace(node, inputs=inputs))
        if not kept:
            raise ModelError(f"output {output!r} does not depend on the input through any layer")
        return Graph(
            name=self.name,
            layout="nchw",
            tensors=tensors,
            nodes=tuple(kept),
            input=self._input,
            outputs=(names[last],),
        )

    def shape(self, name: str) -> list[int] | None:
        """Return the shape, with the batch, of the file's value ``name`` if it is a tensor."""
        return self._shape(self.tensors[self._alias[name]]) if name in self._alias else None

    def _shape(self, tensor: Tensor) -> list[int]:
        return [self._batch, *model_shape("nchw", tensor.shape)]

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
                f"input has shape {self._shape(x)}; supported: [batch, channels, height, width]"
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
        """Return a constant of shape [size], or the default where it is left out."""
        if self.constant(node, index) is None:
            return np.full(size, default, np.float32)
        value = self.weights(node, index).value
        if value.shape != (size,):
            raise node.fail(
                f"input {node.inputs[index]!r} has shape {list(value.shape)}; supported: [{size}]"
            )
        return value

    def summand(self, node: OnnxNode, index: int, size: int) -> NDArray:
        """Return a constant that is added to [batch, size], the same for the whole batch."""
        if self.constant(node, index) is None:
            return np.zeros(size, np.float32)
        value = self.weights(node, index).value
        try:
            rows = np.broadcast_to(value, (self._batch, size))
        except ValueError:
            rows = value
        if rows.shape != (self._batch, size) or (rows != rows[:1]).any():
            raise node.fail(
                f"input {node.inputs[index]!r} has shape {list(value.shape)}; supported: one value "
                f"or one per output, shape [{size}]"
            )
        return rows[0]

    def emit(self, result: Node) -> None:
        """Append a node whose output is a tensor and a value of the file, both of one name."""
        shape = result.shape(*(self.tensors[name].shape for name in result.inputs))
        self._nodes[result.output] = result
        self.tensors[result.output] = Tensor(name=result.output, shape=shape)
        self.name_tensor(result.output, result.output)

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
            steps = before.steps
            if steps is not None:
                steps = np.where(gain != 0, np.abs(gain) * steps, steps).astype(np.float32)
            with np.errstate(over="ignore"):  # what is not finite is refused
                folded = dataclasses.replace(
                    before,
                    op=f"{before.op}+{node.op}",
                    output=node.outputs[0],
                    weights=_finite(node, before.weights * gain),
                    bias=_finite(node, before.bias * gain + shift),
                    steps=steps,
                )
            del self._nodes[x.name], self.tensors[x.name]
            self.emit(folded)
            return
        size = x.shape[-1]
        check_size(node, (size, size))
        diagonal = np.diag(gain).astype(np.float32)
        result: Node
        if len(x.shape) == 3:
            result = Convolution(
                name=node.name,
                op=node.op,
                inputs=(x.name,),
                output=node.outputs[0],
                weights=diagonal.reshape(1, 1, size, size),
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
        self.emit(result)

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
        tensor, output = self.tensors[name], node.outputs[0]
        if tensor.quantisation == quantisation:
            self._requantised[name, quantisation] = name
        if (name, quantisation) in self._requantised:
            self.name_tensor(output, self._requantised[name, quantisation])
            return
        self.emit(Requantise(name=node.name, op="QuantizeLinear", inputs=(name,), output=output))
        self.tensors[output] = dataclasses.replace(self.tensors[output], quantisation=quantisation)
        self._requantised[name, quantisation] = output

    def reshape(self, node: OnnxNode, shape: list[int]) -> None:
        """Give the input another shape, ``shape`` with the batch."""
        x = self.activation(node)
        target = _inside(shape)
        size = math.prod(x.shape)
        if shape[:1] != [self._batch] or math.prod(target) != size:
            raise node.fail(f"it makes {shape} of {self._shape(x)}; supported: the batch kept")
        flat_input = self._is_input(x.name) and len(x.shape) == 1 and target[-1:] == (1,)
        if target == x.shape:
            self.alias(node)
        elif target == (size,) or (len(target) == 3 and (target[:2] == (1, 1) or flat_input)):
            self.emit(
                Reshape(
                    name=node.name, op=node.op, inputs=(x.name,), output=node.outputs[0], to=target
                )
            )
        else:
            raise node.fail(
                f"it makes {shape} of {self._shape(x)}; supported: flattening to "
                f"[{self._batch}, {size}]"
            )

    def _is_input(self, name: str) -> bool:
        """Return whether a tensor is the model's input, as it is or as integers."""
        while isinstance(node := self._nodes.get(name), Requantise):
            name = node.inputs[0]
        return name == self._input


def _inside(shape: list[int]) -> tuple[int, ...]:
    """Return a shape of the file, batch first, as the graph has it."""
    return (*shape[2:], shape[1]) if len(shape) == 4 else tuple(shape[1:])


def _finite(node: OnnxNode, values: NDArray) -> NDArray:
    if not np.isfinite(values).all():
        raise node.fail("folding it gives weights that are no finite numbers")
    return values.astype(np.float32)
