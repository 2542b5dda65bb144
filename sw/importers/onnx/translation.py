"""The operators of ONNX that the engine can run, each turned into nodes of our own graph."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from ...model.graph import ModelError, Quantisation, model_shape
from ...model.operators import Add, AveragePool, Clip, Convolution, MaxPool, Pads, Product
from .builder import Builder
from .folding import FOLDED, Constant, OnnxNode, check_size, fold, integer_range

__all__ = ["HANDLERS", "check_known", "translate"]

LARGEST = float(np.finfo(np.float32).max)
"""A bound that exporters write for none."""

NEAREST = {
    "ConvInteger": "save the model in QDQ form",
    "ConvTranspose": "nearest supported: Conv",
    "Gelu": "nearest supported: Relu",
    "GlobalMaxPool": "nearest supported: MaxPool with the input's height and width as kernel",
    "HardSigmoid": "nearest supported: Clip",
    "LeakyRelu": "nearest supported: Relu",
    "LogSoftmax": "end the model before it, the largest logit stays the largest",
    "Max": "nearest supported: Clip with a min",
    "Min": "nearest supported: Clip with a max",
    "MatMulInteger": "save the model in QDQ form",
    "PRelu": "nearest supported: Relu",
    "Pad": "nearest supported: the pads of Conv or MaxPool",
    "QLinearConv": "save the model in QDQ form",
    "QLinearMatMul": "save the model in QDQ form",
    "ReduceMean": "nearest supported: GlobalAveragePool",
    "Sigmoid": "nearest supported: Clip",
    "Softmax": "end the model before it, the largest logit stays the largest",
    "Tanh": "nearest supported: Clip",
    "Transpose": "export the model with channels first (NCHW)",
}


def _unsupported(node: OnnxNode) -> ModelError:
    """Return the error for an operator that the engine cannot run."""
    nearest = NEAREST.get(node.op, f"supported: {', '.join(sorted(HANDLERS))}")
    return node.fail(f"the operator is not supported; {nearest}")


def check_known(node: OnnxNode) -> None:
    """Refuse an operator that can neither run nor be folded."""
    if node.op != "Shape" and node.op not in HANDLERS and node.op not in FOLDED:
        raise _unsupported(node)


def translate(b: Builder, node: OnnxNode) -> None:
    """Fold one node of the file into constants, or turn it into nodes of the graph."""
    given = [name for name in node.inputs if name]
    if node.op == "Shape":
        shape = b.shape(given[0]) if given else None
        if shape is None:
            constant = b.constant(node, 0)
            shape = [] if constant is None else list(constant.value.shape)
        shape = shape[node.integer("start", 0) : node.integer("end", len(shape))]
        b.constants[node.outputs[0]] = Constant(np.array(shape, np.int64))
    elif node.op in FOLDED and all(name in b.constants for name in given):
        b.constants[node.outputs[0]] = fold(node, [b.constants.get(name) for name in node.inputs])
    elif node.op in HANDLERS:
        for name in node.outputs[1:]:
            if name in b.uses:
                raise node.fail(f"its further output {name!r} is used; supported: the first")
        HANDLERS[node.op](b, node)
    else:
        raise _unsupported(node)


def _identity(b: Builder, node: OnnxNode) -> None:
    if node.op == "Dropout" and len(node.inputs) > 2:
        training = b.constant(node, 2)
        if training is not None and bool(training.value.any()):
            raise node.fail("it is in training mode; supported: models exported for inference")
    b.alias(node)


def _convolution(b: Builder, node: OnnxNode) -> None:
    x, kernel = b.image(node), b.weights(node, 1)
    if kernel.value.ndim != 4 or 0 in kernel.value.shape:
        raise node.fail(f"its weights have shape {list(kernel.value.shape)}; supported: 4 sizes")
    out, depth, *size = kernel.value.shape
    groups = node.integer("group", 1)
    if groups < 1 or out % groups or depth * groups != x.shape[2]:
        raise node.fail(
            f"weights {list(kernel.value.shape)} in {groups} groups do not fit "
            f"{x.shape[2]} channels"
        )
    if node.integers("kernel_shape", size, 1) != size:
        raise node.fail(f"kernel_shape differs from the weights' {size}")
    dilations = node.integers("dilations", (1, 1), 1)
    reach = [(size[i] - 1) * dilations[i] + 1 for i in (0, 1)]
    stride, pads = _geometry(node, x.shape, reach)
    check_size(node, (out, x.shape[2], *reach))
    height, width = _sizes(node, x.shape, reach, stride, pads)
    check_size(node, (out, height, width))
    steps = None if kernel.steps is None else _per_output(node, kernel.steps, 0)
    dense = np.zeros((*reach, x.shape[2], out), np.float32)
    for group in range(groups):
        rows = slice(group * out // groups, (group + 1) * out // groups)
        columns = slice(group * depth, (group + 1) * depth)
        part = kernel.value[rows].transpose(2, 3, 1, 0)
        dense[:: dilations[0], :: dilations[1], columns, rows] = part
    result = Convolution(
        name=node.name,
        op=node.op,
        inputs=(x.name,),
        output=node.outputs[0],
        weights=dense,
        bias=b.vector(node, 2, out),
        stride=stride,
        pads=pads,
        steps=steps,
    )
    b.emit(result)


def _gemm(b: Builder, node: OnnxNode) -> None:
    x, weights = b.activation(node), b.weights(node, 1)
    if node.integer("transA", 0):
        raise node.fail("transA = 1 is not supported; supported: transA = 0")
    value, steps = weights.value, weights.steps
    if node.integer("transB", 0):
        value, steps = value.T, None if steps is None else steps.T
    if len(x.shape) != 1 or value.ndim != 2 or value.shape[0] != x.shape[0] or 0 in value.shape:
        raise node.fail(
            f"it multiplies shape {b.shape(node.inputs[0])} by {list(value.shape)}; supported: "
            "[batch, features] by [features, outputs]"
        )
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    if not (math.isfinite(alpha) and alpha and math.isfinite(beta)):
        raise node.fail(f"alpha = {alpha} and beta = {beta}; supported: finite, alpha not 0")
    if steps is not None:
        steps = (_per_output(node, steps, 1) * abs(alpha)).astype(np.float32)
    result = Product(
        name=node.name,
        op=node.op,
        inputs=(x.name,),
        output=node.outputs[0],
        weights=np.ascontiguousarray(value * np.float32(alpha)),
        bias=b.summand(node, 2, value.shape[1]) * np.float32(beta),
        steps=steps,
    )
    b.emit(result)


def _per_output(node: OnnxNode, steps: np.ndarray, axis: int) -> np.ndarray:
    """Return the scale of each output channel, the same for all its weights."""
    rows = np.moveaxis(steps, axis, 0).reshape(steps.shape[axis], -1)
    if (rows != rows[:, :1]).any():
        raise node.fail("its weights have several scales per output; supported: one per output")
    return rows[:, 0].astype(np.float32)


def _clip(b: Builder, node: OnnxNode) -> None:
    x = b.activation(node)
    low, high = 0.0, math.inf
    if node.op == "Clip":
        bounds = [node.number("min", -math.inf), node.number("max", math.inf)]
        for i in (0, 1):
            constant = b.constant(node, i + 1)
            if constant is not None:
                if constant.value.size != 1:
                    raise node.fail(f"bound of shape {list(constant.value.shape)}; supported: one")
                bounds[i] = float(constant.value.reshape(-1)[0])
        low = -math.inf if bounds[0] <= -LARGEST else bounds[0]
        high = math.inf if bounds[1] >= LARGEST else bounds[1]
        if not low <= high:
            raise node.fail(f"its bounds are {low} and {high}; supported: min up to max")
    result = Clip(
        name=node.name, op=node.op, inputs=(x.name,), output=node.outputs[0], low=low, high=high
    )
    b.emit(result)


def _max_pool(b: Builder, node: OnnxNode) -> None:
    x = b.image(node)
    if node.integers("dilations", (1, 1), 1) != [1, 1]:
        raise node.fail("dilations are not supported; supported: dilations 1")
    kernel = _kernel(node)
    stride, pads = _geometry(node, x.shape, kernel)
    if node.integer("ceil_mode", 0):
        pads = _ceil(node, x.shape, kernel, stride, pads)
    _check_pool_pads(node, kernel, pads)
    if x.shape[:2] == _sizes(node, x.shape, kernel, stride, pads) == (1, 1):
        b.alias(node)
        return
    result = MaxPool(
        name=node.name,
        op=node.op,
        inputs=(x.name,),
        output=node.outputs[0],
        kernel=(kernel[0], kernel[1]),
        stride=stride,
        pads=pads,
    )
    b.emit(result)


def _average_pool(b: Builder, node: OnnxNode) -> None:
    x = b.image(node)
    if node.op == "GlobalAveragePool":
        kernel, stride, pads = list(x.shape[:2]), (1, 1), (0, 0, 0, 0)
    else:
        if node.integers("dilations", (1, 1), 1) != [1, 1]:
            raise node.fail("dilations are not supported; supported: dilations 1")
        kernel = _kernel(node)
        stride, pads = _geometry(node, x.shape, kernel)
        if node.integer("ceil_mode", 0) and _ceil(node, x.shape, kernel, stride, pads) != pads:
            raise node.fail("ceil_mode adds partial windows here; supported: ceil_mode = 0")
        if any(pads) and not node.integer("count_include_pad", 0):
            raise node.fail(
                "windows over padding have divisors of their own; supported: pads 0 or "
                "count_include_pad = 1"
            )
        _check_pool_pads(node, kernel, pads)
    if x.shape[:2] == _sizes(node, x.shape, kernel, stride, pads) == (1, 1):
        _scale(b, node, 1 / math.prod(kernel))
        return
    result = AveragePool(
        name=node.name,
        op=node.op,
        inputs=(x.name,),
        output=node.outputs[0],
        kernel=(kernel[0], kernel[1]),
        stride=stride,
        pads=pads,
    )
    b.emit(result)


def _scale(b: Builder, node: OnnxNode, factor: float) -> None:
    """Multiply the input by a factor."""
    if factor == 1:
        b.alias(node)
        return
    channels = b.activation(node).shape[-1]
    b.scale_and_shift(node, np.full(channels, factor, np.float32), np.zeros(channels, np.float32))


def _kernel(node: OnnxNode) -> list[int]:
    if "kernel_shape" not in node.attributes:
        raise node.fail("kernel_shape is missing")
    return node.integers("kernel_shape", (1, 1), 1)


def _geometry(
    node: OnnxNode, shape: tuple[int, ...], kernel: list[int]
) -> tuple[tuple[int, int], Pads]:
    """Return stride and pads (top, left, bottom, right), automatic padding worked out."""
    stride = node.integers("strides", (1, 1), 1)
    auto = node.text("auto_pad", "NOTSET")
    if auto == "NOTSET":
        pads = node.integers("pads", (0, 0, 0, 0), 0)
        return (stride[0], stride[1]), (pads[0], pads[1], pads[2], pads[3])
    if auto not in ("VALID", "SAME_UPPER", "SAME_LOWER"):
        raise node.fail(
            f"auto_pad {auto!r}; supported: 'NOTSET', 'VALID', 'SAME_UPPER', 'SAME_LOWER'"
        )
    before, after = [0, 0], [0, 0]
    if auto != "VALID":
        for i in (0, 1):
            outputs = -(-shape[i] // stride[i])
            total = (outputs - 1) * stride[i] + kernel[i] - shape[i]
            if total < -1:
                raise node.fail(
                    f"strides {stride} leave out inputs between kernels {kernel}, where auto_pad "
                    f"{auto!r} is understood in several ways; supported: pads instead of auto_pad"
                )
            total = max(0, total)
            small, large = total // 2, total - total // 2
            before[i], after[i] = (small, large) if auto == "SAME_UPPER" else (large, small)
    return (stride[0], stride[1]), (before[0], before[1], after[0], after[1])


def _sizes(
    node: OnnxNode,
    shape: tuple[int, ...],
    kernel: list[int],
    stride: tuple[int, int],
    pads: Pads,
) -> tuple[int, int]:
    """Return height and width of the output."""
    check_size(node, (shape[2], shape[0] + pads[0] + pads[2], shape[1] + pads[1] + pads[3]))
    spans = [shape[i] + pads[i] + pads[i + 2] - kernel[i] for i in (0, 1)]
    if min(spans) < 0:
        raise node.fail(
            f"its kernel {kernel} is larger than the padded input {list(shape[:2])}, pads "
            f"{list(pads)}"
        )
    return spans[0] // stride[0] + 1, spans[1] // stride[1] + 1


def _ceil(
    node: OnnxNode,
    shape: tuple[int, ...],
    kernel: list[int],
    stride: tuple[int, int],
    pads: Pads,
) -> Pads:
    """Return pads that make whole the last windows that ceil_mode counts.

    A window that would start beyond the input and its leading padding is not counted.
    """
    _sizes(node, shape, kernel, stride, pads)
    after = []
    for i in (0, 1):
        size, before = shape[i], pads[i]
        outputs = -(-(size + before + pads[i + 2] - kernel[i]) // stride[i]) + 1
        if (outputs - 1) * stride[i] >= size + before:
            outputs -= 1
        after.append(max(pads[i + 2], (outputs - 1) * stride[i] + kernel[i] - size - before))
    return pads[0], pads[1], after[0], after[1]


def _check_pool_pads(node: OnnxNode, kernel: list[int], pads: Pads) -> None:
    if any(pads[i] >= kernel[i % 2] for i in range(4)):
        raise node.fail(f"pads {list(pads)} must be smaller than the kernel {kernel}")


def _arithmetic(b: Builder, node: OnnxNode) -> None:
    """Add, Sub, Mul, Div with a constant per channel; Add of two activations."""
    if b.is_activation(node, 0) and b.is_activation(node, 1):
        _add(b, node)
        return
    swapped = not b.is_activation(node, 0)
    x, constant = b.activation(node, int(swapped)), b.weights(node, 1 - int(swapped))
    values = _per_channel(node, constant.value, model_shape("nchw", x.shape))
    ones, zeros = np.ones_like(values), np.zeros_like(values)
    if node.op == "Add":
        gain, shift = ones, values
    elif node.op == "Mul":
        gain, shift = values, zeros
    elif node.op == "Sub":
        gain, shift = (-ones, values) if swapped else (ones, -values)
    elif swapped or not values.all():
        raise node.fail("it divides by a computed value or by 0; supported: by a constant")
    else:
        gain, shift = 1 / values, zeros
    flipped = OnnxNode(
        name=node.name,
        op=node.op,
        inputs=(node.inputs[int(swapped)],),
        outputs=node.outputs,
        attributes={},
    )
    b.scale_and_shift(flipped, gain, shift)


def _add(b: Builder, node: OnnxNode) -> None:
    x, y = b.activation(node, 0), b.activation(node, 1)
    if node.op != "Add":
        raise node.fail("both inputs are computed; supported: one computed and one constant")
    if x.shape != y.shape:
        shapes = [list(model_shape("nchw", tensor.shape)) for tensor in (x, y)]
        raise node.fail(
            f"its inputs have shapes {shapes[0]} and {shapes[1]} without the batch; supported: "
            "equal shapes"
        )
    b.emit(Add(name=node.name, op="Add", inputs=(x.name, y.name), output=node.outputs[0]))


def _sum(b: Builder, node: OnnxNode) -> None:
    if len(node.inputs) != 2:
        raise node.fail(f"it has {len(node.inputs)} inputs; supported: two")
    _arithmetic(b, dataclasses.replace(node, op="Add"))


def _per_channel(node: OnnxNode, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a broadcast constant as one value per channel."""
    trailing = len(shape) - 1
    if values.size == 1 and values.ndim <= len(shape) + 1:
        return np.full(shape[0], values.reshape(-1)[0], np.float32)
    sizes = (1, *([1] * len(shape)), *values.shape)[-(len(shape) + 1) :]
    if values.ndim > len(shape) + 1 or sizes != (1, shape[0], *([1] * trailing)):
        raise node.fail(
            f"its constant has shape {list(values.shape)}; supported: one value, or one per "
            f"channel, shape {[1, shape[0], *([1] * trailing)]}"
        )
    return values.reshape(-1).astype(np.float32)


