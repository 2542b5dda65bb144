"""Float networks of TensorFlow Lite files as graphs."""

import math

import numpy as np
from numpy.typing import NDArray

from ...model.graph import Graph, ModelError, Node, Shape, Tensor
from ...model.operators import (
    Add,
    Clip,
    Convolution,
    DepthToSpace,
    DepthwiseConvolution,
    MaxPool,
    Pad,
    Pads,
    Reshape,
    ResizeBilinear,
)
from .tflite_file import Model, Operator

__all__ = ["build_graph", "sparse_layers"]

_BOUNDS = {
    "NONE": (-math.inf, math.inf), "RELU": (0.0, math.inf), "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
}  # fmt: skip


def build_graph(model: Model, name: str = "model") -> Graph:
    """Return the graph of a float model.

    Tensors are named after the file's. Dequantised and densified constants are folded, and padding
    before a convolution goes into it; a fused activation is a node of its own.

    Raises
    ------
    ModelError
        The model has an operator or an option that is not supported.
    """
    return _Builder(model).build(name)


def sparse_layers(model: Model) -> tuple[str, ...]:
    """Return the names of the 1 x 1 convolutions whose weights the file keeps sparse."""
    stored = {index for index, tensor in enumerate(model.tensors) if tensor.sparse}
    for operator in model.operators:
        if operator.op in ("DEQUANTIZE", "DENSIFY") and operator.inputs[0] in stored:
            stored |= set(operator.outputs)
    return tuple(
        model.tensors[operator.outputs[0]].name
        for operator in model.operators
        if operator.op == "CONV_2D" and operator.inputs[1] in stored
    )


