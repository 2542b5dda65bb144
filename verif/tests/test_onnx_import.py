"""Import of ONNX models: same values as onnxruntime, and one clear sentence for all else."""

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tilewright.sw.importers.onnx.onnx_file import load, supported
from tilewright.sw.model.evaluation import evaluate
from tilewright.sw.model.graph import Graph, ModelError
from tilewright.sw.model.operators import Convolution
from tilewright.verif.onnx_reference import load_bytes, load_model, model, reference

LENET = Path(__file__).parents[2] / "examples" / "lenet5" / "lenet5.onnx"


def values(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def final(graph: Graph, x: np.ndarray) -> np.ndarray:
    return dict(evaluate(graph, x))[graph.output]


def same_as_onnxruntime(proto: onnx.ModelProto, x: np.ndarray) -> Graph:
    graph = load_model(proto)
    expected = reference(proto, x)[0]
    result = final(graph, x)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)
    return graph


def attempt(content: bytes) -> tuple[Graph | None, str]:
    try:
        return load_bytes(content), ""
    except ModelError as error:
        return None, str(error)


def refused(proto: onnx.ModelProto, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_model(proto)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_convolutions_and_pools_of_every_geometry(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    draw = data.draw
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels, out = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    h, w = draw(st.integers(5, 9)), draw(st.integers(5, 9))
    kernel = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    attributes = {
        "kernel_shape": kernel,
        "strides": [draw(st.integers(1, 3)), draw(st.integers(1, 3))],
        "dilations": [draw(st.integers(1, 2)), draw(st.integers(1, 2))],
        "group": groups,
    }
    padding = draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none"]))
    if padding == "pads":
        attributes["pads"] = [draw(st.integers(0, 2)) for _ in range(4)]
    elif padding != "none":
        attributes["auto_pad"] = padding
        if padding != "VALID":
            attributes["dilations"] = [1, 1]  # onnxruntime and the standard differ there
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", **attributes)]
    pool = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    kind = draw(st.sampled_from(["MaxPool", "AveragePool", "GlobalAveragePool", "none"]))
    pooling = {"kernel_shape": pool, "strides": [draw(st.integers(1, 3)) for _ in range(2)]}
    pooling["pads"] = [draw(st.integers(0, pool[i % 2] - 1)) for i in range(4)]
    if kind == "MaxPool":
        pooling["ceil_mode"] = draw(st.integers(0, 1))
    else:
        pooling["count_include_pad"] = 1
    if kind == "GlobalAveragePool":
        pooling = {}
    if kind != "none":
        nodes.append(helper.make_node(kind, ["c"], ["y"], name="pool", **pooling))
    constants = {
        "w": values(rng, out, channels // groups, *kernel),
        "b": values(rng, out),
    }
    last = "c" if kind == "none" else "y"
    proto = model(nodes, constants, [1, channels, h, w], output=last)
    x = values(rng, 2, channels, h, w)
    graph, reason = attempt(proto.SerializeToString())
    if graph is None:
        assert "larger than the padded input" in reason or "leave out inputs" in reason
        return
    expected = reference(proto, x)[0]
    result = final(graph, x)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_fully_connected_forms():
    rng = np.random.default_rng(1)
    x = values(rng, 3, 7)
    w, c = values(rng, 5, 7), values(rng, 5)
    gemm = helper.make_node("Gemm", ["x", "w", "c"], ["y"], transB=1, alpha=0.5, beta=2.0)
    same_as_onnxruntime(model([gemm], {"w": w, "c": c}, [1, 7]), x)
    row = helper.make_node("Gemm", ["x", "w", "c"], ["y"])
    same_as_onnxruntime(model([row], {"w": w.T.copy(), "c": c[None]}, [1, 7]), x)
    product = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["c", "m"], ["y"]),
    ]
    graph = same_as_onnxruntime(model(product, {"w": w.T.copy(), "c": c}, [1, 7]), x)
    assert [node.op for node in graph.nodes] == ["MatMul+Add"]


def batch_norm(x: str, y: str, size: int, rng: np.random.Generator) -> tuple:
    constants = {f"{y}_{name}": values(rng, size) for name in ("s", "b", "m")}
    constants[f"{y}_v"] = np.abs(values(rng, size)) + 0.1
    return helper.make_node("BatchNormalization", [x, *constants], [y], epsilon=1e-3), constants


def test_batch_normalisation_goes_into_the_layer_before_where_it_can():
    rng = np.random.default_rng(2)
    conv = helper.make_node("Conv", ["x", "w"], ["c"])
    norm, constants = batch_norm("c", "y", 4, rng)
    constants["w"] = values(rng, 4, 3, 3, 3)
    x = values(rng, 2, 3, 6, 6)
    graph = same_as_onnxruntime(model([conv, norm], constants, [1, 3, 6, 6]), x)
    assert [node.op for node in graph.nodes] == ["Conv+BatchNormalization"]
    shared = [conv, norm, helper.make_node("Add", ["c", "y"], ["z"])]
    graph = same_as_onnxruntime(model(shared, constants, [1, 3, 6, 6], output="z"), x)
    assert [node.op for node in graph.nodes] == ["Conv", "BatchNormalization", "Add"]
    alone, constants = batch_norm("x", "y", 3, rng)
    graph = same_as_onnxruntime(model([alone], constants, [1, 3, 6, 6]), x)
    assert isinstance(graph.nodes[0], Convolution)


@pytest.mark.parametrize(
    ("op", "swapped"),
    [("Add", False), ("Sub", False), ("Sub", True), ("Mul", True), ("Div", False)],
)
@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1), (1, 3, 1, 1)])
def test_arithmetic_with_constants(op, swapped, shape):
    rng = np.random.default_rng(3)
    names = ["k", "x"] if swapped else ["x", "k"]
    constant = np.asarray(rng.uniform(0.5, 2, shape), np.float32)
    proto = model([helper.make_node(op, names, ["y"])], {"k": constant}, [1, 3, 4, 5])
    same_as_onnxruntime(proto, values(rng, 2, 3, 4, 5))


