"""TensorFlow Lite files: what is read, what is refused, and values equal to LiteRT's."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw import zoo
from tilewright.sw.importers.tflite.tflite_file import read_model
from tilewright.sw.importers.tflite.tflite_graph import build_graph, sparse_layers
from tilewright.sw.lower.layers import MappingError
from tilewright.sw.lower.network_plan import plan_network
from tilewright.sw.model.evaluation import evaluate
from tilewright.sw.model.graph import ModelError
from tilewright.sw.model.inference import run, trace
from tilewright.sw.quantise import Formats, quantise
from tilewright.verif import onnx_reference


class Writer:
    """Writes tables as dictionaries of field to value: a scalar ("i", 3), bytes, lists, tables."""

    def __init__(self, root, identifier=b"TFL3"):
        self.data = bytearray(struct.pack("<I4s", 0, identifier))
        struct.pack_into("<I", self.data, 0, self.table(root))

    def table(self, fields):
        self.data += bytes(-len(self.data) % 8)
        vtable, size = len(self.data), 4 + 2 * (max(fields, default=-1) + 1)
        self.data += struct.pack("<HH", size, 4 + 8 * len(fields)) + bytes(size - 4)
        self.data += bytes(-len(self.data) % 8)
        start = len(self.data)
        self.data += struct.pack("<i", start - vtable) + bytes(8 * len(fields))
        for slot, (field, value) in enumerate(fields.items()):
            at = start + 4 + 8 * slot
            struct.pack_into("<H", self.data, vtable + 4 + 2 * field, at - start)
            if isinstance(value, tuple):
                struct.pack_into(f"<{value[0]}", self.data, at, value[1])
                continue
            target = self.table(value) if isinstance(value, dict) else self.vector(value)
            struct.pack_into("<I", self.data, at, target - at)
        return start

    def vector(self, value):
        self.data += bytes(-len(self.data) % 8 + 4)
        at = len(self.data)
        if isinstance(value, list):
            self.data += struct.pack("<I", len(value)) + bytes(4 * len(value))
            for index, table in enumerate(value):
                place = at + 4 + 4 * index
                struct.pack_into("<I", self.data, place, self.table(table) - place)
        else:
            raw = value.tobytes() if isinstance(value, np.ndarray) else value
            count = len(value)
            self.data += struct.pack("<I", count) + raw
        return at


def ints(*values):
    return np.array(values, "<i4")


CODES = {
    "DEQUANTIZE": 6, "SOFTMAX": 25,
    "ADD": 0, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "MAX_POOL_2D": 17, "RELU": 19,
    "RELU_N1_TO_1": 20, "RELU6": 21, "RESHAPE": 22, "RESIZE_BILINEAR": 23, "PAD": 34,
    "DENSIFY": 124, "DEPTH_TO_SPACE": 5,
}  # fmt: skip
CONV = {0: ("b", 0), 1: ("i", 1), 2: ("i", 1)}


def model(tensors, operators, inputs=(0,), outputs=(-1,), kinds=()):
    """Return a file of tensors (name, shape, value or None, sparsity) and of operators.

    ``kinds`` gives tensors another type than float32: pairs of index and number of the schema.
    """
    buffers, rows = [{}], []
    for name, shape, value, *sparsity in tensors:
        row = {0: ints(*shape), 2: ("I", len(buffers) if value is not None else 0)}
        row |= {3: name.encode()}
        if value is not None:
            row[1] = ("b", 2 if value.dtype == np.int32 else 0)
            buffers.append({0: np.frombuffer(value.tobytes(), np.uint8)})
        if sparsity:
            row[6] = sparsity[0]
        rows.append(row)
    for index, number in kinds:
        rows[index][1] = ("b", number)
    codes = sorted({op for op, *_ in operators})
    nodes = [
        {0: ("I", codes.index(op)), 1: ints(*ins), 2: ints(*outs)} | ({4: opts[0]} if opts else {})
        for op, ins, outs, *opts in operators
    ]
    ends = ints(*(i % len(tensors) for i in outputs))
    graph = {0: rows, 1: ints(*inputs), 2: ends, 3: nodes}
    known = [{0: ("b", min(CODES[op], 127)), 3: ("i", CODES[op])} for op in codes]
    return bytes(Writer({0: ("I", 3), 1: known, 2: [graph], 4: buffers}).data)


def compressed(matrix):
    """Return the sparsity of [rows, 1, 1, columns], its last dimension compressed, and values."""
    rows, columns = np.nonzero(matrix)
    segments = np.searchsorted(rows, np.arange(len(matrix) + 1)).astype("<i4")
    dense = [{1: ("i", size)} for size in (len(matrix), 1, 1)]
    last = {
        0: ("b", 1), 2: ("B", 1), 3: {0: segments}, 4: ("B", 3), 5: {0: columns.astype(np.uint8)},
    }  # fmt: skip
    return {0: ints(0, 1, 2, 3), 2: [*dense, last]}, matrix[rows, columns].astype("<f4")


def sample(seed=0, zeros=0.6):
    """Return a network of a sparse 1 x 1 convolution, a padded one by channels, and a sum."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(4, 6)) * (rng.random((4, 6)) >= zeros)
    sparsity, values = compressed(matrix)
    depth = rng.normal(size=(1, 3, 3, 4)).astype("<f4")
    tensors = [
        ("x", (1, 5, 7, 6), None),
        ("stored", (4, 1, 1, 6), values, sparsity),
        ("weights", (4, 1, 1, 6), None),
        ("bias", (4,), rng.normal(size=4).astype("<f4")),
        ("a", (1, 5, 7, 4), None),
        ("widths", (4, 2), ints(0, 0, 1, 1, 1, 1, 0, 0)),
        ("padded", (1, 7, 9, 4), None),
        ("depth", (1, 3, 3, 4), depth),
        ("b", (1, 5, 7, 4), None),
        ("y", (1, 5, 7, 4), None),
    ]
    operators = [
        ("DENSIFY", (1,), (2,)),
        ("CONV_2D", (0, 2, 3), (4,), CONV),
        ("PAD", (4, 5), (6,)),
        ("DEPTHWISE_CONV_2D", (6, 7, 3), (8,), CONV | {0: ("b", 1), 4: ("b", 1)}),
        ("ADD", (4, 8), (9,)),
    ]
    return tensors, operators, matrix, depth


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_sparse_network_computes_what_it_says(seed, zeros):
    tensors, operators, matrix, depth = sample(seed, zeros)
    if not matrix.any():
        return
    found = read_model(model(tensors, operators))
    np.testing.assert_array_equal(found.tensors[1].value.reshape(4, 6), matrix.astype(np.float32))
    network = build_graph(found)
    assert sparse_layers(found) == ("a",)
    x = np.random.default_rng(seed).normal(size=(2, 5, 7, 6)).astype(np.float32)
    bias = tensors[3][2]
    a = np.einsum("nhwi,oi->nhwo", x, matrix.astype(np.float32)) + bias
    b = np.zeros_like(a)
    wide = np.pad(a, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for r in range(5):
        for c in range(7):
            b[:, r, c] = (wide[:, r : r + 3, c : c + 3] * depth).sum(axis=(1, 2)) + bias
    y = dict(evaluate(network, x))["y"]
    np.testing.assert_allclose(y, a + np.maximum(b, 0), atol=1e-4)


def test_equals_litert_on_the_face_detector():
    """Both twins, against the runtime that they were made for."""
    interpreters = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="needs ai-edge-litert, extra oracle"
    )
    x = np.random.default_rng(0).uniform(-1, 1, (1, 192, 192, 3)).astype(np.float32)
    for name, sparse in (("face_sparse", 46), ("face_dense", 0)):
        try:
            content = zoo.fetch(name)
        except zoo.ZooError as error:
            pytest.skip(str(error))
        assert len(sparse_layers(read_model(content))) == sparse
        network = build_graph(read_model(content))
        values = dict(evaluate(network, x))
        runtime = interpreters.Interpreter(model_content=content)
        runtime.allocate_tensors()
        runtime.set_tensor(runtime.get_input_details()[0]["index"], x)
        runtime.invoke()
        for output, details in zip(network.outputs, runtime.get_output_details(), strict=True):
            expected = runtime.get_tensor(details["index"])
            np.testing.assert_allclose(values[output], expected, atol=2e-3, rtol=1e-4)


