"""Forms of ONNX operators, one by one: floats and integers against onnxruntime, or a refusal."""

import numpy as np
import onnx
import pytest
from onnx import helper

from tilewright.sw.model.evaluation import evaluate
from tilewright.sw.model.graph import Graph, ModelError
from tilewright.sw.model.inference import run
from tilewright.sw.quantise import Formats, QuantisedGraph, quantise
from tilewright.verif.onnx_reference import load_model, model, reference

RNG = np.random.default_rng(1)
X = RNG.normal(size=(4, 2, 5, 6)).astype(np.float32)
WIDE = Formats(x_bits=16, w_bits=16, acc_width=56)


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(" "), [output], name=f"{op}_{output}", **attributes)


def floats(graph: Graph, x: np.ndarray) -> np.ndarray:
    return dict(evaluate(graph, x))[graph.output]


def integers(q: QuantisedGraph, x: np.ndarray) -> np.ndarray:
    return q.dequantise_output(run(q, q.quantise_input(x)))


def build(
    nodes: list[onnx.NodeProto], x: np.ndarray = X, *, output: str = "y", **constants: object
) -> onnx.ModelProto:
    arrays = {
        name: np.asarray(value, np.int64 if isinstance(value, list) else np.float32)
        for name, value in constants.items()
    }
    return model(nodes, arrays, [1, *x.shape[1:]], output=output)


def agrees(
    proto: onnx.ModelProto,
    x: np.ndarray = X,
    *,
    formats: Formats = WIDE,
    within: float = 2e-3,
    raw_output: bool = True,
) -> QuantisedGraph:
    """Check floats, and integers within a part of the largest value of any tensor."""
    expected = reference(proto, x, literal=True)[0]
    graph = load_model(proto)
    np.testing.assert_allclose(floats(graph, x), expected, rtol=1e-4, atol=1e-4)
    q = quantise(graph, formats, x, calibration="minmax", raw_output=raw_output)
    spread = max(float(np.abs(values).max()) for _, values in evaluate(graph, x))
    np.testing.assert_allclose(integers(q, x), expected, rtol=0, atol=within * spread)
    return q


# -- padding


@pytest.mark.parametrize("op", ["Conv", "MaxPool"])
@pytest.mark.parametrize(
    ("mode", "kernel", "strides", "pads"),
    [
        ("SAME_UPPER", [2, 4], [1, 1], (0, 1, 1, 2)),
        ("SAME_LOWER", [2, 4], [1, 1], (1, 2, 0, 1)),
        ("SAME_UPPER", [3, 3], [1, 2], (1, 0, 1, 1)),
        ("SAME_LOWER", [3, 3], [1, 2], (1, 1, 1, 0)),
        ("SAME_UPPER", [3, 3], [3, 3], (0, 0, 1, 0)),
        ("SAME_LOWER", [3, 3], [3, 3], (1, 0, 0, 0)),
        ("VALID", [3, 2], [2, 1], (0, 0, 0, 0)),
    ],
)
def test_automatic_padding(op, mode, kernel, strides, pads):
    """The odd row or column is at the end for SAME_UPPER, at the beginning for SAME_LOWER."""
    window = node(
        op, "r w" if op == "Conv" else "r", "y",
        kernel_shape=kernel, strides=strides, auto_pad=mode,
    )  # fmt: skip
    proto = build([node("Relu", "x", "r"), window], w=RNG.normal(size=(3, 2, *kernel)))
    agrees(proto)
    assert load_model(proto).nodes[1].pads == pads


def test_automatic_padding_of_windows_far_apart_is_refused():
    """Runtimes differ on where the first window lies."""
    pool = node("MaxPool", "x", "y", kernel_shape=[1, 1], strides=[4, 4], auto_pad="SAME_UPPER")
    with pytest.raises(ModelError, match="MaxPool_y.* leave out inputs .* pads instead"):
        load_model(build([pool], RNG.normal(size=(1, 2, 7, 7))))