def test_clips_of_both_generations():
    x = values(np.random.default_rng(4), 5, 6) * 4
    new = helper.make_node("Clip", ["x", "", "high"], ["y"])
    same_as_onnxruntime(model([new], {"high": np.array(1.5, np.float32)}, [1, 6]), x)
    old = helper.make_node("Clip", ["x"], ["y"], min=-1.0, max=6.0)
    same_as_onnxruntime(model([old], {}, [1, 6], opset=9), x)


def test_real_topologies_are_taken_up_to_their_softmax():
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    proto = onnx.load(folder / "light_resnet50.onnx")
    assert proto.graph.node[-1].op_type == "Softmax"
    with pytest.raises(ModelError, match="Softmax: .* the largest logit stays the largest"):
        load_model(proto)
    proto.graph.output[0].name = proto.graph.node[-1].input[0]
    graph = load_model(proto)
    kinds = [type(node).__name__ for node in graph.nodes]
    assert (kinds.count("Convolution"), kinds.count("Add"), kinds.count("Product")) == (53, 16, 1)
    assert graph.tensors[graph.output].shape == (1000,)


def test_identity_and_dropout_vanish_and_dead_layers_are_not_read():
    nodes = [
        helper.make_node("Identity", ["x"], ["i"]),
        helper.make_node("Softmax", ["i"], ["unused"]),
        helper.make_node("Dropout", ["i"], ["d"]),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    graph = same_as_onnxruntime(model(nodes, {}, [1, 4]), values(np.random.default_rng(5), 3, 4))
    assert [node.op for node in graph.nodes] == ["Relu"]


def test_shape_arithmetic_of_exporters_is_folded():
    rng = np.random.default_rng(6)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Shape", ["c"], ["shape"]),
        helper.make_node("Constant", [], ["zero"], value_int=0),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "axis"], ["batch1"]),
        helper.make_node("Concat", ["batch1", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["c", "target"], ["f"]),
        helper.make_node("Transpose", ["v"], ["vt"]),
        helper.make_node("MatMul", ["f", "vt"], ["y"]),
    ]
    constants = {
        "w": values(rng, 2, 3, 3, 3),
        "v": values(rng, 5, 18),
        "axis": np.array([0]),
        "rest": np.array([-1]),
    }
    graph = same_as_onnxruntime(model(nodes, constants, [1, 3, 5, 5]), values(rng, 2, 3, 5, 5))
    assert [node.op for node in graph.nodes] == ["Conv", "Reshape", "MatMul"]


