"""Constants that are folded: the same values, shapes and types as onnxruntime gives."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tilewright.sw.importers.onnx.folding import FOLDED, Constant, OnnxNode, fold
from tilewright.sw.model.graph import ModelError

RNG = np.random.default_rng(1)
A = RNG.normal(size=(2, 3, 4)).astype(np.float32)
POSITIVE = np.abs(A) + np.float32(0.5)
INTS = np.array([[7, -7, 5], [-5, 9, 2]])
BYTES = RNG.integers(-128, 128, (2, 3, 4)).astype(np.int8)


def listed(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def folded(op: str, inputs: list, attributes: dict) -> Constant:
    node = OnnxNode(
        name="folded", op=op, inputs=tuple(f"i{i}" for i in range(len(inputs))), outputs=("y",),
        attributes=attributes,
    )  # fmt: skip
    return fold(node, [None if value is None else Constant(np.asarray(value)) for value in inputs])


def onnxruntime_says(op: str, inputs: list, attributes: dict, opset: int) -> np.ndarray:
    named = {f"i{i}": np.asarray(value) for i, value in enumerate(inputs) if value is not None}
    names = [f"i{i}" if value is not None else "" for i, value in enumerate(inputs)]
    for name, value in attributes.items():
        if isinstance(value, np.ndarray):
            attributes = attributes | {name: numpy_helper.from_array(value)}
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], **attributes)], "constants", [],
        [helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)],
        [numpy_helper.from_array(value, name) for name, value in named.items()],
    )  # fmt: skip
    graph.output[0].ClearField("type")
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    proto.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    content = onnx.shape_inference.infer_shapes(proto).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {})[0]


CASES = [
    ("Add", [A, POSITIVE[:1]], {}), ("Sub", [A, POSITIVE]), ("Mul", [A, np.float32(3)], {}),
    ("Div", [A, POSITIVE], {}), ("Div", [INTS, listed(2, 2, -2)], {}), ("Sqrt", [POSITIVE], {}),
    ("Cast", [A * 3], {"to": TensorProto.INT64}), ("Cast", [INTS], {"to": TensorProto.FLOAT}),
    ("Concat", [A, A[:, :1]], {"axis": 1}), ("Concat", [A, A], {"axis": -1}),
    ("Concat", [INTS, INTS, INTS], {"axis": 0}),
    ("Constant", [], {"value_int": 3}), ("Constant", [], {"value_ints": [3, 4]}),
    ("Constant", [], {"value_float": 0.5}), ("Constant", [], {"value_floats": [0.5, 2.0]}),
    ("Constant", [], {"value": INTS}),
    ("ConstantOfShape", [listed(2, 3)], {}),
    ("ConstantOfShape", [listed(2)], {"value": listed(7)}),
    ("Flatten", [A], {}), ("Flatten", [A], {"axis": 2}), ("Flatten", [A], {"axis": -1}),
    ("Flatten", [A], {"axis": 0}), ("Flatten", [A], {"axis": 3}),
    ("Gather", [A, np.array([[1, 0]])], {}), ("Gather", [A, np.array(-1)], {"axis": 1}),
    ("Gather", [INTS, listed(2, 0)], {"axis": -1}),
    ("Identity", [A], {}),
    ("Reshape", [A, listed(0, -1)], {}), ("Reshape", [A, listed(4, 0, 2)], {}),
    ("Reshape", [np.zeros((0, 3), np.float32), listed(3, 0)], {"allowzero": 1}),
    ("Squeeze", [A[:, :1], listed(1)], {}), ("Squeeze", [A[:1, :1]], {}),
    ("Squeeze", [A[:1, :1], listed(-2)], {}),
    ("Transpose", [A], {}), ("Transpose", [A], {"perm": [1, 2, 0]}),
    ("Unsqueeze", [A, listed(0)], {}), ("Unsqueeze", [A, listed(1, 4)], {}),
    ("Unsqueeze", [A, listed(-1)], {}),
    ("QuantizeLinear", [A, np.float32(0.01)], {}),
    ("QuantizeLinear", [A, np.float32(0.02), np.int8(-3)], {}),
    ("QuantizeLinear", [A, np.array([0.01, 0.02, 0.05], np.float32)], {}),
    ("QuantizeLinear", [A, POSITIVE[0, 0] / 50, np.array([0, 10, 128, 255], np.uint8)],
     {"axis": -1}),
    ("DequantizeLinear", [BYTES, np.float32(0.01)], {}),
    ("DequantizeLinear", [BYTES, np.float32(0.01), np.int8(-5)], {}),
    ("DequantizeLinear", [BYTES, POSITIVE[:, 0, 0], np.array([1, -2], np.int8)], {"axis": 0}),
    ("DequantizeLinear", [BYTES, POSITIVE[0, 0], np.zeros(4, np.int8)], {"axis": -1}),
    ("DequantizeLinear", [BYTES.astype(np.int32) * 1000, POSITIVE[0, :, 0]], {}),
]  # fmt: skip
OLD = [
    ("Squeeze", [A[:, :1]], {"axes": [1]}), ("Unsqueeze", [A], {"axes": [0, 2]}),
    ("Clip", [A], {"min": -0.5}),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CASES) + 2))
def test_folding_equals_onnxruntime(case):
    op, inputs, *rest = (CASES + OLD)[case]
    attributes = rest[0] if rest else {}
    result = folded(op, inputs, attributes)
    expected = onnxruntime_says(op, inputs, attributes, 17 if case < len(CASES) else 11)
    assert result.value.shape == expected.shape
    assert result.value.dtype == expected.dtype
    np.testing.assert_allclose(result.value, expected, rtol=1e-6)


def test_every_rule_has_a_case():
    assert set(FOLDED) == {op for op, *_ in CASES}


def test_scales_stay_with_integers_that_move():
    steps = np.array([0.1, 0.2], np.float32).reshape(2, 1, 1)
    constant = folded("DequantizeLinear", [BYTES, steps.reshape(2)], {"axis": 0})
    np.testing.assert_array_equal(constant.steps, steps)
    node = OnnxNode(name="n", op="Transpose", inputs=("a",), outputs=("y",), attributes={})
    np.testing.assert_array_equal(fold(node, [constant]).steps, steps.T)
    node = OnnxNode(name="n", op="Identity", inputs=("a",), outputs=("y",), attributes={})
    np.testing.assert_array_equal(fold(node, [constant]).steps, steps)
    node = OnnxNode(name="n", op="Sqrt", inputs=("a",), outputs=("y",), attributes={})
    assert fold(node, [constant]).steps is None


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "message"),
    [
        ("Add", [A], {}, "input 1 is missing"),
        ("Unsqueeze", [A], {}, "axes are missing"),
        ("Gather", [A, listed(9)], {}, "out of bounds"),
        ("Reshape", [A, listed(5, 5)], {}, "cannot be computed"),
        ("Concat", [A, INTS], {"axis": 0}, "cannot be computed"),
        ("Cast", [A], {"to": 99}, "cannot be computed"),
        ("Constant", [], {"value_string": "a"}, "constants of numbers"),
        ("QuantizeLinear", [A, POSITIVE[0, 0]], {}, "does not match axis 1 of shape"),
        ("QuantizeLinear", [A, POSITIVE[0, :, 0]], {"axis": 5}, "does not match axis 5"),
        ("QuantizeLinear", [A, POSITIVE[0, :, 0]], {"axis": -4}, "does not match axis -4"),
        ("QuantizeLinear", [A, POSITIVE], {"block_size": 2}, "blocked quantisation"),
        ("DequantizeLinear", [BYTES, np.float32(0)], {}, "zero, negative or not finite"),
        ("DequantizeLinear", [BYTES, np.float32(np.inf)], {}, "zero, negative or not finite"),
        ("DequantizeLinear", [A, np.float32(1)], {}, "quantised type float32"),
        ("ConstantOfShape", [listed(1 << 20, 1 << 20)], {}, "more than .* elements"),
        ("Gather", [A, np.zeros(1 << 25, np.int8)], {}, "more than .* elements"),
    ],
)
def test_constants_that_cannot_be_computed_are_told(op, inputs, attributes, message):
    with pytest.raises(ModelError, match=f"^layer 'folded', operator {op}: .*{message}") as told:
        folded(op, inputs, attributes)
    assert str(told.value).count("layer 'folded'") == 1