class _Builder:
    def __init__(self, model: Model):
        self.model = model
        self.constants = {
            index: tensor.value
            for index, tensor in enumerate(model.tensors)
            if tensor.value is not None
        }
        self.names = [tensor.name for tensor in model.tensors]
        if len(set(self.names)) != len(self.names):
            self.names = [f"{name}:{index}" for index, name in enumerate(self.names)]
        self.shapes: dict[str, Shape] = {
            name: tensor.shape[1:] for name, tensor in zip(self.names, model.tensors, strict=True)
        }
        self.nodes: dict[str, Node] = {}
        self.uses: dict[int, int] = {}
        for index in [*model.outputs, *(i for o in model.operators for i in o.inputs)]:
            self.uses[index] = self.uses.get(index, 0) + 1

    def build(self, name: str) -> Graph:
        if len(self.model.inputs) != 1:
            raise ModelError(f"the model has {len(self.model.inputs)} inputs; supported: one")
        first = self.model.inputs[0]
        shape = self.model.tensors[first].shape
        if len(shape) != 4 or shape[0] != 1:
            raise ModelError(f"the input has shape {list(shape)}; supported: [1, rows, columns, c]")
        self._check_float(first)
        for operator in self.model.operators:
            self._translate(operator)
        known = {self.names[first]}
        for node in self.nodes.values():
            for source in node.inputs:
                if source not in known:
                    raise ModelError(
                        f"layer {node.name!r} reads {source!r}, which nothing before it makes"
                    )
            known.add(node.output)
        outputs = tuple(self.names[index] for index in self.model.outputs)
        if not known.issuperset(outputs):
            raise ModelError(f"outputs {list(outputs)} are not all made by layers")
        nodes = self._needed(outputs)
        made = (self.names[first], *(node.output for node in nodes))
        tensors = {name: Tensor(name=name, shape=self.shapes[name]) for name in made}
        return Graph(
            name=name,
            layout="nhwc",
            tensors=tensors,
            nodes=nodes,
            input=self.names[first],
            outputs=outputs,
        )

    def _needed(self, outputs: tuple[str, ...]) -> tuple[Node, ...]:
        """Return the nodes that the outputs depend on."""
        wanted = set(outputs)
        nodes: list[Node] = []
        for node in reversed(self.nodes.values()):
            if node.output in wanted:
                wanted.update(node.inputs)
                nodes.insert(0, node)
        return tuple(nodes)

    def _translate(self, operator: Operator) -> None:
        handler = getattr(self, f"_{operator.op.lower()}", None)
        if handler is None:
            raise self._fail(operator, "is not supported")
        if not operator.outputs or not operator.inputs or operator.inputs[0] < 0:
            raise self._fail(operator, "has no input or no output")
        handler(operator)

    def _fail(self, operator: Operator, reason: str) -> ModelError:
        return ModelError(f"{operator.name}, {operator.op}: {reason}")

    def _add_node(
        self, kind: type[Node], operator: Operator, sources: tuple[str, ...], **fields
    ) -> None:
        """Add the node of an operator, and one of its activation if that is fused into it."""
        output = self.names[operator.outputs[0]]
        if output in self.nodes:
            raise self._fail(operator, f"makes {output!r}, as another layer does")
        self._check_float(operator.outputs[0])
        bounds = _BOUNDS[operator.activation]
        node = kind(
            name=output, op=operator.op, inputs=sources,
            output=output if bounds == _BOUNDS["NONE"] else self._own_name(output), **fields,
        )  # fmt: skip
        shape = node.shape(*(self.shapes[name] for name in node.inputs))
        stated = self._shape(operator.outputs[0])
        if stated != (1, *shape):
            raise self._fail(operator, f"gives shape {[1, *shape]}, the file says {list(stated)}")
        self.shapes[node.output] = shape
        self.nodes[node.output] = node
        if node.output != output:
            low, high = bounds
            self.nodes[output] = Clip(
                name=node.output, op=operator.activation, inputs=(node.output,), output=output,
                low=low, high=high,
            )  # fmt: skip

    def _own_name(self, output: str) -> str:
        """Return a name for what an activation bounds."""
        name = f"{output}:unbounded"
        while name in self.shapes:
            name += "'"
        return name

    def _sources(self, operator: Operator, count: int) -> tuple[str, ...]:
        """Return the tensors of an operator's first inputs, which must be there and float."""
        inputs = operator.inputs[:count]
        if len(inputs) < count or -1 in inputs:
            raise self._fail(operator, f"needs {count} inputs")
        for index in inputs:
            self._check_float(index)
        return tuple(self.names[index] for index in inputs)

    def _check_float(self, index: int) -> None:
        tensor = self.model.tensors[index]
        if tensor.kind != "f4":
            raise ModelError(
                f"tensor {tensor.name!r} holds numbers of type {tensor.kind}; supported: networks "
                "in float32, so convert the model without quantisation"
            )

    def _constant(self, operator: Operator, position: int, dimensions: int) -> NDArray:
        index = operator.inputs[position] if len(operator.inputs) > position else -1
        value = self.constants.get(index)
        if value is None or value.ndim != dimensions or not value.size:
            raise self._fail(operator, f"input {position} is no constant of {dimensions} sizes")
        return value

    def _shape(self, index: int) -> tuple[int, ...]:
        return self.model.tensors[index].shape

    def _image(self, operator: Operator) -> tuple[int, ...]:
        shape = self._shape(operator.inputs[0])
        if len(shape) != 4 or 0 in shape or shape[0] != 1:
            raise self._fail(
                operator, f"input has shape {list(shape)}; supported: [1, rows, columns, channels]"
            )
        return shape

    # -- what is folded

    def _dequantize(self, operator: Operator) -> None:
        value = self.constants.get(operator.inputs[0])
        if value is None or value.dtype.kind != "f":
            raise self._fail(operator, "supported: constants of half precision")
        self.constants[operator.outputs[0]] = value.astype(np.float32)

    def _densify(self, operator: Operator) -> None:
        value = self.constants.get(operator.inputs[0])
        if value is None:
            raise self._fail(operator, "supported: constants")
        self.constants[operator.outputs[0]] = value

    def _relu(self, operator: Operator) -> None:
        low, high = _BOUNDS[operator.op]
        self._add_node(Clip, operator, self._sources(operator, 1), low=low, high=high)

    _relu6 = _relu_n1_to_1 = _relu

    # -- convolutions

    def _window(self, operator: Operator, kernel: tuple[int, ...]) -> tuple[str, int, Pads]:
        """Return source, stride and pads of a convolution, padding before it included."""
        options = operator.options
        stride = options["stride_w"]
        if stride != options["stride_h"] or not 1 <= stride <= 16:
            raise self._fail(operator, "supported: equal strides of 1 to 16")
        if (options["dilation_w"], options["dilation_h"]) != (1, 1):
            raise self._fail(operator, "dilation is not supported")
        _, height, width, _ = self._image(operator)
        pads: Pads = (0, 0, 0, 0)
        if options["padding"] == 0:
            (top, bottom), (left, right) = (
                _same(size, window, stride)
                for size, window in zip((height, width), kernel, strict=True)
            )
            pads = (top, left, bottom, right)
        source = self.names[operator.inputs[0]]
        before = self.nodes.get(source)
        alone = self.uses[operator.inputs[0]] == 1 and not any(pads)
        if isinstance(before, Pad) and alone and before.widths[2] == (0, 0):
            (top, bottom), (left, right), _ = before.widths
            del self.nodes[source]
            return before.inputs[0], stride, (top, left, bottom, right)
        return source, stride, pads

    def _bias(self, operator: Operator, channels: int) -> NDArray:
        if len(operator.inputs) < 3 or operator.inputs[2] < 0:
            return np.zeros(channels, np.float32)
        bias = self._constant(operator, 2, 1)
        if len(bias) != channels or bias.dtype.kind != "f" or not np.isfinite(bias).all():
            raise self._fail(operator, f"bias is not {channels} finite floats")
        return bias

    def _conv_2d(self, operator: Operator) -> None:
        weights = np.transpose(self._constant(operator, 1, 4), (1, 2, 3, 0))
        if weights.shape[2] != self._image(operator)[3]:
            raise self._fail(operator, "weights and input have different channels")
        self._convolution(Convolution, operator, weights)

    def _depthwise_conv_2d(self, operator: Operator) -> None:
        stored = self._constant(operator, 1, 4)
        weights = stored[0]
        if len(stored) != 1 or weights.shape[2] != self._image(operator)[3]:
            raise self._fail(operator, "supported: as many output channels as input channels")
        self._convolution(DepthwiseConvolution, operator, weights)

    def _convolution(self, kind: type[Node], operator: Operator, weights: NDArray) -> None:
        if weights.dtype.kind != "f" or not np.isfinite(weights).all():
            raise self._fail(operator, "supported: weights of finite floats")
        self._sources(operator, 1)
        source, stride, pads = self._window(operator, weights.shape[:2])
        height, width, _ = self.shapes[source]
        padded = (height + pads[0] + pads[2], width + pads[1] + pads[3])
        if any(size < window for size, window in zip(padded, weights.shape[:2], strict=True)):
            raise self._fail(operator, "the kernel is larger than its input")
        self._add_node(
            kind, operator, (source,), weights=weights,
            bias=self._bias(operator, weights.shape[-1]), stride=(stride, stride), pads=pads,
        )  # fmt: skip

    # -- the rest

    def _add(self, operator: Operator) -> None:
        if len({self._shape(index) for index in operator.inputs}) != 1:
            raise self._fail(operator, "supported: two inputs of one shape")
        self._image(operator)
        self._add_node(Add, operator, self._sources(operator, 2))

    def _pad(self, operator: Operator) -> None:
        widths = self._constant(operator, 1, 2)
        if widths.shape != (4, 2) or widths[0].any() or widths.min() < 0:
            raise self._fail(operator, "supported: four pairs of widths, none for the batch")
        if widths.max() > 4096:
            raise self._fail(operator, "supported: widths up to 4096")
        pairs = tuple((int(a), int(b)) for a, b in widths[1:])
        self._image(operator)
        self._add_node(Pad, operator, self._sources(operator, 1), widths=pairs)

    def _max_pool_2d(self, operator: Operator) -> None:
        o = operator.options
        sizes = {o["width"], o["height"], o["stride_w"], o["stride_h"]}
        size = min(sizes)
        _, height, width, _ = self._image(operator)
        if len(sizes) != 1 or size < 1 or height % size or width % size:
            raise self._fail(operator, "supported: square windows side by side that fit")
        square = (size, size)
        self._add_node(MaxPool, operator, self._sources(operator, 1), kernel=square, stride=square)

    def _resize_bilinear(self, operator: Operator) -> None:
        _, height, width, _ = self._image(operator)
        size = self._constant(operator, 1, 1).tolist()
        centres = operator.options["half_pixel"] and not operator.options["align_corners"]
        if size != [2 * height, 2 * width] or not centres:
            raise self._fail(operator, "supported: twice the size, between pixel centres")
        self._add_node(ResizeBilinear, operator, self._sources(operator, 1))

    def _depth_to_space(self, operator: Operator) -> None:
        channels = self._image(operator)[3]
        block = operator.options["block"]
        if not 1 <= block <= 16 or channels % block**2:
            raise self._fail(operator, f"block {block} does not divide {channels} channels")
        self._add_node(DepthToSpace, operator, self._sources(operator, 1), block=block)

    def _reshape(self, operator: Operator) -> None:
        before, after = self._image(operator), self._shape(operator.outputs[0])
        if math.prod(before) != math.prod(after) or after[:1] != (1,):
            raise self._fail(operator, f"shape {list(before)} does not become {list(after)}")
        self._add_node(Reshape, operator, self._sources(operator, 1), to=after[1:])


def _same(size: int, window: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after that makes ``ceil(size / stride)`` windows."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2