def test_squeeze_after_global_pool_and_a_vector_as_image():
    rng = np.random.default_rng(7)
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["image"]),
        helper.make_node("Conv", ["image", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Squeeze", ["g", "axes"], ["y"]),
    ]
    constants = {
        "shape": np.array([0, 1, 6, 5]),
        "w": values(rng, 4, 1, 3, 3),
        "axes": np.array([2, 3]),
    }
    same_as_onnxruntime(model(nodes, constants, [1, 30]), values(rng, 2, 30))


def test_lenet_agrees_with_onnxruntime():
    x = np.random.default_rng(8).uniform(0, 1, (5, 1, 28, 28)).astype(np.float32)
    expected = reference(onnx.load(LENET), x)[0]
    np.testing.assert_allclose(final(load(LENET), x), expected, atol=1e-4)


def node_model(op: str, inputs: list[str], shape: list[int], constants=None, **attributes):
    node = helper.make_node(op, inputs, ["y"], name="layer7", **attributes)
    return model([node], constants or {}, shape)


W = np.ones((2, 3, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (node_model("Softmax", ["x"], [1, 4]), ("'layer7'", "Softmax", "largest logit")),
        (node_model("LeakyRelu", ["x"], [1, 4]), ("'layer7'", "LeakyRelu", "Relu")),
        (node_model("Erf", ["x"], [1, 4]), ("'layer7'", "Erf", "supported: Add, ")),
        (node_model("Transpose", ["x"], [1, 3, 4, 4]), ("Transpose", "NCHW")),
        (node_model("Relu", ["x"], ["batch", 4]), ("'x'", "dynamic dimension 'batch'", "fixed")),
        (node_model("Relu", ["x"], [None, 4]), ("'x'", "dynamic dimension at position 0")),
        (node_model("Relu", ["x"], [1, 2, 3]), ("[1, 2, 3]", "channels, height, width")),
        (node_model("Relu", ["x"], [1, 1 << 20, 1 << 20]), ("supported",)),
        (node_model("Relu", ["x"], [1, 3, 1 << 20, 1 << 20]), ("elements",)),
        (node_model("Conv", ["x", "w"], [1, 4, 8, 8], {"w": W}), ("'layer7'", "4 channels")),
        (
            node_model("Conv", ["x", "w"], [1, 3, 8, 8], {"w": W}, auto_pad="SOME"),
            ("auto_pad 'SOME'",),
        ),
        (
            node_model("Conv", ["x", "w"], [1, 3, 8, 8], {"w": W}, pads=[1 << 40, 0, 0, 0]),
            ("'layer7'", "pads"),
        ),
        (
            node_model("Conv", ["x", "w"], [1, 3, 8, 8], {"w": W}, pads=[1 << 25, 0, 0, 0]),
            ("'layer7'", "elements"),
        ),
        (
            node_model("Conv", ["x", "w"], [1, 3, 8, 8], {"w": W}, dilations=[1 << 20, 1 << 20]),
            ("'layer7'",),
        ),
        (node_model("Conv", ["x", "w"], [1, 3, 2, 8], {"w": W}), ("larger than",)),
        (node_model("Conv", ["x", "w"], [1, 3, 8, 8], {"w": W * np.nan}), ("'w'", "finite")),
        (
            node_model("AveragePool", ["x"], [1, 3, 8, 8], kernel_shape=[3, 3], pads=[1] * 4),
            ("AveragePool", "count_include_pad = 1"),
        ),
        (
            node_model(
                "AveragePool", ["x"], [1, 3, 8, 8], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1
            ),
            ("ceil_mode",),
        ),
        (
            node_model("MaxPool", ["x"], [1, 3, 8, 8], kernel_shape=[2, 2], dilations=[2, 2]),
            ("MaxPool", "dilations"),
        ),
        (
            node_model("MaxPool", ["x"], [1, 3, 8, 8], kernel_shape=[2, 2], pads=[2, 0, 0, 0]),
            ("MaxPool", "smaller than the kernel"),
        ),
        (node_model("Flatten", ["x"], [1, 3, 8, 8], axis=2), ("axis = 2", "axis = 1")),
        (
            node_model("Reshape", ["x", "s"], [1, 3, 8, 8], {"s": np.array([1, 8, 8, 3])}),
            ("Reshape", "flattening"),
        ),
        (
            node_model("Reshape", ["x", "s"], [1, 3, 8, 8], {"s": np.array([7, 7])}),
            ("Reshape", "cannot"),
        ),
        (node_model("Gemm", ["x", "x"], [1, 4]), ("Gemm", "'x'", "supported: a constant")),
        (
            node_model("Gemm", ["x", "w"], [1, 4], {"w": np.ones((5, 2), np.float32)}),
            ("Gemm", "[5, 2]"),
        ),
        (
            node_model("Add", ["x", "k"], [1, 3, 4, 4], {"k": np.ones(4, np.float32)}),
            ("Add", "per channel"),
        ),
        (
            node_model("Div", ["x", "k"], [1, 3, 4, 4], {"k": np.zeros((), np.float32)}),
            ("Div",),
        ),
        (node_model("Sum", ["x", "x", "x"], [1, 4]), ("Sum", "3 inputs")),
        (node_model("Mul", ["x", "x"], [1, 4]), ("Mul", "both inputs are computed")),
        (
            node_model(
                "Clip",
                ["x", "a", "b"],
                [1, 4],
                {"a": np.float32([2])[0:1].reshape(()), "b": np.float32([1]).reshape(())},
            ),
            ("Clip", "2.0 and 1.0"),
        ),
        (
            node_model(
                "BatchNormalization",
                ["x", *"abcd"],
                [1, 4],
                dict.fromkeys("abcd", -np.ones(4, np.float32)),
            ),
            ("BatchNormalization", "variance"),
        ),
        (
            node_model("QuantizeLinear", ["x", "s"], [1, 4], {"s": np.float32(1).reshape(())}),
            ("'y'", "layer"),
        ),
        (node_model("Identity", ["x"], [1, 4]), ("does not depend on the input through",)),
        (
            node_model("Reshape", ["x", "s"], [1, 4], {"s": np.array([1 << 30, 1 << 30])}),
            ("Reshape",),
        ),
    ],
)
def test_what_cannot_run_is_refused_by_name(proto, words):
    refused(proto, *words)


def test_huge_constants_are_refused_before_they_are_made():
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["w"], name="weights"),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    proto = model(nodes, {"size": np.array([1 << 20, 1 << 20])}, [1, 4])
    refused(proto, "'weights'", "ConstantOfShape", "elements")