BOUNDS = {1: (0, np.inf), 2: (-1, 1), 3: (0, 6)}
NAMES = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}
POOL = {1: ("i", 2), 2: ("i", 2), 3: ("i", 2), 4: ("i", 2)}


def one_operator(op, fused=0, behind=0, aligned=0):
    """Return a network of ``op`` on [1, 4, 6, 3], its activation fused or an operator behind it."""
    rng = np.random.default_rng(3)
    fields = {"CONV_2D": CONV, "DEPTHWISE_CONV_2D": CONV, "MAX_POOL_2D": POOL}
    place = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "MAX_POOL_2D": 5, "ADD": 0}
    more, shape = {
        "CONV_2D": ([(3, 1, 1, 3), rng.normal(size=(3, 1, 1, 3)).astype("<f4")], (1, 4, 6, 3)),
        "DEPTHWISE_CONV_2D": ([(1, 2, 2, 3), np.ones((1, 2, 2, 3), "<f4")], (1, 4, 6, 3)),
        "MAX_POOL_2D": (None, (1, 2, 3, 3)),
        "ADD": ([(1, 4, 6, 3), None], (1, 4, 6, 3)),
        "PAD": ([(4, 2), ints(0, 0, 1, 0, 0, 1, 0, 1).reshape(4, 2)], (1, 5, 7, 4)),
        "RESIZE_BILINEAR": ([(2,), ints(8, 12)], (1, 8, 12, 3)),
        "RESHAPE": (None, (1, 6, 4, 3)),
    }[op]
    inputs = (0, 0) if op == "ADD" else (0, 1) if more else (0,)
    options = fields.get(op, {}) | ({place[op]: ("b", fused)} if fused else {})
    options |= {2: ("B", aligned), 3: ("B", 1)} if op == "RESIZE_BILINEAR" else {}
    tensors = [("x", (1, 4, 6, 3), None), ("k", *(more or [(1,), None])), ("y", shape, None)]
    operators = [(op, inputs, (2,), options)]
    if behind:
        tensors.append(("z", shape, None))
        operators.append((NAMES[behind], (2,), (3,)))
    return build_graph(read_model(model(tensors, operators)))


