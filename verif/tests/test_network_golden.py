"""The network golden: against a loop over every multiplication, float, and onnxruntime's QDQ."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tilewright.sw import zoo
from tilewright.sw.importers.onnx.onnx_file import load
from tilewright.sw.model.evaluation import evaluate
from tilewright.sw.model.graph import ModelError
from tilewright.sw.model.inference import run, run_layer, trace
from tilewright.sw.quantise import METHODS, Formats, QuantisedLayer, quantise
from tilewright.verif.onnx_reference import load_model, model, reference

LENET = Path(__file__).parents[2] / "examples" / "lenet5" / "lenet5.onnx"


def naive(layer: QuantisedLayer, inputs: list[np.ndarray], rounding: str) -> np.ndarray:
    """Compute one layer of one image with Python integers, one multiplication at a time."""
    height, width, channels = layer.input_shape
    (kh, kw), (sh, sw) = layer.kernel, layer.stride

    def element(x: np.ndarray, row: int, column: int, channel: int) -> int:
        inside = 0 <= row < height and 0 <= column < width
        return int(x[row, column, channel]) if inside else layer.pad_value

    def value(oy: int, ox: int, n: int) -> int:
        total, k = int(layer.bias[n]), 0
        for ky in range(kh):
            for kx in range(kw):
                for x in inputs:
                    for channel in range(channels):
                        row, column = oy * sh + ky - layer.pads[0], ox * sw + kx - layer.pads[1]
                        total += element(x, row, column, channel) * int(layer.weights[k, n])
                        k += 1
        if layer.raw:
            return total
        exact = Fraction(total * int(layer.mult[n]), 1 << int(layer.shift[n]))
        if rounding == "half_even":
            rounded = round(exact)
        else:
            rounded = math.floor(abs(exact) + Fraction(1, 2)) * (1 if exact > 0 else -1)
        return min(max(rounded + layer.zero_point, layer.low), layer.high)

    rows, columns, outputs = layer.output_shape
    result = np.zeros((rows, columns, outputs), np.int64)
    for y, x, n in np.ndindex(rows, columns, outputs):
        result[y, x, n] = max(
            value(y * layer.pool_stride[0] + py, x * layer.pool_stride[1] + px, n)
            for py in range(layer.pool_kernel[0])
            for px in range(layer.pool_kernel[1])
        )
    return result


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_layers_equal_a_loop_over_every_multiplication(data):
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    two = draw(st.booleans())
    kernel = (1, 1) if two else (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    pads = (0, 0, 0, 0) if two else tuple(draw(st.integers(0, 2)) for _ in range(4))
    shape = (draw(st.integers(3, 5)), draw(st.integers(3, 5)), draw(st.integers(1, 3)))
    n = draw(st.integers(1, 3))
    raw = draw(st.booleans())
    bits = draw(st.sampled_from([2, 8, 16]))
    top = 1 << bits - 1
    k = math.prod(kernel) * shape[2] * (2 if two else 1)
    stride = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    conv = [(shape[i] + pads[i] + pads[i + 2] - kernel[i]) // stride[i] + 1 for i in (0, 1)]
    pool = (1, 1) if raw else tuple(draw(st.integers(1, min(2, size))) for size in conv)
    low = int(rng.integers(-top, top))
    layer = QuantisedLayer(
        name="layer",
        op="Conv",
        inputs=("a", "b") if two else ("a",),
        output="y",
        input_shape=shape,
        weights=rng.integers(-top, top, (k, n)),
        bias=rng.integers(-(1 << 2 * bits), 1 << 2 * bits, n),
        mult=rng.integers(1 << 15, 1 << 16, n),
        shift=rng.integers(15, 17 + bits, n),
        kernel=kernel,
        stride=stride,
        pads=pads,
        pad_value=int(rng.integers(-top, top)),
        pool_kernel=pool,
        pool_stride=(draw(st.integers(1, 2)), draw(st.integers(1, 2))) if not raw else (1, 1),
        zero_point=int(rng.integers(-top, top)),
        low=low,
        high=int(rng.integers(low, top)),
        raw=raw,
        raw_scale=np.ones(n),
    )
    rounding = draw(st.sampled_from(["half_even", "half_away"]))
    inputs = [rng.integers(-top, top, (2, *shape)) for _ in layer.inputs]
    result = run_layer(layer, inputs, rounding)
    expected = [naive(layer, [x[i] for x in inputs], rounding) for i in range(2)]
    np.testing.assert_array_equal(result, expected)


def test_sums_beyond_double_precision_stay_exact():
    layer = QuantisedLayer(
        name="wide",
        op="Gemm",
        inputs=("a",),
        output="y",
        input_shape=(1, 1, 3),
        weights=np.array([[1 << 40], [1], [1 << 40]]),
        bias=np.zeros(1, np.int64),
        mult=np.array([1 << 15]),
        shift=np.array([15]),
        kernel=(1, 1),
        zero_point=0,
        low=0,
        high=0,
        raw=True,
        raw_scale=np.ones(1),
    )
    x = np.array([1 << 20, 1, 0]).reshape(1, 1, 1, 3)
    assert run_layer(layer, [x], "half_even").item() == (1 << 60) + 1


def test_many_images_in_parts_equal_all_at_once(monkeypatch):
    graph = load(LENET)
    images = np.random.default_rng(4).uniform(0, 1, (7, 1, 28, 28)).astype(np.float32)
    q = quantise(graph, Formats(), images)
    real = dict(evaluate(graph, images))[graph.output]
    whole = run(q, q.quantise_input(images))
    monkeypatch.setattr("tilewright.sw.model.inference.MAX_COPY", 30000)
    monkeypatch.setattr("tilewright.sw.model.operators.MAX_COPY", 30000)
    np.testing.assert_array_equal(run(q, q.quantise_input(images)), whole)
    np.testing.assert_allclose(dict(evaluate(graph, images))[graph.output], real, atol=1e-5)


def test_inputs_out_of_range_are_refused():
    graph = load(LENET)
    images = np.random.default_rng(1).uniform(0, 1, (2, 1, 28, 28))
    q = quantise(graph, Formats(), images, calibration="minmax")
    x = q.quantise_input(images)
    with pytest.raises(ValueError, match=r"shape \[n, 28, 28, 1\] and values from -128 to 127"):
        run(q, x[:, :27])
    with pytest.raises(ValueError, match="values from -128 to 127"):
        run(q, x + 200)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Calibration images, test images, test labels."""
    try:
        images, labels = zoo.mnist()
    except zoo.ZooError as error:
        pytest.skip(str(error))
    train, test = zoo.mnist_split(labels)
    scaled = (images / np.float32(255)).astype(np.float32)[:, None]
    return scaled[train[:256]], scaled[test], labels[test]