def test_structure_that_is_not_ours_is_refused():
    relu = helper.make_node("Relu", ["x"], ["y"])
    other = model([relu], {}, [1, 4], opset=6)
    refused(other, "operator set 6")
    foreign = helper.make_node("Relu", ["x"], ["y"], name="layer7", domain="my.own")
    refused(model([foreign], {}, [1, 4]), "'layer7'", "'my.own'")
    two = model([relu], {}, [1, 4])
    two.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, None))
    refused(two, "2 outputs")
    add = model([helper.make_node("Add", ["x", "z"], ["y"])], {}, [1, 4])
    add.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 4]))
    refused(add, "2 inputs (x, z)")
    integers = model([relu], {}, [1, 4])
    integers.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    refused(integers, "float32")
    loop = model([helper.make_node("Add", ["x", "y"], ["y"])], {}, [1, 4])
    refused(loop, "wait for each other's results: 'y'")


@pytest.mark.parametrize("named", [True, False])
def test_external_data_is_refused(named):
    proto = node_model("Conv", ["x", "w"], [1, 3, 8, 8], {"w": W})
    tensor = proto.graph.initializer[0]
    if named:
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "/etc/passwd"
    else:
        tensor.data_location = TensorProto.EXTERNAL
    refused(proto, "'w'", "another file")


def test_weights_shorter_than_their_shape_are_refused():
    proto = node_model("Conv", ["x", "w"], [1, 3, 8, 8], {"w": W})
    proto.graph.initializer[0].raw_data = b"1234"
    refused(proto)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(ModelError, match="cannot read"):
        load(tmp_path / "none.onnx")
    for content in (b"", b"hello world, this is no model", bytes(1000)):
        with pytest.raises(ModelError, match="truncated"):
            load_bytes(content)


def test_every_truncation_is_refused():
    content = LENET.read_bytes()
    rng = random.Random(1)
    lengths = {*range(0, 600, 7), *(rng.randrange(len(content)) for _ in range(60))}
    for length in sorted(lengths | {len(content) - 1, len(content) - 6}):
        with pytest.raises(ModelError) as caught:
            load_bytes(content[:length])
        assert "\n" not in str(caught.value)