@pytest.mark.parametrize(
    ("size", "attributes"),
    [
        (5, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
        (6, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
        (5, {"kernel_shape": [2, 3], "strides": [3, 3], "ceil_mode": 1, "pads": [1, 1, 1, 1]}),
        (6, {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1, "pads": [0, 0, 1, 2]}),
        (5, {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [2, 0, 1, 1]}),
        (5, {"kernel_shape": [3, 2]}),
    ],
)
def test_pools_with_ceilings_and_pads(size, attributes):
    x = RNG.normal(size=(3, 2, size, size)).astype(np.float32)
    agrees(build([node("Relu", "x", "r"), node("MaxPool", "r", "y", **attributes)], x), x)
    attributes |= {"count_include_pad": 1, "ceil_mode": 0}
    agrees(build([node("AveragePool", "x", "y", **attributes)], x), x)


# -- Gemm


@pytest.mark.parametrize(
    ("batch", "shape", "taken"),
    [
        (1, (), True), (1, (1,), True), (1, (3,), True), (1, (1, 1), True), (1, (1, 3), True),
        (3, (), True), (3, (3,), True), (3, (1, 3), True), (3, (1, 1), True),
        (3, (3, 1), False), (3, (3, 3), False), (1, (3, 1), False), (3, (4,), False),
        (1, (1, 1, 3), False), (2, (2, 1), False), (2, (2, 3), False),
    ],
)  # fmt: skip
def test_gemm_adds_what_the_standard_broadcasts(batch, shape, taken):
    """A summand per row of the batch must not become one per output, though M = N."""
    x = RNG.normal(size=(batch, 4)).astype(np.float32)
    constants = {
        "w": RNG.normal(size=(3, 4)).astype(np.float32),
        "c": RNG.normal(size=shape).astype(np.float32),
    }
    gemm = node("Gemm", "x w c", "y", transB=1, alpha=-0.5, beta=2.0)
    proto = model([gemm], constants, [batch, 4])
    if not taken:
        with pytest.raises(ModelError, match=r"Gemm_y.*'c' has shape \[.*one per output"):
            load_model(proto)
        return
    graph = load_model(proto)
    expected = -0.5 * x @ constants["w"].T + 2 * constants["c"]
    np.testing.assert_allclose(floats(graph, x), expected, rtol=1e-5, atol=1e-5)
    q = quantise(graph, WIDE, x, calibration="minmax")
    np.testing.assert_allclose(integers(q, x), expected, atol=2e-3)


def test_gemm_takes_rows_of_a_summand_that_are_equal():
    proto = model(
        [node("Gemm", "x w c", "y")],
        {"w": np.eye(3, dtype=np.float32), "c": np.full((3, 1), 0.5, np.float32)},
        [3, 3],
    )
    x = np.zeros((3, 3), np.float32)
    np.testing.assert_array_equal(floats(load_model(proto), x), np.full((3, 3), 0.5))


@pytest.mark.parametrize(
    ("op", "inputs", "shape"),
    [
        ("Conv", "x w c", (3, 1)),
        ("Conv", "x w c", (1,)),
        ("BatchNormalization", "x c c c c", (1, 2)),
    ],
)
def test_vectors_have_one_element_per_channel(op, inputs, shape):
    proto = build([node(op, inputs, "y")], w=np.ones((3, 2, 1, 1)), c=np.ones(shape))
    with pytest.raises(ModelError, match=f"{op}_y.*'c' has shape.*supported: "):
        load_model(proto)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 1), (1, 1, 2, 1, 1), (6,), (5, 1), (2, 1)])
def test_constants_that_change_the_shape_or_vary_within_a_channel_are_refused(shape):
    with pytest.raises(ModelError, match="Mul_y.*its constant has shape"):
        load_model(build([node("Mul", "x k", "y")], k=np.full(shape, 0.5)))


# -- shapes


@pytest.mark.parametrize("target", [[1, 60, 1, 1], [0, -1, 1, 1]])
@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [1, 1], "strides": [2, 2]}),
        ("MaxPool", {"kernel_shape": [3, 2], "pads": [1, 1, 1, 0]}),
        ("AveragePool", {"kernel_shape": [1, 1], "strides": [3, 2]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}),
        ("GlobalAveragePool", {}),
    ],
)
def test_pools_of_flattened_images(target, op, attributes):
    nodes = [
        node("Relu", "x", "r"),
        node("Reshape", "r s", "f"),
        node(op, "f", "p", **attributes),
        node("Flatten", "p", "v"),
        node("Gemm", "v w", "y"),
    ]
    agrees(build(nodes, s=target, w=RNG.normal(size=(60, 3))))


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pools_that_enlarge_a_flattened_image_are_refused(op):
    pads = {"kernel_shape": [2, 2], "pads": [1] * 4}
    pads |= {"count_include_pad": 1} if op == "AveragePool" else {}
    nodes = [node("Relu", "x", "r"), node("Reshape", "r s", "f"), node(op, "f", "y", **pads)]
    graph = load_model(build(nodes, s=[1, 60, 1, 1]))
    with pytest.raises(ModelError, match=f"{op}_y.*flattened.*a pool before the flattening"):
        quantise(graph, Formats(), X)