@pytest.mark.parametrize("activation", BOUNDS)
@pytest.mark.parametrize(
    ("op", "fusible"),
    [
        ("CONV_2D", True), ("DEPTHWISE_CONV_2D", True), ("ADD", True), ("MAX_POOL_2D", True),
        ("PAD", False), ("RESIZE_BILINEAR", False), ("RESHAPE", False),
    ],
)  # fmt: skip
def test_activations_bound_floats_and_integers(op, fusible, activation):
    x = np.random.default_rng(1).normal(size=(5, 4, 6, 3)).astype(np.float32) * 5
    plain = one_operator(op)
    wanted = np.clip(dict(evaluate(plain, x))[plain.outputs[0]], *BOUNDS[activation])
    networks = [one_operator(op, behind=activation)]
    networks += [one_operator(op, fused=activation)] if fusible else []
    if op == "MAX_POOL_2D":
        largest = x.reshape(5, 2, 2, 3, 2, 3).max(axis=(2, 4))
        np.testing.assert_array_equal(wanted, np.clip(largest, *BOUNDS[activation]))
    for network in networks:
        (output,) = network.outputs
        np.testing.assert_allclose(dict(evaluate(network, x))[output], wanted, atol=1e-5)
        quantised = quantise(network, Formats(), x, calibration="minmax", layer_by_layer=True)
        values = dict(trace(quantised, quantised.quantise_input(x)))
        result = quantised.dequantise(values)[output]
        steps = max(tensor.scale for tensor in quantised.tensors.values())
        assert np.abs(result - wanted).max() < 4 * steps
        low, high = BOUNDS[activation]
        assert low - quantised.tensors[output].scale / 2 <= result.min()
        assert result.max() <= high + quantised.tensors[output].scale / 2