def test_damaged_files_give_a_model_or_a_sentence():
    rng = random.Random(2)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["y"], transB=1),
    ]
    constants = {"w": np.ones((1, 1, 2, 2), np.float32), "v": np.ones((2, 4), np.float32)}
    content = model(nodes, constants, [1, 1, 4, 4]).SerializeToString()
    assert load_bytes(content).nodes
    outcomes = set()
    for _ in range(1500):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        graph, reason = attempt(bytes(damaged))
        assert "\n" not in reason
        outcomes.add("refused" if graph is None else "loaded")
    assert outcomes == {"loaded", "refused"}


def qdq(name: str, x: str, y: str, scale: float, zero: int, kind=np.uint8) -> tuple:
    constants = {f"{name}_s": np.array(scale, np.float32), f"{name}_z": np.array(zero, kind)}
    nodes = [
        helper.make_node("QuantizeLinear", [x, *constants], [f"{name}_q"], name=f"{name}_Q"),
        helper.make_node("DequantizeLinear", [f"{name}_q", *constants], [y], name=f"{name}_D"),
    ]
    return nodes, constants


def test_qdq_scales_and_integers_are_kept():
    rng = np.random.default_rng(9)
    first, constants = qdq("in", "x", "xd", 0.05, 128)
    last, more = qdq("out", "c", "y", 0.1, 3)
    integers = rng.integers(-128, 128, (2, 3, 3, 3)).astype(np.int8)
    steps = np.array([0.01, 0.02], np.float32)
    constants |= more | {"wq": integers, "ws": steps, "wz": np.zeros(2, np.int8)}
    middle = [
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w"], axis=0),
        helper.make_node("Conv", ["xd", "w"], ["c"]),
    ]
    graph = load_model(model([*first, *middle, *last], constants, [1, 3, 6, 6]))
    assert [node.op for node in graph.nodes] == ["Conv"]
    conv = graph.nodes[0]
    assert isinstance(conv, Convolution)
    assert conv.steps is not None
    np.testing.assert_array_equal(conv.steps, steps)
    np.testing.assert_array_equal(np.rint(conv.weights / steps), integers.transpose(2, 3, 1, 0))
    said = graph.tensors["x"].quantisation
    assert said is not None
    assert (said.zero_point, said.low, said.high) == (128, 0, 255)
    assert said.scale == pytest.approx(0.05)
    assert graph.tensors[graph.output].quantisation is not None


def test_qdq_that_does_not_hang_together_is_refused():
    nodes, constants = qdq("q", "x", "y", 0.1, 0)
    constants |= {"other": np.array(0.2, np.float32)}
    nodes[1].input[1] = "other"
    nodes.append(helper.make_node("Relu", ["y"], ["r"]))
    refused(model(nodes, constants, [1, 4], output="r"), "DequantizeLinear", "differs")
    nodes, constants = qdq("q", "x", "y", 0.1, 0)
    pool = helper.make_node("MaxPool", ["q_q"], ["y"], name="pool", kernel_shape=[2, 2])
    refused(model([nodes[0], pool], constants, [1, 1, 4, 4]), "'pool'", "DequantizeLinear")
    nodes, constants = qdq("q", "x", "y", -1.0, 0)
    refused(
        model([*nodes, helper.make_node("Relu", ["y"], ["r"])], constants, [1, 4], output="r"),
        "scale",
    )
    nodes, constants = qdq("q", "x", "y", 0.1, 0)
    constants["q_s"] = np.ones(4, np.float32)
    constants["q_z"] = np.zeros(4, np.uint8)
    refused(
        model([*nodes, helper.make_node("Relu", ["y"], ["r"])], constants, [1, 4], output="r"),
        "per channel",
    )


def test_supported_operators_are_those_promised():
    promised = (
        "Conv Gemm MatMul Relu Clip MaxPool AveragePool GlobalAveragePool Flatten Reshape Add "
        "BatchNormalization QuantizeLinear DequantizeLinear"
    )
    assert set(promised.split()) <= set(supported())
    assert numpy_helper.to_array(numpy_helper.from_array(W)).shape == W.shape