@pytest.mark.parametrize("calibration", METHODS)
def test_lenet_in_eight_bits_is_as_accurate_as_float(digits, calibration):
    samples, images, labels = digits
    graph = load(LENET)
    real = dict(evaluate(graph, images))[graph.output]
    accuracy = float((real.argmax(1) == labels).mean())
    assert accuracy >= 0.985
    for signed in (True, False):
        q = quantise(graph, Formats(x_signed=signed), samples, calibration=calibration)
        logits = q.dequantise_output(run(q, q.quantise_input(images)))
        assert abs(float((logits.argmax(1) == labels).mean()) - accuracy) <= 0.005
        assert np.abs(logits - real).mean() <= 0.03


@pytest.mark.parametrize(
    ("x_bits", "w_bits", "least"), [(8, 4, 0.98), (4, 4, 0.97), (3, 3, 0.93), (2, 8, 0.9)]
)
def test_lenet_in_fewer_bits(digits, x_bits, w_bits, least):
    samples, images, labels = digits
    q = quantise(load(LENET), Formats(x_bits=x_bits, x_signed=False, w_bits=w_bits), samples)
    logits = q.dequantise_output(run(q, q.quantise_input(images)))
    assert float((logits.argmax(1) == labels).mean()) >= least


class _Samples:
    """Feeds onnxruntime's calibration."""

    def __init__(self, images: np.ndarray) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._left, None)
        return None if image is None else {"image": image[None]}