def both_formats():
    """Return a residual network of a TensorFlow Lite file and of an ONNX file, and inputs."""
    rng = np.random.default_rng(6)
    stem, kernel = rng.normal(size=(4, 3, 3, 3)), rng.normal(size=(4, 1, 1, 4))
    bias = rng.normal(size=4)
    tensors = [
        ("x", (1, 6, 8, 3), None), ("stem", stem.shape, stem.astype("<f4")),
        ("kernel", kernel.shape, kernel.astype("<f4")), ("bias", (4,), bias.astype("<f4")),
        ("a", (1, 6, 8, 4), None), ("b", (1, 6, 8, 4), None), ("c", (1, 6, 8, 4), None),
        ("y", (1, 3, 4, 4), None),
    ]  # fmt: skip
    relu = CONV | {3: ("b", 1)}
    operators = [
        ("CONV_2D", (0, 1, 3), (4,), relu), ("CONV_2D", (4, 2, 3), (5,), relu),
        ("ADD", (4, 5), (6,)), ("MAX_POOL_2D", (6,), (7,), POOL),
    ]  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "stem", "bias"], ["s"], name="a", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["s"], ["a"], name="ar"),
        helper.make_node("Conv", ["a", "kernel", "bias"], ["t"], name="b"),
        helper.make_node("Relu", ["t"], ["b"], name="br"),
        helper.make_node("Add", ["a", "b"], ["c"], name="c"),
        helper.make_node("MaxPool", ["c"], ["y"], name="y", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    arrays = {"stem": stem.transpose(0, 3, 1, 2), "kernel": kernel.transpose(0, 3, 1, 2)}
    arrays = {name: value.astype(np.float32) for name, value in (arrays | {"bias": bias}).items()}
    proto = onnx_reference.model(nodes, arrays, [1, 3, 6, 8])
    x = rng.normal(size=(20, 6, 8, 3)).astype(np.float32)
    return build_graph(read_model(model(tensors, operators))), onnx_reference.load_model(proto), x


def test_what_the_host_has_is_no_program():
    graph, _, x = both_formats()
    config = EngineConfig(datapath=SystolicConfig(rows=4, cols=4))
    network = quantise(graph, Formats.of(config), x, layer_by_layer=True)
    with pytest.raises(MappingError, match=r"^layer 'c' \(ADD\) is quantised for the host"):
        plan_network(config, network)


@pytest.mark.parametrize("layer_by_layer", [False, True])
def test_one_network_in_both_formats_is_one_graph(layer_by_layer):
    """The same operators, float values and integers, on the engine alone and with the host."""
    tflite, other, x = both_formats()
    first = x.transpose(0, 3, 1, 2)
    assert [type(node) for node in tflite.nodes] == [type(node) for node in other.nodes]
    ours, theirs = dict(evaluate(tflite, x)), dict(evaluate(other, first))
    for name in "abcy":
        np.testing.assert_allclose(ours[name], theirs[name].transpose(0, 2, 3, 1), atol=1e-5)
    a, b = (
        quantise(graph, Formats(), values, layer_by_layer=layer_by_layer, calibration="minmax")
        for graph, values in ((tflite, x), (other, first))
    )
    kinds = ["Q", "Q", "H", "H"] if layer_by_layer else ["Q", "Q", "Q"]
    for graph in (a, b):
        assert [type(layer).__name__[0] for layer in graph.layers] == kinds
    found = [dict(trace(q, q.quantise_input(v))) for q, v in ((a, x), (b, first))]
    real = a.dequantise(found[0])["y"]
    np.testing.assert_allclose(real, ours["y"], atol=4 * a.tensors["y"].scale)
    np.testing.assert_array_equal(found[0]["x"], found[1]["x"])
    assert np.abs(found[0]["y"] - found[1]["y"]).max() <= 1
    assert (found[0]["y"] == found[1]["y"]).mean() > 0.99


def test_operators_that_no_output_needs_are_left_out():
    """The one that the file has last is no output, whose exact sums would be asked for."""
    tensors, operators, *_ = sample(3, 0.0)
    x = np.random.default_rng(4).normal(size=(8, 5, 7, 6)).astype(np.float32)
    graph = build_graph(read_model(model(tensors, operators, outputs=(4,))))
    assert [node.op for node in graph.nodes] == ["CONV_2D"]
    q = quantise(graph, Formats(), x)
    assert q.layers[-1].raw
    result = q.dequantise_output(run(q, q.quantise_input(x)))
    np.testing.assert_allclose(result, dict(evaluate(graph, x))["a"], atol=0.2)


def test_several_outputs_have_their_scales():
    graph, _, x = both_formats()
    graph = replace(graph, nodes=graph.nodes[:3], outputs=("a", graph.nodes[2].output))
    q = quantise(graph, Formats(), x)
    found = q.dequantise(dict(trace(q, q.quantise_input(x))))
    for name, values in dict(evaluate(graph, x)).items():
        if name in graph.outputs:
            np.testing.assert_allclose(found[name], values, atol=0.03 * np.abs(values).max())
    with pytest.raises(ModelError, match=r"has several outputs \(a, .*\); supported: one"):
        q.dequantise_output(x)


def test_resizing_between_corners_is_refused():
    with pytest.raises(ModelError, match="RESIZE_BILINEAR: supported: twice the size, between"):
        one_operator("RESIZE_BILINEAR", aligned=1)


def test_kernels_larger_than_their_input_are_refused():
    tensors, operators, *_ = sample()
    operators[3] = ("DEPTHWISE_CONV_2D", (4, 7, 3), (8,), CONV | {0: ("b", 1)})
    tensors[0] = ("x", (1, 2, 7, 6), None)
    tensors[4] = ("a", (1, 2, 7, 4), None)
    with pytest.raises(ModelError, match="the kernel is larger than its input"):
        build_graph(read_model(model(tensors, [*operators[:2], operators[3]], outputs=(8,))))


def test_bounds_meet_those_of_the_operator_before():
    network = one_operator("MAX_POOL_2D", fused=2, behind=3)
    x = np.random.default_rng(1).normal(size=(5, 4, 6, 3)).astype(np.float32) * 5
    quantised = quantise(network, Formats(), x, calibration="minmax", layer_by_layer=True)
    (layer,) = quantised.layers
    assert layer.op == "MAX_POOL_2D+RELU_N1_TO_1+RELU6"
    output = quantised.tensors[layer.output]
    assert (layer.low, layer.high) == tuple(output.quantise(np.array([0.0, 1.0])))
    assert (layer.low, layer.high) == (-128, 127)


def test_activation_between_padding_and_convolution_stays():
    """Padding goes into the convolution, but not over a bound of its own."""
    tensors, operators, _, _ = sample(2, 0.0)
    tensors.append(("bounded", (1, 7, 9, 4), None))
    operators[3] = ("DEPTHWISE_CONV_2D", (10, 7, 3), (8,), operators[3][3])
    operators.insert(3, ("RELU", (6,), (10,)))
    x = np.random.default_rng(4).normal(size=(2, 5, 7, 6)).astype(np.float32)
    network = build_graph(read_model(model(tensors, operators, outputs=(9,))))
    values = dict(evaluate(network, x))
    plain = dict(evaluate(build_graph(read_model(model(*sample(2, 0.0)[:2]))), x))
    wide = np.pad(np.maximum(plain["a"], 0), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (1, 2))
    depth, bias = tensors[7][2][0], tensors[3][2]
    b = np.maximum(np.einsum("nhwcij,ijc->nhwc", windows, depth) + bias, 0)
    np.testing.assert_allclose(values["y"], plain["a"] + b, atol=1e-4)


def test_outputs_that_are_read_inside_keep_their_values():
    tensors, operators, *_ = sample(3, 0.0)
    x = np.random.default_rng(4).normal(size=(2, 5, 7, 6)).astype(np.float32)
    network = build_graph(read_model(model(tensors, operators, outputs=(6, 9))))
    values = dict(evaluate(network, x))
    wide = np.pad(values["a"], ((0, 0), (1, 1), (1, 1), (0, 0)))
    np.testing.assert_array_equal(values["padded"], wide)
    plain = dict(evaluate(build_graph(read_model(model(tensors, operators))), x))
    np.testing.assert_allclose(values["y"], plain["y"], atol=1e-5)
    operators[3] = ("RELU", (6,), (8,))
    tensors[8] = ("b", (1, 7, 9, 4), None)
    network = build_graph(read_model(model(tensors, operators[:4], outputs=(6, 8))))
    values = dict(evaluate(network, x))
    np.testing.assert_array_equal(values["b"], np.maximum(values["padded"], 0))


@pytest.mark.parametrize("index", [0, 4, 6, 8, 9])
@pytest.mark.parametrize(("number", "kind"), [(9, "i1"), (3, "u1"), (1, "f2"), (10, "type 10")])
def test_activations_that_are_no_floats_are_refused(index, number, kind):
    tensors, operators, *_ = sample()
    name = tensors[index][0]
    with pytest.raises(ModelError, match=f"tensor '{name}' holds numbers of type {kind}.*float32"):
        build_graph(read_model(model(tensors, operators, kinds=[(index, number)])))


def test_files_that_are_cut_are_refused():
    content = model(*sample()[:2])
    for length in range(0, len(content), 7):
        with pytest.raises(ModelError):
            build_graph(read_model(content[:length]))


@given(st.data())
def test_damaged_files_are_refused_or_run(data):
    """Any bytes may be wrong: the answer is one sentence or a network that computes."""
    content = bytearray(model(*sample()[:2]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.sampled_from([0, 1, 2, 4, 127, 128, 255]))
    try:
        network = build_graph(read_model(bytes(content)))
    except ModelError:
        return
    shape = network.tensors[network.input].shape
    if np.prod(shape) < 1 << 16:
        with np.errstate(all="ignore"):
            values = dict(evaluate(network, np.zeros((1, *shape))))
        assert set(network.outputs) <= set(values)


def changed(place, value):
    """Return the file of `sample` with one tensor or operator replaced."""
    tensors, operators, *_ = sample()
    kind, index = place
    (tensors if kind == "tensor" else operators)[index] = value
    return model(tensors, operators)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("operator", 4), ("RELU", (6,), (9,)), "the file says"),
        (("operator", 1), ("CONV_2D", (0, 2, 3), (4,), CONV | {1: ("i", 0)}), "strides of 1 to"),
        (("operator", 1), ("CONV_2D", (0, 2, 3), (4,), CONV | {3: ("b", 4)}), "activation 4"),
        (("operator", 1), ("CONV_2D", (0, 2, 3), (4,), CONV | {4: ("i", 2)}), "dilation"),
        (("operator", 1), ("CONV_2D", (0, 4, 3), (4,), CONV), "input 1 is no constant"),
        (("operator", 1), ("CONV_2D", (0,), (4,), CONV), "input 1 is no constant"),
        (("operator", 1), ("CONV_2D", (), (4,), CONV), "CONV_2D: has no input or no output"),
        (("operator", 1), ("CONV_2D", (-1, 2, 3), (4,), CONV), "has no input or no output"),
        (("operator", 1), ("CONV_2D", (0, 2, 3), (), CONV), "has no input or no output"),
        (
            ("operator", 1),
            ("CONV_2D", (0, 2, 3), (4,), CONV | {1: ("i", 0), 2: ("i", 0)}),
            "strides of 1 to",
        ),
        (("operator", 1), ("CONV_2D", (0, 2, 3), (4,), CONV | {5: ("i", 2)}), "dilation"),
        (("operator", 1), ("CONV_2D", (0, 2, 3), (4,), CONV | {1: ("i", 2)}), "equal strides"),
        (("operator", 1), ("CONV_2D", (0, 2, 3), (4,), CONV | {2: ("i", 2)}), "equal strides"),
        (
            ("operator", 1),
            ("CONV_2D", (0, 2, 3), (4,), CONV | {1: ("i", 17), 2: ("i", 17)}),
            "strides of 1 to 16",
        ),
        (("tensor", 5), ("widths", (4, 2), ints(1, 0, 1, 1, 1, 1, 0, 0)), "none for the batch"),
        (("tensor", 5), ("widths", (4, 2), ints(0, 0, -1, 3, 1, 1, 0, 0)), "four pairs of widths"),
        (("tensor", 5), ("widths", (4, 2), ints(0, 0, 1, 4097, 1, 1, 0, 0)), "widths up to 4096"),
        (("tensor", 5), ("widths", (3, 2), ints(0, 0, 1, 1, 1, 1)), "four pairs of widths"),
        (
            ("tensor", 7),
            ("depth", (1, 3, 3, 4), np.full((1, 3, 3, 4), np.inf, "<f4")),
            "weights of finite floats",
        ),
        (("tensor", 0), ("x", (1, 35, 6), None), r"the input has shape \[1, 35, 6\]"),
        (("operator", 4), ("ADD", (4,), (9,)), "ADD: needs 2 inputs"),
        (("operator", 4), ("ADD", (4, 6), (9,)), "ADD: supported: two inputs of one shape"),
        (("operator", 4), ("SOFTMAX", (8,), (9,)), "SOFTMAX: is not supported"),
        (("operator", 0), ("DEQUANTIZE", (5,), (2,)), "DEQUANTIZE: supported: constants of half"),
        (("operator", 0), ("DEQUANTIZE", (0,), (2,)), "DEQUANTIZE: supported: constants of half"),
        (("operator", 0), ("DENSIFY", (0,), (2,)), "DENSIFY: supported: constants"),
        (
            ("tensor", 7),
            ("depth", (2, 3, 3, 4), np.zeros((2, 3, 3, 4), "<f4")),
            "as many output channels as input",
        ),
        (
            ("tensor", 7),
            ("depth", (1, 3, 3, 3), np.zeros((1, 3, 3, 3), "<f4")),
            "as many output channels as input",
        ),
        (("tensor", 0), ("x", (2, 5, 7, 6), None), r"the input has shape \[2, 5, 7, 6\]"),
        (("tensor", 4), ("a", (2, 5, 7, 4), None), "the file says"),
        (("operator", 2), ("PAD", (9, 5), (6,)), "reads 'y', which nothing before"),
        (("operator", 2), ("PAD", (4, 5), (8,)), "the file says"),
        (("operator", 1), ("CONV_2D", (0, 99, 3), (4,), CONV), "names tensor 99 of 10"),
        (("operator", 2), ("PAD", (4, 3), (6,)), "no constant of 2 sizes"),
        (("tensor", 9), ("y", (1, 5, 7, 5), None), r"gives shape \[1, 5, 7, 4\], the file says"),
        (("tensor", 0), ("x", (1, 5, 7, -6), None), r"has shape \[1, 5, 7, -6\]"),
        (("tensor", 3), ("bias", (4,), np.full(4, np.nan, "<f4")), "bias is not 4 finite"),
        (("tensor", 3), ("bias", (5,), np.zeros(4, "<f4")), "has 4 values for shape"),
    ],
)
def test_what_cannot_run_is_refused_in_a_sentence(place, value, message):
    with pytest.raises(ModelError, match=message):
        build_graph(read_model(changed(place, value)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (0, ints(0, 1, 2, 2), "sparse in blocks"),
        (1, ints(0), "sparse in blocks"),
        (2, [{1: ("i", 4)}], "describes 1 of 4 dimensions"),
    ],
)
def test_sparse_layouts_that_are_unknown_are_refused(field, value, message):
    tensors, operators, matrix, _ = sample()
    sparsity, values = compressed(matrix)
    tensors[1] = ("stored", (4, 1, 1, 6), values, sparsity | {field: value})
    with pytest.raises(ModelError, match=message):
        read_model(model(tensors, operators))


def test_indices_outside_the_shape_are_refused():
    tensors, operators, matrix, _ = sample()
    sparsity, values = compressed(matrix)
    tensors[1] = ("stored", (4, 1, 1, 5), values, sparsity)
    with pytest.raises(ModelError, match="index outside the 5 of its shape"):
        read_model(model(tensors, operators))


def test_missing_files_are_told(tmp_path):
    with pytest.raises(ModelError, match="cannot read .*No such file"):
        read_model(tmp_path / "none.tflite")
    with pytest.raises(ModelError, match="is not a TFL3 file, or is truncated"):
        read_model(b"PK..............")