def test_a_shape_that_is_taken_from_another_layer_takes_nothing_else():
    """The other layer is no part of the network: not its scale, and not its sums as output."""
    nodes = [
        node("Conv", "x w", "y0", pads=[1, 1, 1, 1]),
        node("Relu", "y0", "y1"),
        node("Conv", "x v", "other0"),
        node("Mul", "other0 k", "other"),
        node("Shape", "other", "shape"),
        node("Reshape", "y1 shape", "z"),
        node("Conv", "z u", "y"),
    ]
    constants = {
        "w": RNG.normal(size=(2, 2, 3, 3)),
        "v": 100 * RNG.normal(size=(2, 2, 1, 1)),
        "u": RNG.normal(size=(3, 2, 1, 1)),
        "k": 3.0,
    }
    q = agrees(build(nodes, **constants))
    assert [layer.name for layer in q.layers] == ["Conv_y0", "Conv_y"]
    late = [*nodes[:2], nodes[6], *nodes[2:6]]
    late[2] = node("Conv", "y1 u", "c")
    late[6] = node("Reshape", "c flat", "y")
    late.insert(6, node("Gather", "shape first", "batch"))
    late.insert(7, node("Concat", "batch minus", "flat", axis=0))
    q = agrees(build(late, first=[0], minus=[-1], **constants))
    assert [layer.name for layer in q.layers] == ["Conv_y0", "Conv_c"]


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [({}, [1, 2, 5, 6]), ({"start": 1}, [2, 5, 6]), ({"start": -2, "end": -1}, [5])],
)
@pytest.mark.parametrize("name", ["x", "k"])
def test_parts_of_shapes(ends, wanted, name):
    """Of what is computed and of constants."""
    nodes = [node("Shape", name, "s", **ends), node("Cast", "s", "f", to=onnx.TensorProto.FLOAT)]
    nodes += [node("Flatten", "x", "v"), node("MatMul", "v ones", "m"), node("Add", "m f", "y")]
    constants = {"k": np.zeros((1, 2, 5, 6)), "ones": np.zeros((60, len(wanted)))}
    graph = load_model(build(nodes, **constants))
    np.testing.assert_array_equal(floats(graph, X), np.tile(wanted, (4, 1)))


def test_squeezing_the_batch_away_is_refused():
    x = np.zeros((1, 1, 1, 1), np.float32)
    for nodes in ([node("Squeeze", "x", "y")], [node("Squeeze", "f", "y")]):
        nodes = [node("Flatten", "x", "f"), *nodes] if nodes[0].input[0] == "f" else nodes
        with pytest.raises(ModelError, match="Squeeze_y.*supported: the batch kept"):
            load_model(build(nodes, x))


@pytest.mark.parametrize(
    ("size", "target"), [(30, [1, 1, 30]), (30, [1, 2, 3, 5]), (30, [30, 1]), (30, [1, 1, 1, 5, 6])]
)
def test_shapes_that_are_no_image_are_refused(size, target):
    x = np.zeros((1, size), np.float32)
    with pytest.raises(ModelError, match="Reshape_r.*supported: "):
        load_model(build([node("Reshape", "x s", "r"), node("Relu", "r", "y")], x, s=target))


def test_convolutions_of_flattened_images():
    """A kernel of 1 x 1 is a product; another has no place to stand."""
    nodes = [node("Relu", "x", "r"), node("Reshape", "r s", "f")]
    conv = node("Conv", "f w", "y", strides=[2, 3])
    agrees(build([*nodes, conv], s=[1, 60, 1, 1], w=RNG.normal(size=(3, 60, 1, 1))))
    for kernel, pads in (((3, 3), [1] * 4), ((1, 1), [0, 0, 0, 1]), ((3, 1), [1, 0, 1, 0])):
        conv = node("Conv", "f w", "y", pads=pads)
        kernels = RNG.normal(size=(3, 60, *kernel))
        graph = load_model(build([*nodes, conv], s=[1, 60, 1, 1], w=kernels))
        with pytest.raises(ModelError, match="Conv_y.*on a flattened input.*1 x 1 without pads"):
            quantise(graph, WIDE, X)