def _batch_norm(b: Builder, node: OnnxNode) -> None:
    if node.integer("training_mode", 0):
        raise node.fail("it is in training mode; supported: models exported for inference")
    size = b.activation(node).shape[-1]
    scale, shift, mean, variance = (
        b.vector(node, index, size, default).astype(np.float64)
        for index, default in ((1, 1.0), (2, 0.0), (3, 0.0), (4, 1.0))
    )
    total = variance + node.number("epsilon", 1e-5)
    if not (total > 0).all():
        raise node.fail("variance plus epsilon is not positive")
    gain = scale / np.sqrt(total)
    b.scale_and_shift(node, gain.astype(np.float32), (shift - mean * gain).astype(np.float32))


def _flatten(b: Builder, node: OnnxNode) -> None:
    b.activation(node)
    shape = b.shape(node.inputs[0]) or [0]
    axis = node.integer("axis", 1)
    if axis not in (1, 1 - len(shape)):
        raise node.fail(f"axis = {axis} is not supported; supported: axis = 1")
    b.reshape(node, [shape[0], math.prod(shape[1:])])


def _reshape(b: Builder, node: OnnxNode) -> None:
    """Reshape, Squeeze, Unsqueeze of an activation: by what they do to an index array."""
    b.activation(node)
    stand_in = np.zeros(b.shape(node.inputs[0]) or [0], np.bool_)
    others = [b.constant(node, index) for index in range(1, len(node.inputs))]
    result = fold(node, [Constant(stand_in), *others])
    b.reshape(node, list(result.value.shape))


