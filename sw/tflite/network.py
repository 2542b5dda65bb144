"""Float networks of TensorFlow Lite files as steps that run layer by layer."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..graph import ModelError
from ..layerwise.network import (
    Add,
    Convolve,
    Depthwise,
    Enlarge,
    MaxPool,
    Network,
    Pad,
    Pads,
    Rearrange,
    Step,
)
from .reader import Model, Operator

__all__ = ["build_network", "sparse_layers"]

_BOUNDS = {
    "NONE": (-math.inf, math.inf), "RELU": (0.0, math.inf), "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
}  # fmt: skip


def build_network(model: Model, name: str = "model") -> Network:
    """Return the network of a float model as steps.

    Arrays are named after the file's tensors. Dequantised and densified constants are folded,
    padding before a convolution goes into it, and activations into the step before them.

    Raises
    ------
    ModelError
        The model has an operator or an option that the steps do not know.
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
        self._sizes = {
            name: tensor.shape[1:] for name, tensor in zip(self.names, model.tensors, strict=True)
        }
        self.steps: dict[str, Step] = {}
        self.uses: dict[int, int] = {}
        for index in [*model.outputs, *(i for o in model.operators for i in o.inputs)]:
            self.uses[index] = self.uses.get(index, 0) + 1

    def build(self, name: str) -> Network:
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
        for step in self.steps.values():
            for source in step.inputs:
                if source not in known:
                    raise ModelError(
                        f"layer {step.name!r} reads {source!r}, which nothing before it makes"
                    )
            known.add(step.output)
        outputs = tuple(self.names[index] for index in self.model.outputs)
        if not known.issuperset(outputs):
            raise ModelError(f"outputs {list(outputs)} are not all made by layers")
        return Network(
            name=name,
            input=self.names[first],
            outputs=outputs,
            shape=(shape[1], shape[2], shape[3]),
            steps=tuple(self.steps.values()),
        )

    def _translate(self, operator: Operator) -> None:
        handler = getattr(self, f"_{operator.op.lower()}", None)
        if handler is None:
            raise self._fail(operator, "is not supported")
        if not operator.outputs or not operator.inputs or operator.inputs[0] < 0:
            raise self._fail(operator, "has no input or no output")
        handler(operator)

    def _fail(self, operator: Operator, reason: str) -> ModelError:
        return ModelError(f"{operator.name}, {operator.op}: {reason}")

    def _step(
        self,
        kind: type[Step],
        operator: Operator,
        shape: tuple[int, ...],
        inputs: int = 1,
        **fields,
    ) -> None:
        """Add a step whose result has ``shape``, without the batch."""
        low, high = _BOUNDS[operator.activation]
        stated = self._shape(operator.outputs[0])
        if stated != (1, *shape):
            raise self._fail(operator, f"gives shape {[1, *shape]}, the file says {list(stated)}")
        output = self.names[operator.outputs[0]]
        if output in self.steps:
            raise self._fail(operator, f"makes {output!r}, as another layer does")
        if len(operator.inputs) < inputs or -1 in operator.inputs[:inputs]:
            raise self._fail(operator, f"needs {inputs} inputs")
        for index in (*operator.inputs[:inputs], operator.outputs[0]):
            self._check_float(index)
        sources = tuple(self.names[index] for index in operator.inputs[:inputs])
        self.steps[output] = kind(
            name=output, inputs=sources, output=output, low=low, high=high, **fields
        )

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
        source = self.names[operator.inputs[0]]
        step = self.steps.get(source)
        alone = self.uses[operator.inputs[0]] == 1
        if (
            step is None
            or not alone
            or self._shape(operator.outputs[0]) != self._shape(operator.inputs[0])
        ):
            raise self._fail(operator, "supported: behind a layer that nothing else reads")
        output = self.names[operator.outputs[0]]
        if output in self.steps:
            raise self._fail(operator, f"makes {output!r}, as another layer does")
        self._check_float(operator.outputs[0])
        del self.steps[source]
        low, high = (min(max(end, low), high) for end in (step.low, step.high))
        self.steps[output] = replace(step, output=output, low=low, high=high)

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
        before = self.steps.get(source)
        alone = self.uses[operator.inputs[0]] == 1 and not any(pads)
        plain = before is not None and (before.low, before.high) == _BOUNDS["NONE"]
        if isinstance(before, Pad) and alone and plain and before.widths[2] == (0, 0):
            (top, bottom), (left, right), _ = before.widths
            del self.steps[source]
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
        self._convolution(Convolve, operator, weights)

    def _depthwise_conv_2d(self, operator: Operator) -> None:
        stored = self._constant(operator, 1, 4)
        weights = stored[0]
        if len(stored) != 1 or weights.shape[2] != self._image(operator)[3]:
            raise self._fail(operator, "supported: as many output channels as input channels")
        self._convolution(Depthwise, operator, weights)

    def _convolution(self, kind: type, operator: Operator, weights: NDArray) -> None:
        if weights.dtype.kind != "f" or not np.isfinite(weights).all():
            raise self._fail(operator, "supported: weights of finite floats")
        source, stride, pads = self._window(operator, weights.shape[:2])
        height, width, _ = self._sizes[source]
        sizes = [
            (size + before + after - window) // stride + 1
            for size, before, after, window in zip(
                (height, width), pads[:2], pads[2:], weights.shape[:2], strict=True
            )
        ]
        if min(sizes) < 1:
            raise self._fail(operator, "the kernel is larger than its input")
        self._step(
            kind, operator, (*sizes, weights.shape[-1]), weights=weights,
            bias=self._bias(operator, weights.shape[-1]), stride=stride, pads=pads,
        )  # fmt: skip
        output = self.names[operator.outputs[0]]
        self.steps[output] = replace(self.steps[output], inputs=(source,))

    # -- the rest

    def _add(self, operator: Operator) -> None:
        if len({self._shape(index) for index in operator.inputs}) != 1:
            raise self._fail(operator, "supported: two inputs of one shape")
        self._step(Add, operator, self._image(operator)[1:], 2)

    def _pad(self, operator: Operator) -> None:
        widths = self._constant(operator, 1, 2)
        if widths.shape != (4, 2) or widths[0].any() or widths.min() < 0:
            raise self._fail(operator, "supported: four pairs of widths, none for the batch")
        if widths.max() > 4096:
            raise self._fail(operator, "supported: widths up to 4096")
        pairs = tuple((int(a), int(b)) for a, b in widths[1:])
        sizes = self._image(operator)[1:]
        shape = tuple(a + size + b for (a, b), size in zip(pairs, sizes, strict=True))
        self._step(Pad, operator, shape, widths=pairs)

    def _max_pool_2d(self, operator: Operator) -> None:
        o = operator.options
        sizes = {o["width"], o["height"], o["stride_w"], o["stride_h"]}
        size = min(sizes)
        _, height, width, channels = self._image(operator)
        if len(sizes) != 1 or size < 1 or height % size or width % size:
            raise self._fail(operator, "supported: square windows side by side that fit")
        self._step(MaxPool, operator, (height // size, width // size, channels), size=size)

    def _resize_bilinear(self, operator: Operator) -> None:
        _, height, width, channels = self._image(operator)
        size = self._constant(operator, 1, 1).tolist()
        centres = operator.options["half_pixel"] and not operator.options["align_corners"]
        if size != [2 * height, 2 * width] or not centres:
            raise self._fail(operator, "supported: twice the size, between pixel centres")
        self._step(Enlarge, operator, (2 * height, 2 * width, channels))

    def _depth_to_space(self, operator: Operator) -> None:
        _, height, width, channels = self._image(operator)
        block = operator.options["block"]
        if not 1 <= block <= 16 or channels % block**2:
            raise self._fail(operator, f"block {block} does not divide {channels} channels")
        shape = (height * block, width * block, channels // block**2)
        self._step(Rearrange, operator, shape, to=shape, block=block)

    def _reshape(self, operator: Operator) -> None:
        before, after = self._image(operator), self._shape(operator.outputs[0])
        if math.prod(before) != math.prod(after) or after[:1] != (1,):
            raise self._fail(operator, f"shape {list(before)} does not become {list(after)}")
        self._step(Rearrange, operator, after[1:], to=after[1:])


def _same(size: int, window: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after that makes ``ceil(size / stride)`` windows."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2