def test_flattened_images_keep_their_places_on_the_host():
    nodes = [
        node("Relu", "x", "r"), node("Flatten", "r", "f"), node("Clip", "f low high", "c"),
        node("Add", "c f", "a"), node("MatMul", "a w", "y"),
    ]  # fmt: skip
    proto = build(nodes, low=0.1, high=0.9, w=RNG.normal(size=(60, 3)))
    q = quantise(load_model(proto), WIDE, X, calibration="minmax", layer_by_layer=True)
    expected = reference(proto, X, literal=True)[0]
    np.testing.assert_allclose(integers(q, X), expected, atol=2e-3 * np.abs(expected).max())


def test_dropout_is_the_identity_unless_it_trains():
    nodes = [node("Dropout", "x ratio training", "d"), node("Relu", "d", "y")]
    constants = {"ratio": np.array(0.5, np.float32), "training": np.array(False)}
    graph = load_model(model(nodes, constants, [1, *X.shape[1:]]))
    np.testing.assert_array_equal(floats(graph, X), np.maximum(X, 0))
    constants["training"] = np.array(True)
    with pytest.raises(ModelError, match="Dropout_d.*training mode"):
        load_model(model(nodes, constants, [1, *X.shape[1:]]))


def test_batch_normalisation_in_training_is_refused():
    norm = node("BatchNormalization", "x a a a b", "y", training_mode=1)
    with pytest.raises(ModelError, match="BatchNormalization_y.*training mode"):
        load_model(build([norm], a=[1.0, 1.0] * np.ones(2), b=np.ones(2)))


def test_the_older_domain_of_quantisation_is_the_same():
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"),
        node("Relu", "d", "y"),
    ]  # fmt: skip
    for part in nodes[:2]:
        part.domain = "com.microsoft"
    constants = {"s": np.float32(0.03), "z": np.int8(0)}
    proto = model(nodes, constants, [1, *X.shape[1:]])
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert load_model(proto).tensors["x"].quantisation is not None
    proto.graph.node[2].domain = "com.microsoft"
    with pytest.raises(ModelError, match="Relu_y.*domain 'com.microsoft'"):
        load_model(proto)


def test_batches_and_inputs_in_another_shape():
    x = RNG.normal(size=(4, 12)).astype(np.float32)
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("Reshape", "d shape", "image"),
        node("Conv", "image w", "y"),
    ]
    constants = {"s": np.float32(0.03), "z": np.int8(0), "shape": np.array([1, 1, 3, 4])}
    constants["w"] = RNG.normal(size=(2, 1, 2, 2)).astype(np.float32)
    proto = model(nodes, constants, [1, 12])
    q = quantise(load_model(proto), WIDE)
    expected = reference(proto, x, literal=True)[0]
    np.testing.assert_allclose(integers(q, x), expected, atol=1e-2)


# -- order of nodes


NETWORK = [
    node("Conv", "x w", "a"),
    node("Relu", "a", "b"),
    node("Conv", "b v", "c"),
    node("Add", "b c", "d"),
    node("Shape", "b", "e"),
    node("Reshape", "d e", "y"),
]
KERNELS = {"w": RNG.normal(size=(2, 2, 3, 3)), "v": RNG.normal(size=(2, 2, 1, 1))}


@pytest.mark.parametrize("order", [(5, 4, 3, 2, 1, 0), (2, 0, 3, 1, 5, 4)])
def test_nodes_in_any_order(order):
    dead = node("Softmax", "later", "unused"), node("Relu", "unused", "later")
    proto = build([*dead, *(NETWORK[i] for i in order)], **KERNELS)
    graph = load_model(proto)
    assert [part.output for part in graph.nodes] == ["a", "b", "c", "d"]
    expected = reference(build(NETWORK, **KERNELS), X)[0]
    np.testing.assert_allclose(floats(graph, X), expected, atol=1e-4)


def test_nodes_that_are_in_order_stay_in_it():
    nodes = [
        node("Relu", "x", "b"), node("Conv", "x v", "a"), node("Relu", "a", "c"),
        node("Add", "c b", "y"),
    ]  # fmt: skip
    assert [part.output for part in load_model(build(nodes, **KERNELS)).nodes] == [*"bacy"]