def qdq_lenet(folder: Path, kind: str, images: np.ndarray, **options: object) -> onnx.ModelProto:
    """Return LeNet-5 as onnxruntime's static quantiser writes it."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    path = folder / "qdq.onnx"
    quantize_static(
        str(LENET),
        str(path),
        _Samples(images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=getattr(QuantType, kind),
        weight_type=QuantType.QInt8,
        **options,
    )
    return onnx.load(path)


def test_floats_of_a_qdq_model_are_as_accurate_as_the_model(tmp_path, digits):
    """Its ranges stand for Relu, which onnxruntime's quantiser takes away."""
    samples, images, labels = digits
    proto = qdq_lenet(tmp_path, "QUInt8", samples[:64])
    graph = load_model(proto)
    assert not any("Relu" in node.op for node in graph.nodes)
    real = dict(evaluate(graph, images))[graph.output]
    assert float((real.argmax(1) == labels).mean()) >= 0.98
    theirs = reference(proto, images[:100], literal=True)[0]
    assert (np.abs(real[:100] - theirs) < 1e-4).mean() >= 0.95


def test_a_partly_quantised_model_is_calibrated_on_what_it_computes(tmp_path, digits):
    samples, images, _ = digits
    nodes = ["conv1", "relu1", "fc1", "relu3"]
    proto = qdq_lenet(tmp_path, "QUInt8", samples[:64], nodes_to_quantize=nodes)
    q = quantise(load_model(proto), Formats(), samples)
    logits = q.dequantise_output(run(q, q.quantise_input(images[:100])))
    theirs = reference(proto, images[:100], literal=True)[0]
    assert np.sqrt(np.square(logits - theirs).mean() / np.square(theirs).mean()) < 0.015


@pytest.mark.parametrize("kind", ["QUInt8", "QInt8"])
@pytest.mark.parametrize(("signed", "literal"), [(True, False), (False, False), (True, True)])
def test_every_layer_of_a_qdq_model_agrees_with_onnxruntime(
    tmp_path, digits, kind, signed, literal
):
    samples, images, labels = digits
    proto = qdq_lenet(tmp_path, kind, samples[:64])
    q = quantise(load_model(proto), Formats(x_signed=signed))
    # onnxruntime's quantiser leaves Relu to the saturation at zero point 0
    assert [layer.op for layer in q.layers] == [
        "Conv+MaxPool", "Conv+MaxPool", "Gemm", "Gemm", "Gemm",
    ]  # fmt: skip
    codes = {
        node.input[0]: node.output[0]
        for node in proto.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in q.tensors
    }
    assert set(codes) == set(q.tensors)
    stored = TensorProto.UINT8 if kind == "QUInt8" else TensorProto.INT8
    for name in codes.values():
        proto.graph.output.append(helper.make_tensor_value_info(name, stored, None))
    x = images[:200]
    found = reference(proto, x, list(codes.values()), literal=literal)
    theirs = dict(zip(codes, found, strict=True))
    move = {"QUInt8": -128, "QInt8": 0}[kind] + (0 if signed else 128)
    for name, values in theirs.items():
        h, w, c = q.tensors[name].shape
        theirs[name] = (values.astype(np.int64) + move).reshape(-1, c, h, w).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(q.quantise_input(x), theirs[q.input])
    for layer in q.layers:
        ours = run_layer(layer, [theirs[name] for name in layer.inputs], "half_even")
        difference = np.abs(ours - theirs[layer.output])
        print(f"{layer.name}: {(difference == 0).mean():.4%} equal, largest {difference.max()}")
        assert difference.max() <= 1
        assert (difference == 0).mean() >= 0.999
    logits = dict(trace(q, q.quantise_input(x)))[q.output]
    assert (logits.argmax(3).reshape(-1) == theirs[q.output].argmax(3).reshape(-1)).mean() >= 0.99


