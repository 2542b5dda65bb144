"""Folding of constants in an ONNX graph: NumPy rules for the operators that exporters leave."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from ...model.graph import ModelError

__all__ = ["FOLDED", "MAX_ELEMENTS", "Constant", "OnnxNode", "fold", "integer_range"]

MAX_ELEMENTS = 1 << 27
"""Most elements of any one tensor; larger shapes are refused before memory is asked for."""


@dataclass(frozen=True)
class Constant:
    """A constant; ``steps`` is the scale of each element where it came from integers."""

    value: NDArray
    steps: NDArray | None = None


@dataclass(frozen=True, kw_only=True)
class OnnxNode:
    """One node of the file as plain Python values.

    Attributes
    ----------
    name, op : str
        Layer and operator, for messages.
    inputs, outputs : tuple of str
        Names of values, empty for those left out.
    attributes : mapping
        Plain numbers, strings, lists and arrays.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, object] = field(repr=False)

    def fail(self, reason: str) -> ModelError:
        """Return the error that names this layer, its operator and ``reason``."""
        return ModelError(f"layer {self.name!r}, operator {self.op}: {reason}")

    def integer(self, name: str, default: int) -> int:
        """Return an integer attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.fail(f"attribute {name} must be an integer, not {value!r}")
        return value

    def number(self, name: str, default: float) -> float:
        """Return a real attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise self.fail(f"attribute {name} must be a number, not {value!r}")
        return float(value)

    def integers(self, name: str, default: Sequence[int], low: int) -> list[int]:
        """Return a list of as many integers as ``default`` has, each at least ``low``."""
        value = self.attributes.get(name, list(default))
        if not (
            isinstance(value, list)
            and len(value) == len(default)
            and all(isinstance(v, int) and low <= v < MAX_ELEMENTS for v in value)
        ):
            raise self.fail(
                f"attribute {name} must be {len(default)} integers of at least {low}, not {value!r}"
            )
        return value

    def text(self, name: str, default: str) -> str:
        """Return a string attribute."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, str) else repr(value)


def integer_range(node: OnnxNode, dtype: np.dtype) -> tuple[int, int]:
    """Return the range of a quantised type, or refuse a type that is no integer of 2 to 32 bits."""
    name = dtype.name
    digits = name.removeprefix("u").removeprefix("int")
    if name not in (f"int{digits}", f"uint{digits}") or not digits.isdigit() or int(digits) > 32:
        raise node.fail(f"quantised type {name} is not supported; supported: integers of 4 to 16")
    bits = int(digits)
    return (0, (1 << bits) - 1) if name[0] == "u" else (-(1 << bits - 1), (1 << bits - 1) - 1)


def fold(node: OnnxNode, inputs: Sequence[Constant | None]) -> Constant:
    """Return the output of a node of `FOLDED` whose inputs are all constant."""
    values = [None if constant is None else constant.value for constant in inputs]
    steps = [None if constant is None else constant.steps for constant in inputs]
    try:
        with np.errstate(all="ignore"):
            if node.op == "DequantizeLinear":
                return _dequantise(node, values)
            result = np.asarray(FOLDED[node.op](node, values))
            kept = None
            if node.op in ("Transpose", "Identity") and steps[0] is not None:
                kept = np.asarray(FOLDED[node.op](node, steps))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, ModelError):
            raise
        raise node.fail(f"its constants cannot be computed ({error})") from None
    return Constant(result, kept)


def check_size(node: OnnxNode, shape: Sequence[int]) -> None:
    """Refuse a shape with too many elements."""
    if math.prod(int(size) for size in shape) > MAX_ELEMENTS:
        raise node.fail(
            f"shape {[int(size) for size in shape]} has more than {MAX_ELEMENTS:,} elements"
        )


Values = list[NDArray | None]


def _axes(node: OnnxNode, values: Values) -> list[int] | None:
    """Return the axes of Squeeze or Unsqueeze: an input since opset 13, an attribute before."""
    if len(values) > 1 and values[1] is not None:
        return [int(axis) for axis in np.atleast_1d(values[1])]
    axes = node.attributes.get("axes")
    return [int(axis) for axis in axes] if isinstance(axes, list) else None


def _given(values: Values, index: int) -> NDArray:
    value = values[index] if index < len(values) else None
    if value is None:
        raise ValueError(f"input {index} is missing")
    return value


def _constant(node: OnnxNode, values: Values) -> NDArray:
    for name, value in node.attributes.items():
        if name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
            dtype = {"f": np.float32, "i": np.int64}.get(name.removeprefix("value_")[0])
            return np.asarray(value, dtype if name != "value" else None)
    raise ValueError("supported: constants of numbers")


def _constant_of_shape(node: OnnxNode, values: Values) -> NDArray:
    shape = [int(size) for size in _given(values, 0)]
    check_size(node, shape)
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32)))
    return np.full(shape, value.reshape(-1)[0])


def _cast(node: OnnxNode, values: Values) -> NDArray:
    return _given(values, 0).astype(helper.tensor_dtype_to_np_dtype(node.integer("to", 1)))


def _gather(node: OnnxNode, values: Values) -> NDArray:
    data, indices, axis = _given(values, 0), _given(values, 1), node.integer("axis", 0)
    check_size(node, (data.size // max(1, data.shape[axis]), indices.size))
    return np.take(data, indices.astype(np.int64), axis)


def _unsqueeze(node: OnnxNode, values: Values) -> NDArray:
    axes = _axes(node, values)
    if axes is None:
        raise ValueError("axes are missing")
    return np.expand_dims(_given(values, 0), tuple(axes))


def _squeeze(node: OnnxNode, values: Values) -> NDArray:
    axes = _axes(node, values)
    return np.squeeze(_given(values, 0), None if axes is None else tuple(axes))


def _reshape(node: OnnxNode, values: Values) -> NDArray:
    data, target = _given(values, 0), [int(size) for size in _given(values, 1)]
    if not node.integer("allowzero", 0):
        target = [data.shape[i] if size == 0 else size for i, size in enumerate(target)]
    return data.reshape(target)


def _flatten(node: OnnxNode, values: Values) -> NDArray:
    data = _given(values, 0)
    axis = node.integer("axis", 1)
    axis += data.ndim if axis < 0 else 0
    return data.reshape(math.prod(data.shape[:axis]), -1)


def _transpose(node: OnnxNode, values: Values) -> NDArray:
    order = node.attributes.get("perm")
    return np.transpose(_given(values, 0), order if isinstance(order, list) else None)


def _concat(node: OnnxNode, values: Values) -> NDArray:
    return np.concatenate([_given(values, i) for i in range(len(values))], node.integer("axis", 0))


def _binary(function: Callable) -> Callable[[OnnxNode, Values], NDArray]:
    def apply(node: OnnxNode, values: Values) -> NDArray:
        a, b = _given(values, 0), _given(values, 1)
        check_size(node, np.broadcast_shapes(a.shape, b.shape))
        if function is np.divide and a.dtype.kind in "iu":
            return np.trunc(np.divide(a, b)).astype(a.dtype)
        return function(a, b)

    return apply


def quantise(node: OnnxNode, values: Values) -> NDArray:
    """Return QuantizeLinear of a constant, as 64-bit integers are too wide its own type."""
    data, scale = _given(values, 0), _given(values, 1)
    zero = values[2] if len(values) > 2 and values[2] is not None else np.zeros(1, np.uint8)
    low, high = integer_range(node, zero.dtype)
    q = np.rint(data / _per_axis(node, data, scale)) + _per_axis(node, data, zero).astype(np.int64)
    return np.clip(q, low, high).astype(zero.dtype)


def _dequantise(node: OnnxNode, values: Values) -> Constant:
    data, scale = _given(values, 0), _given(values, 1)
    integer_range(node, data.dtype)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise node.fail("a scale is zero, negative or not finite")
    steps = _per_axis(node, data, scale).astype(np.float32)
    q = data.astype(np.int64)
    if len(values) > 2 and values[2] is not None:
        q = q - _per_axis(node, data, values[2]).astype(np.int64)
    return Constant((q * steps).astype(np.float32), steps)


def _per_axis(node: OnnxNode, data: NDArray, values: NDArray) -> NDArray:
    """Return a scale or zero point, per tensor or per axis, with as many dimensions as data."""
    if node.integer("block_size", 0):
        raise node.fail("blocked quantisation is not supported; supported: per tensor or channel")
    if values.size == 1:
        return values.reshape([1] * data.ndim)
    axis = node.integer("axis", 1)
    if not -data.ndim <= axis < data.ndim or values.shape != (data.shape[axis],):
        raise node.fail(
            f"scale or zero point of shape {list(values.shape)} does not match axis {axis} of "
            f"shape {list(data.shape)}"
        )
    shape = [1] * data.ndim
    shape[axis] = -1
    return values.reshape(shape)


FOLDED: dict[str, Callable[[OnnxNode, Values], NDArray]] = {
    "Add": _binary(np.add),
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DequantizeLinear": lambda node, values: _dequantise(node, values).value,
    "Div": _binary(np.divide),
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": lambda node, values: _given(values, 0),
    "Mul": _binary(np.multiply),
    "QuantizeLinear": quantise,
    "Reshape": _reshape,
    "Sqrt": lambda node, values: np.sqrt(_given(values, 0)),
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operators that are computed where all their inputs are constant."""