@pytest.mark.parametrize(
    ("index", "replacement", "message"),
    [
        (1, node("Relu", "gone", "b"), "'Relu_b', operator Relu: its input 'gone' is made by no"),
        (1, node("Add", "a d", "b"), r"wait for each other's results: 'Add_b', 'Add_d'$"),
        (1, node("Add", "a b", "b"), r"wait for each other's results: 'Add_b'$"),
        (2, node("Conv", "b v", "b"), "value 'b' is made twice"),
        (2, node("Conv", "b v", "w"), "value 'w' is made twice"),
        (2, node("Conv", "b v", "x"), "value 'x' is made twice"),
        (5, node("Relu", "d", "z"), "the output 'y' depends on no input"),
    ],
)
def test_graphs_that_do_not_hang_together_are_told(index, replacement, message):
    nodes = list(NETWORK)
    nodes[index] = replacement
    with pytest.raises(ModelError, match=message) as caught:
        load_model(build(nodes, **KERNELS))
    assert "\n" not in str(caught.value)


def test_a_network_without_input_is_told():
    with pytest.raises(ModelError, match="'y' depends on no input, so there is nothing to compute"):
        load_model(build([node("Relu", "w", "y")], **KERNELS))


def test_layers_of_one_name_stay_apart():
    """Mapper and budgets look layers up by name."""
    nodes = [onnx.NodeProto.FromString(part.SerializeToString()) for part in NETWORK]
    for part in nodes:
        part.name = "same"
    q = quantise(load_model(build(nodes, **KERNELS)), Formats(), X)
    assert [layer.name for layer in q.layers] == ["same", "same:c", "same:d"]


# -- clips


CLIPS = {
    "first": [node("Clip", "x low high", "y")],
    "of a shared tensor": [
        node("Conv", "x v", "c"), node("Clip", "c low high", "k"), node("Add", "c k", "y"),
    ],
    "after a pool of the input": [
        node("MaxPool", "x", "p", kernel_shape=[2, 2]), node("Clip", "p low high", "y"),
    ],
    "before a pool": [
        node("Clip", "x low high", "c"), node("MaxPool", "c", "y", kernel_shape=[2, 2]),
    ],
    "of a clip": [
        node("Clip", "x low high", "c"), node("Relu", "c", "r"), node("Add", "c r", "y"),
    ],
    "flattened": [node("Flatten", "x", "f"), node("Clip", "f low high", "y")],
    "of a convolution": [node("Conv", "x v", "c"), node("Clip", "c low high", "y")],
}  # fmt: skip


@pytest.mark.parametrize("place", CLIPS)
@pytest.mark.parametrize(
    ("low", "high", "size"),
    [
        (0.5, 1.0, 0.1), (-1.0, -0.5, 0.1), (0.5, 1.0, 1.0), (-0.013, 0.017, 1.0), (0.0, 6.0, 1.0),
        (-0.3, 3.4028235e38, 1.0), (-3.4028235e38, 0.0, 1.0),
    ],
)  # fmt: skip
def test_clips_anywhere(place, low, high, size):
    """Bounds beyond or between the steps of the input are bounds all the same."""
    proto = build(CLIPS[place], low=low, high=high, v=KERNELS["v"])
    x = X * size
    agrees(proto, x)
    q = agrees(proto, x, formats=Formats(), within=0.02)
    if place in ("first", "flattened", "before a pool"):
        least, most = integers(q, x).min(), integers(q, x).max()
        step = q.tensors[q.output].scale * 1.01
        assert low - step / 2 <= least
        assert most <= high + step / 2


def test_a_clip_after_stated_integers_keeps_its_bounds():
    """Beyond the stated range, and between its steps."""
    for low, high in ((0.5, 2.0), (0.0, 0.25)):
        nodes = [
            node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"),
            node("Clip", "d low high", "y"),
        ]  # fmt: skip
        constants = {
            "s": np.float32(0.1), "z": np.int8(124), "low": np.float32(low),
            "high": np.float32(high),
        }  # fmt: skip
        proto = model(nodes, constants, [1, *X.shape[1:]])
        q = quantise(load_model(proto), Formats(), X, calibration="minmax")
        ours, theirs = integers(q, X), reference(proto, X, literal=True)[0]
        np.testing.assert_allclose(ours, theirs, atol=high / 255)


def test_zero_bounds_alone_keep_the_scale():
    nodes = [node("Relu", "x", "r"), node("Add", "x r", "y")]
    q = quantise(load_model(build(nodes)), Formats(), X)
    assert q.tensors["r"].scale == q.tensors["x"].scale
    assert q.tensors["r"].low == q.tensors["x"].zero_point