def _quantisation(b: Builder, node: OnnxNode) -> Quantisation:
    scale = b.constant(node, 1)
    zero = b.constant(node, 2)
    if node.integer("block_size", 0) or scale is None or scale.value.size != 1:
        raise node.fail("it has a scale per channel; supported: one scale for an activation")
    value = float(scale.value.reshape(-1)[0])
    if not (math.isfinite(value) and value > 0):
        raise node.fail(f"its scale is {value}; supported: positive numbers")
    kind = np.zeros(1, np.uint8) if zero is None else zero.value
    if zero is None and node.integer("output_dtype", 0):
        raise node.fail("output_dtype without a zero point is not supported; supported: both")
    if kind.size != 1:
        raise node.fail("it has a zero point per channel; supported: one for an activation")
    low, high = integer_range(node, kind.dtype)
    return Quantisation(scale=value, zero_point=int(kind.reshape(-1)[0]), low=low, high=high)


def _encode(b: Builder, node: OnnxNode) -> None:
    b.encode(node, _quantisation(b, node))


def _decode(b: Builder, node: OnnxNode) -> None:
    b.decode(node, _quantisation(b, node))


HANDLERS: dict[str, Callable[[Builder, OnnxNode], None]] = {
    "Add": _arithmetic,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Conv": _convolution,
    "DequantizeLinear": _decode,
    "Div": _arithmetic,
    "Dropout": _identity,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _average_pool,
    "Identity": _identity,
    "MatMul": _gemm,
    "MaxPool": _max_pool,
    "Mul": _arithmetic,
    "QuantizeLinear": _encode,
    "Relu": _clip,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Sub": _arithmetic,
    "Sum": _sum,
    "Unsqueeze": _reshape,
}
"""What runs on the engine, by operator."""
