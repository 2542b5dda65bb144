"""ONNX at the edge: last forms that are taken, as onnxruntime has them, and first that are not."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tilewright.sw.importers.onnx.folding import Constant, OnnxNode, fold
from tilewright.sw.model.evaluation import evaluate
from tilewright.sw.model.graph import ModelError
from tilewright.sw.model.operators import Clip
from tilewright.verif.onnx_reference import load_model, model
from tilewright.verif.tests.test_onnx_import import (
    node_model,
    qdq,
    refused,
    same_as_onnxruntime,
)

IMAGE = [1, 3, 4, 5]
X = np.random.default_rng(2).normal(size=(3, *IMAGE[1:])).astype(np.float32)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


RELU = helper.make_node("Relu", ["x"], ["y"], name="layer7")


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_the_oldest_and_the_newest_operator_set(domain):
    newest = onnx.defs.onnx_opset_version()
    for opset in (7, newest):
        proto = model([RELU], {}, [1, 4], opset=opset)
        proto.opset_import[0].domain = domain
        assert load_model(proto).nodes[0].op == "Relu"
    for opset in (6, newest + 1):
        proto = model([RELU], {}, [1, 4], opset=opset)
        proto.opset_import[0].domain = domain
        refused(proto, f"operator set {opset}; supported: 7 to {newest}")


def test_operators_of_another_domain_are_other_operators():
    relu = helper.make_node("Relu", ["x"], ["y"], name="layer7", domain="com.microsoft")
    refused(model([relu], {}, [1, 4]), "'layer7'", "domain 'com.microsoft'")


def test_what_is_no_model_by_the_standard_is_refused():
    bogus = helper.make_node("Relu", ["x"], ["y"], name="layer7", slope=0.1)
    refused(model([bogus], {}, [1, 4]), "is not a valid ONNX model", "slope")
    none = model([RELU], {}, [1, 4])
    del none.opset_import[:]
    refused(none, "holds no network")


@pytest.mark.parametrize("sizes", [[-1, 4], [1 << 14, 1 << 14]])
def test_constants_have_sizes_that_can_be_held(sizes):
    proto = node_model("MatMul", ["x", "w"], [1, 4], {"w": ones(4, 2)})
    proto.graph.initializer[0].dims[:] = sizes
    refused(proto, f"'w' has shape {sizes}; supported: up to 134,217,728 elements")


@pytest.mark.parametrize("name", ["x", "w", "m"])
def test_a_value_has_one_maker(name):
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"]),
        helper.make_node("Relu", ["x"], [name]),
    ]  # fmt: skip
    refused(model(nodes, {"w": number(2)}, [1, 4]), f"value {name!r} is made twice")


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_of_the_input_are_fixed(size):
    refused(model([RELU], {}, [1, size]), "dynamic dimension at position 1")


def test_the_input_has_a_shape_and_is_float():
    proto = model([RELU], {}, [1, 4])
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    refused(proto, "'x' has no shape")
    for kind in (TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.UINT8):
        proto = model([RELU], {}, [1, 4])
        proto.graph.input[0].type.tensor_type.elem_type = kind
        refused(proto, "'x' is not a float32 tensor")


def conv(weights: np.ndarray, **attributes):
    return node_model("Conv", ["x", "w"], IMAGE, {"w": weights}, **attributes)


def gemm(weights: np.ndarray, **attributes):
    return node_model("Gemm", ["x", "w"], [1, 4], {"w": weights}, **attributes)


def pool(op: str = "MaxPool", **attributes):
    return node_model(op, ["x"], IMAGE, **attributes)


def norm(variance: float, **attributes):
    constants = {name: 1 + np.arange(3, dtype=np.float32) for name in "abcd"}
    constants["d"] = np.full(3, variance, np.float32)
    return node_model("BatchNormalization", ["x", *"abcd"], IMAGE, constants, **attributes)


def constant(op: str, value: np.ndarray, swapped: bool = False):
    return node_model(op, ["k", "x"] if swapped else ["x", "k"], IMAGE, {"k": value})


LEAST = np.finfo(np.float32).min


def clip(low: np.ndarray, high: np.ndarray):
    return node_model("Clip", ["x", "a", "b"], IMAGE, {"a": low, "b": high})


@pytest.mark.parametrize(
    ("taken", "not_taken", "words"),
    [
        (conv(ones(2, 3, 2, 2), strides=[1, 2]), conv(ones(2, 3, 2, 2), strides=[0, 2]), "strides"),
        (conv(ones(2, 3, 2, 2), pads=[0, 1, 0, 0]), conv(ones(2, 3, 2, 2), pads=[0, 1]), "pads"),
        (conv(ones(2, 3, 2, 2)), conv(ones(2, 3, 2, 2), pads=[0, -1, 0, 0]), "pads"),
        (conv(ones(2, 3, 2, 2), pads=[0] * 4), conv(ones(2, 3, 2, 2), pads=[0] * 6), "pads"),
        (conv(ones(3, 1, 2, 2), group=3), conv(ones(4, 1, 2, 2), group=3), "in 3 groups"),
        (conv(ones(3, 1, 2, 2), group=3), conv(ones(3, 1, 2, 2), group=1), "3 channels"),
        (conv(ones(3, 1, 2, 2), group=3), conv(ones(3, 3, 2, 2), group=0), "0 groups"),
        (conv(ones(2, 3, 4, 5)), conv(ones(2, 3, 4, 6)), "larger than"),
        (conv(ones(2, 3, 2, 1), dilations=[3, 1]), conv(ones(2, 3, 2, 1), dilations=[4, 1]),
         "larger than"),
        (conv(ones(2, 3, 2, 3), kernel_shape=[2, 3]), conv(ones(2, 3, 2, 3), kernel_shape=[3, 2]),
         "kernel_shape"),
        (conv(ones(2, 3, 3, 1), strides=[4, 1], auto_pad="SAME_UPPER"),
         conv(ones(2, 3, 2, 1), strides=[4, 1], auto_pad="SAME_UPPER"), "leave out inputs"),
        (conv(ones(1, 3, 1, 1)), conv(ones(0, 3, 1, 1)), "weights have shape [0, 3, 1, 1]"),
        (gemm(ones(4, 2), alpha=-0.5), gemm(ones(4, 2), alpha=0.0), "alpha = 0.0"),
        (gemm(ones(4, 2)), gemm(ones(4, 2), beta=float("inf")), "beta = inf"),
        (gemm(ones(2, 4), transB=1), gemm(ones(4, 2), transA=1), "transA = 1"),
        (clip(number(0.5), number(0.5)), clip(number(0.5), number(0.4)), "0.5 and 0.4"),
        (clip(number(-1), number(1)), clip(number(np.nan), number(1)), "nan"),
        (clip(number(-1), ones(1)), clip(number(-1), ones(2)), "bound of shape [2]"),
        (pool(kernel_shape=[4, 5]), pool(kernel_shape=[5, 4]), "larger than"),
        (pool(kernel_shape=[3, 2], pads=[2, 1, 2, 1]), pool(kernel_shape=[3, 2], pads=[3, 1, 0, 0]),
         "smaller than the kernel"),
        *((pool(kernel_shape=[2, 3], pads=[1, 2, 1, 2]),
           pool(op, kernel_shape=[2, 3], pads=pads, **fields), "smaller than the kernel")
          for op, fields in (("MaxPool", {}), ("AveragePool", {"count_include_pad": 1}))
          for pads in ([2, 0, 0, 0], [0, 3, 0, 0], [0, 0, 2, 0], [0, 0, 0, 3])),
        (pool("AveragePool", kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1),
         pool("AveragePool", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1), "partial windows"),
        (pool("AveragePool", kernel_shape=[2, 3], pads=[1, 1, 0, 1], count_include_pad=1),
         pool("AveragePool", kernel_shape=[2, 3], pads=[0, 0, 0, 1]), "count_include_pad"),
        (constant("Div", ones(3, 1, 1) * 4), constant("Div", np.diag(ones(3))[0].reshape(3, 1, 1)),
         "by 0"),
        (constant("Sub", ones(3, 1, 1), True), constant("Div", ones(3, 1, 1), True), "divides by"),
        (constant("Add", ones(1, 3, 1, 1)), constant("Add", ones(1, 1, 3, 1, 1)), "per channel"),
        (constant("Mul", ones(1, 1, 1, 1)), constant("Mul", ones(1, 1, 1, 1, 1)), "one value"),
        (constant("Mul", ones(3, 1, 1)), constant("Mul", ones(1, 3, 1)), "per channel"),
        (norm(0.0, epsilon=1e-3), norm(0.0, epsilon=0.0), "variance plus epsilon"),
        (norm(1e-4), norm(-1e-4), "variance plus epsilon"),
        (node_model("Flatten", ["x"], IMAGE), node_model("Flatten", ["x"], IMAGE, axis=0),
         "axis = 0"),
        (node_model("Flatten", ["x"], IMAGE, axis=-3), node_model("Flatten", ["x"], IMAGE, axis=-4),
         "axis = -4"),
    ],
)  # fmt: skip
def test_the_last_form_that_is_taken_and_the_first_that_is_not(taken, not_taken, words):
    shape = [int(dim.dim_value) for dim in taken.graph.input[0].type.tensor_type.shape.dim]
    same_as_onnxruntime(taken, X if len(shape) == 4 else X[:, :, 0, :4].reshape(-1, 4))
    refused(not_taken, "'layer7'", words)


def test_bounds_that_stand_for_none():
    (node,) = load_model(clip(np.array(LEAST), np.array(-LEAST))).nodes
    assert isinstance(node, Clip)
    assert (node.low, node.high) == (-np.inf, np.inf)
    (node,) = load_model(clip(np.array(np.nextafter(LEAST, 0)), number(7))).nodes
    assert (node.low, node.high) == (np.nextafter(LEAST, np.float32(0)), 7)


@pytest.mark.parametrize("op", ["MaxPool", "Dropout"])
def test_further_outputs_may_not_be_read(op):
    fields = {"kernel_shape": [1, 1]} if op == "MaxPool" else {}
    first = helper.make_node(op, ["x"], ["m", "more"], name="layer7", **fields)
    relu = helper.make_node("Relu", ["m"], ["y"])
    assert load_model(model([first, relu], {}, IMAGE)).output == "y"
    cast = helper.make_node("Relu", ["more"], ["r"])
    both = helper.make_node("Add", ["y", "r"], ["s"])
    refused(model([first, relu, cast, both], {}, IMAGE, output="s"), "'layer7'", "output 'more'")


def test_what_others_read_too_is_not_folded():
    """A convolution whose result is scaled for one reader, and read as it is by one or two."""
    for readers in (1, 2):
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Mul", ["c", "k"], ["m"]),
            helper.make_node("Add", ["m", "c"], ["y"]),
        ]  # fmt: skip
        if readers == 2:
            nodes += [helper.make_node("Relu", ["c"], ["r"]),
                      helper.make_node("Add", ["y", "r"], ["z"])]  # fmt: skip
        weights = np.random.default_rng(1).normal(size=(3, 3, 2, 2)).astype(np.float32)
        proto = model(nodes, {"w": weights, "k": number(-2)}, IMAGE, output=nodes[-1].output[0])
        same_as_onnxruntime(proto, X)


def test_shapes_of_a_sum_are_equal():
    nodes = [
        helper.make_node("MaxPool", ["x"], ["m"], kernel_shape=[4, 5]),
        helper.make_node("Add", ["x", "m"], ["y"], name="layer7"),
    ]
    refused(model(nodes, {}, IMAGE), "'layer7'", "shapes [3, 4, 5] and [3, 1, 1]")


@pytest.mark.parametrize("fields", [{"alpha": -0.5}, {"alpha": 3.0, "transB": 1}, {"beta": -2.0}])
@pytest.mark.parametrize("gains", [None, [0.5, -2.0, 0.0]])
def test_integer_weights_keep_their_integers_through_factors(fields, gains):
    rng = np.random.default_rng(4)
    first, constants = qdq("in", "x", "xd", 0.05, 128)
    integers = rng.integers(-127, 128, (4, 3)).astype(np.int8)
    steps = np.array([0.01, 0.02, 0.03], np.float32)
    axis = 1 - fields.get("transB", 0)
    constants |= {
        "wq": integers if axis else np.ascontiguousarray(integers.T), "ws": steps,
        "wz": np.zeros(3, np.int8), "c": rng.normal(size=3).astype(np.float32),
    }  # fmt: skip
    nodes = [
        *first, helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], axis=axis),
        helper.make_node("Gemm", ["xd", "w", "c"], ["y"], **fields),
    ]  # fmt: skip
    if gains is not None:
        constants["k"] = np.array(gains, np.float32)
        nodes.append(helper.make_node("Mul", ["y", "k"], ["z"]))
    proto = model(nodes, constants, [1, 4], output=nodes[-1].output[0])
    (layer,) = same_as_onnxruntime(proto, rng.normal(size=(9, 4)).astype(np.float32)).nodes
    assert layer.steps is not None
    assert (layer.steps > 0).all()
    sign = np.sign(fields.get("alpha", 1.0)) * np.sign(gains if gains else 1.0)
    np.testing.assert_allclose(layer.weights / layer.steps, integers * sign, atol=1e-3)


@pytest.mark.parametrize("fault", ["scales along the sum", "one scale"])
def test_integer_weights_have_a_scale_per_output(fault):
    steps = np.array([0.01, 0.01, 0.02, 0.01] if fault == "one scale" else [1, 2, 3, 4], np.float32)
    constants = {"wq": np.ones((4, 3), np.int8), "ws": steps, "wz": np.zeros(4, np.int8)}
    nodes = [
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], axis=0),
        helper.make_node("MatMul", ["x", "w"], ["y"], name="layer7"),
    ]
    refused(model(nodes, constants, [1, 4]), "'layer7'", "several scales per output")


def test_stated_integers_stay_between_a_layer_and_a_factor():
    nodes, constants = qdq("mid", "c", "m", 0.1, 100)
    constants |= {"w": np.eye(4, dtype=np.float32), "k": number(3)}
    proto = model(
        [helper.make_node("MatMul", ["x", "w"], ["c"]), *nodes,
         helper.make_node("Mul", ["m", "k"], ["y"])], constants, [1, 4],
    )  # fmt: skip
    x = np.random.default_rng(6).normal(size=(20, 4)).astype(np.float32) * 9
    assert len(same_as_onnxruntime(proto, x).nodes) == 2


@pytest.mark.parametrize("part", ["zero point", "scale"])
def test_a_pair_says_the_same_at_both_ends(part):
    nodes, constants = qdq("q", "x", "y", 0.1, 7)
    constants |= {"other": np.array(8, np.uint8) if part == "zero point" else number(0.2)}
    nodes[1].input[2 if part == "zero point" else 1] = "other"
    nodes.append(helper.make_node("Relu", ["y"], ["r"]))
    refused(model(nodes, constants, [1, 4], output="r"), "scale or zero point differs")


def test_a_zero_point_that_is_not_given_is_an_unsigned_byte():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="layer7"),
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    proto = model(nodes, {"s": number(0.1)}, [1, 4])
    said = load_model(proto).tensors["x"].quantisation
    assert (said.zero_point, said.low, said.high) == (0, 0, 255)
    same_as_onnxruntime(proto, np.linspace(-30, 30, 400, dtype=np.float32).reshape(-1, 4))
    typed = helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="layer7",
                             output_dtype=TensorProto.INT8)  # fmt: skip
    refused(model([typed, *nodes[1:]], {"s": number(0.1)}, [1, 4], opset=21), "output_dtype")


def test_factors_are_finite_floats_of_a_size_that_can_be_held():
    refused(constant("Mul", np.array(2)), "'layer7'", "no finite numbers")
    refused(
        node_model("Mul", ["x", "k"], [1, 11586], {"k": number(2)}),
        "'layer7'",
        "[11586, 11586] has more than 134,217,728 elements",
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Mul", ["m", "k"], ["y"], name="layer7"),
    ]
    large = {"w": ones(4, 2) * 10, "k": number(1e38)}
    refused(model(nodes, large, [1, 4]), "'layer7'", "folding it gives weights that are no finite")


def test_activations_have_one_zero_point():
    nodes, constants = qdq("q", "x", "y", 0.1, 7)
    constants["q_z"] = np.full(4, 7, np.uint8)
    relu = helper.make_node("Relu", ["y"], ["r"])
    refused(model([*nodes, relu], constants, [1, 4], output="r"), "a zero point per channel")


def test_activations_are_not_quantised_in_blocks():
    nodes, constants = qdq("q", "x", "y", 0.1, 7)
    for node in nodes:
        node.attribute.append(helper.make_attribute("block_size", 2))
    relu = helper.make_node("Relu", ["y"], ["r"])
    proto = model([*nodes, relu], constants, [1, 4], output="r", opset=21)
    refused(proto, "'q_Q'", "a scale per channel")


@pytest.mark.parametrize("scale", [0.0, -0.1, np.inf, np.nan])
def test_scales_are_positive_and_finite(scale):
    nodes, constants = qdq("q", "x", "y", scale, 0)
    relu = helper.make_node("Relu", ["y"], ["r"])
    refused(model([*nodes, relu], constants, [1, 4], output="r"), "scale")
    weights = {"wq": np.ones((4, 2), np.int8), "ws": np.array([1, scale], np.float32)}
    nodes = [
        helper.make_node("DequantizeLinear", ["wq", "ws"], ["w"], name="layer7"),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    refused(model(nodes, weights, [1, 4]), "'layer7'", "zero, negative or not finite")


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [(np.int8, -128, 127), (np.uint8, 0, 255), (np.int16, -32768, 32767), (np.uint16, 0, 65535)],
)
def test_constants_round_to_even_and_saturate(kind, low, high):
    node = OnnxNode(name="q", op="QuantizeLinear", inputs=("a",), outputs=("y",), attributes={})
    values = np.array([0.5, 1.5, 2.5, 3.5, -0.5, -1.5, 7e4, -7e4], np.float32)
    found = fold(node, [Constant(values), Constant(number(1)), Constant(np.array(1, kind))]).value
    assert found.dtype == kind
    assert found.tolist() == [max(low, min(high, v)) for v in (1, 3, 3, 5, 1, -1, 70001, -69999)]


@pytest.mark.parametrize(
    ("op", "inputs"),
    [("Add", [np.zeros((1 << 14, 1)), np.zeros((1, 1 << 14))]), ("Mul", [np.zeros((1 << 27, 0)),
     np.zeros(1)])],
)  # fmt: skip
def test_sizes_of_constants_are_checked_first(op, inputs):
    node = OnnxNode(name="c", op=op, inputs=("a", "b"), outputs=("y",), attributes={})
    given = [Constant(value) for value in inputs]
    if inputs[0].size:
        with pytest.raises(ModelError, match="more than 134,217,728 elements"):
            fold(node, given)
    else:
        assert fold(node, given).value.size == 0


def test_few_rows_of_a_large_table_are_gathered():
    node = OnnxNode(name="g", op="Gather", inputs=("a", "b"), outputs=("y",), attributes={})
    given = [Constant(np.arange(1 << 20)), Constant(np.arange(1 << 8))]
    assert fold(node, given).value.tolist() == list(range(1 << 8))


def test_integers_of_64_bits_are_no_quantised_type():
    node = OnnxNode(name="d", op="DequantizeLinear", inputs=("a", "b"), outputs=("y",),
                    attributes={})  # fmt: skip
    with pytest.raises(ModelError, match="quantised type int64 is not supported"):
        fold(node, [Constant(np.arange(3)), Constant(number(1))])


def test_messages_are_printable():
    relu = helper.make_node("Re\x1b[31m\nlu", ["x"], ["y"], name="layer7")
    refused(model([relu], {}, [1, 4]), "'layer7', operator Re?[31m?lu: ")


def test_inputs_have_the_shape_that_the_model_says():
    graph = load_model(pool(kernel_shape=[2, 2]))
    for shape in ((2, 3, 4), (2, 3, 4, 6), (2, 4, 4, 5)):
        with pytest.raises(ModelError, match=r"must have shape \[n, 3, 4, 5\]"):
            list(evaluate(graph, np.zeros(shape)))