def test_qdq_integers_must_fit_the_engine(tmp_path):
    images = np.random.default_rng(2).uniform(0, 1, (4, 1, 28, 28)).astype(np.float32)
    graph = load_model(qdq_lenet(tmp_path, "QUInt8", images))
    with pytest.raises(ModelError, match="integers from 0 to 255 in the model, which x_bits = 7"):
        quantise(graph, Formats(x_bits=7))
    with pytest.raises(ModelError, match=r"'conv1.*integer weights run from .* w_bits = 4"):
        quantise(graph, Formats(w_bits=4))
    wide = quantise(graph, Formats(x_bits=16, x_signed=True, w_bits=16, acc_width=56))
    narrow = quantise(graph, Formats(x_signed=False))
    for a, b in zip(wide.layers, narrow.layers, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)
        np.testing.assert_array_equal(a.bias, b.bias)
        assert (a.zero_point, a.low, a.high) == (b.zero_point, b.low, b.high)


def test_qdq_around_every_operator_and_between_two_scales():
    """Requantisation between two scales is a layer; equal scales are none."""
    rng = np.random.default_rng(3)
    constants: dict[str, np.ndarray] = {}
    nodes: list[onnx.NodeProto] = []

    def qdq(x: str, scale: float, zero: int) -> str:
        name = f"q{len(nodes)}"
        constants[f"{name}s"] = np.float32(scale)
        constants[f"{name}z"] = np.uint8(zero)
        for op, source, target in (
            ("QuantizeLinear", x, f"{name}c"),
            ("DequantizeLinear", f"{name}c", name),
        ):
            nodes.append(helper.make_node(op, [source, f"{name}s", f"{name}z"], [target]))
        return name

    def op(kind: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"v{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    constants["w"] = rng.normal(size=(3, 2, 3, 3)).astype(np.float32)
    a = qdq("x", 0.0513, 100)
    b = qdq(op("Conv", a, "w", pads=[1, 1, 1, 1]), 0.1031, 128)
    c = qdq(op("Relu", b), 0.0717, 0)
    d = qdq(op("MaxPool", c, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]), 0.0717, 0)
    e = qdq(op("AveragePool", d, kernel_shape=[2, 2]), 0.0531, 10)
    f = qdq(op("Add", d, d), 0.1237, 3)
    g = qdq(op("Flatten", op("GlobalAveragePool", f)), 0.1117, 1)
    again = qdq(g, 0.0919, 0)
    side = qdq(op("Flatten", op("GlobalAveragePool", e)), 0.0307, 0)
    out = qdq(op("Add", again, side), 0.2013, 7)
    proto = model(nodes, constants, [1, 2, 8, 8], output=out)
    q = quantise(load_model(proto), Formats(w_bits=16, acc_width=40))
    assert [layer.op for layer in q.layers] == [
        "Conv", "Relu", "MaxPool", "AveragePool", "Add", "GlobalAveragePool", "QuantizeLinear",
        "GlobalAveragePool", "Add",
    ]  # fmt: skip
    x = rng.normal(size=(20, 2, 8, 8)).astype(np.float32)
    theirs = reference(proto, x, literal=True)[0]
    by_layers = quantise(load_model(proto), Formats(), layer_by_layer=True)
    for network, share in ((q, 0.95), (by_layers, 0.85)):  # the host's additions have 12 bits
        ours = network.dequantise_output(run(network, network.quantise_input(x)))
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 0.2014
        assert (np.abs(ours - theirs) < 1e-4).mean() >= share
