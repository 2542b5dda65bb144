"""The quantiser: constants within the hardware's ranges, errors as small as the widths allow."""

import dataclasses

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tilewright.hw.config import ConfigError
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.model.evaluation import evaluate
from tilewright.sw.model.graph import Graph, ModelError
from tilewright.sw.model.inference import run, trace
from tilewright.sw.quantise import METHODS, Formats, QuantisedGraph, quantise
from tilewright.sw.quantise.calibrate import Observation, activation_scale, weight_scales
from tilewright.sw.quantise.scaling import multiplier, two_weights
from tilewright.verif.onnx_reference import load_model, model, reference

WIDTHS = [*range(2, 9), 16]
EXACT = Formats(x_bits=16, w_bits=16, acc_width=56)


@given(st.floats(2.0**-60, 2.0**14.9))
def test_multiplier_is_normalised_and_nearest(factor):
    (mult,), (shift,) = multiplier(np.array([factor]))
    assert 1 <= shift <= 47
    if shift < 47:
        assert 1 << 15 <= mult < 1 << 16
    assert 0 <= mult < 1 << 16
    error = abs(float(mult) / 2.0 ** float(shift) - factor)
    assert error <= max(factor * 2.0**-16, 2.0**-48)


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan, np.inf, 2.0**15])
def test_multiplier_refuses_what_has_no_form(factor):
    with pytest.raises(ValueError, match="factor"):
        multiplier(np.array([factor]))


def test_powers_of_two_are_exact():
    mult, shift = multiplier(2.0 ** np.arange(-30.0, 15.0))
    assert (mult == 1 << 15).all()
    assert (shift == 15 - np.arange(-30, 15)).all()
    mult, shift = multiplier(np.nextafter(2.0 ** np.arange(-30.0, 15.0), 0))
    assert (mult == 1 << 15).all()
    assert (shift == 15 - np.arange(-30, 15)).all()


@given(st.floats(1e-4, 1e4), st.floats(1e-4, 1e4), st.sampled_from(WIDTHS))
def test_two_weights_meet_both_scales(first, second, bits):
    formats = Formats(w_bits=bits)
    a, b, unit = two_weights(first, second, formats)
    assert 0 <= min(a, b)
    assert 1 <= max(a, b) <= formats.w_high
    assert a * unit == pytest.approx(first, abs=max(first, second) / formats.w_high / 2)
    assert b * unit == pytest.approx(second, abs=max(first, second) / formats.w_high / 2)


@given(st.sampled_from(WIDTHS), st.booleans(), st.sampled_from(METHODS), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_activation_scales_hold_zero_and_stay_in_range(bits, signed, method, seed):
    rng = np.random.default_rng(seed)
    formats = Formats(x_bits=bits, x_signed=signed)
    low, high = -float(rng.integers(0, 3)), float(rng.integers(1, 9))
    counts = np.histogram(rng.normal(size=5000), 256, (low, high))[0].astype(float)
    scale, zero = activation_scale(Observation(low, high, counts), formats, method, 99.9)
    assert scale > 0
    assert formats.x_low <= zero <= formats.x_high
    if low == 0:
        assert zero == formats.x_low
    reach = (formats.x_high - formats.x_low) * scale
    assert reach <= (high - low) * (1 + 1e-6)
    if method == "minmax":
        assert reach == pytest.approx(high - low)


def test_mse_is_no_worse_than_the_other_ways():
    rng = np.random.default_rng(1)
    sample = np.concatenate([np.abs(rng.normal(size=20000)), [30.0]])
    seen = Observation(0.0, 30.0, np.histogram(sample, 4096, (0, 30))[0].astype(float))
    for bits in (2, 4, 8):
        formats = Formats(x_bits=bits, x_signed=False)
        errors = {}
        for method in METHODS:
            scale, zero = activation_scale(seen, formats, method, 99.9)
            q = np.clip(np.rint(sample / scale) + zero, formats.x_low, formats.x_high)
            errors[method] = float((((q - zero) * scale - sample) ** 2).mean())
        assert errors["mse"] <= min(errors.values()) * 1.05
        assert errors["mse"] < errors["minmax"] or bits == 8


@pytest.mark.parametrize(
    ("share", "low", "high"), [(98.5, -0.8, 0.9), (93, -0.6, 0.8), (100, -1, 1)]
)
def test_percentiles_leave_out_whole_bins(share, low, high):
    """Bins of 0.1, with 0.5 to 4 % of the values at the ends."""
    counts = np.full(20, 50.0)
    counts[:5], counts[17:] = (5, 5, 10, 40, 40), (40, 40, 5)
    counts[10] += 1000 - counts.sum()
    scale, zero = activation_scale(Observation(-1.0, 1.0, counts), Formats(), "percentile", share)
    assert scale * 255 == pytest.approx(high - low)
    assert zero == round(-128 - low / scale)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_weight_scales_are_symmetric_per_column(bits, method):
    w = np.random.default_rng(2).normal(size=(50, 6)) * [1, 10, 0.01, 1, 1, 0]
    formats = Formats(w_bits=bits)
    scales = weight_scales(w, formats, method)
    largest = np.abs(w).max(0)
    assert scales[5] == 1
    assert (scales[:5] * formats.w_high <= largest[:5] * (1 + 1e-12)).all()
    if method == "minmax":
        np.testing.assert_allclose(scales[:5] * formats.w_high, largest[:5])


def random_model(data, rng: np.random.Generator) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """Return a network of random layers of all kinds."""
    draw = data.draw
    c, h, w = draw(st.integers(1, 3)), draw(st.integers(6, 9)), draw(st.integers(6, 9))
    shape = (c, h, w)
    nodes, constants, x = [], {}, "x"

    def add(op: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [f"t{len(nodes)}"], **attributes))
        return f"t{len(nodes) - 1}"

    def constant(*size: int) -> str:
        constants[f"k{len(constants)}"] = (
            rng.standard_normal(size) / np.sqrt(np.prod(size[1:]))
        ).astype(np.float32)
        return f"k{len(constants) - 1}"

    positive = False
    for _ in range(draw(st.integers(1, 5))):
        kinds = ["conv", "relu", "clip", "norm", "residual"]
        if min(h, w) >= 3:
            kinds += ["max", "average", "strided"]
        kind = draw(st.sampled_from(kinds))
        if kind in ("conv", "strided"):
            out = draw(st.integers(1, 4))
            pads = [draw(st.integers(0, 1)) for _ in range(4)] if kind == "conv" else [0, 0, 1, 1]
            k, s = (2, 1) if kind == "conv" else (3, 2)
            if min(h, w) + 2 < k:
                continue
            x = add("Conv", x, constant(out, c, k, k), constant(out), pads=pads, strides=[s, s])
            h, w = ((n + pads[i] + pads[i + 2] - k) // s + 1 for i, n in enumerate((h, w)))
            c = out
            if min(h, w) < 1:
                break
        elif kind == "relu":
            x = add("Relu", x)
        elif kind == "clip":
            constants["low"], constants["high"] = np.float32(-0.5), np.float32(0.75)
            x = add("Clip", x, "low", "high")
        elif kind == "norm":
            x = add("Mul", x, constant(c, 1, 1))
        elif kind == "residual":
            x = add("Add", x, add("Conv", x, constant(c, c, 1, 1)))
        elif kind == "max":
            overlap, padded = draw(st.booleans()), draw(st.booleans()) and positive
            s = 1 if overlap else 2
            x = add("MaxPool", x, kernel_shape=[2, 2], strides=[s, s], pads=[int(padded)] * 4)
            h, w = ((n + 2 * int(padded) - 2) // s + 1 for n in (h, w))
        else:
            x = add("AveragePool", x, kernel_shape=[2, 3], strides=[1, 2])
            h, w = h - 1, (w - 3) // 2 + 1
        positive = kind == "relu" or (positive and kind == "max")
        if min(h, w) < 2:
            break
    ending = draw(st.sampled_from(["none", "relu", "global", "dense", "deep"]))
    if ending == "relu" or not nodes:
        x = add("Relu", x)
    elif ending == "global":
        x = add("Flatten", add("GlobalAveragePool", x))
    elif ending in ("dense", "deep"):
        x, size = add("Flatten", x), c * h * w
        if ending == "deep":
            x = add("Relu", add("Gemm", x, constant(5, size), constant(5), transB=1))
            size = 5
        x = add("Gemm", x, constant(3, size), constant(3), transB=1)
    return model(nodes, constants, [1, *shape], output=x), shape


def check_ranges(q: QuantisedGraph) -> None:
    f = q.formats
    for layer in q.engine_layers:
        assert f.w_low <= layer.weights.min()
        assert layer.weights.max() <= f.w_high
        assert np.abs(layer.bias).max() < 1 << f.acc_width - 1
        assert ((layer.mult >= 0) & (layer.mult < 1 << 16)).all()
        assert ((layer.shift >= 1) & (layer.shift <= 47)).all()
        out = q.tensors[layer.output]
        assert out.shape == layer.output_shape
        if not layer.raw:
            assert f.x_low <= layer.low <= layer.high <= f.x_high
            assert f.x_low <= layer.zero_point <= f.x_high
        for name in layer.inputs:
            assert q.tensors[name].shape == layer.input_shape
            assert q.tensors[name].zero_point == layer.pad_value or len(layer.inputs) == 2
        assert layer.k == np.prod(layer.kernel) * layer.input_shape[2] * len(layer.inputs)


def spread(graph: Graph, x: np.ndarray) -> float:
    """Return the largest magnitude of any tensor, which errors are measured against."""
    return max(float(np.abs(values).max()) for _, values in evaluate(graph, x))


@settings(max_examples=80, deadline=None)
@given(
    st.data(), st.booleans(), st.sampled_from(METHODS),
    st.sampled_from([{}, {"raw_output": False}, {"layer_by_layer": True}]),
)  # fmt: skip
def test_networks_of_every_layer_agree_with_float_at_sixteen_bits(data, signed, method, how):
    """With the exact sums of the last layer, without, and with the host between products."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    proto, shape = random_model(data, rng)
    x = rng.normal(size=(4, *shape)).astype(np.float32)
    graph = load_model(proto)
    formats = Formats(x_bits=16, x_signed=signed, w_bits=16, acc_width=56)
    q = quantise(graph, formats, x, calibration=method, percentile=100, **how)
    check_ranges(q)
    tensors = dict(trace(q, q.quantise_input(x)))
    for name, values in tensors.items():
        assert values.shape[1:] == q.tensors[name].shape
    result = q.dequantise_output(tensors[q.output])
    expected = reference(proto, x)[0]
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() <= 2e-3 * spread(graph, x)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(WIDTHS), st.sampled_from(WIDTHS), st.booleans())
def test_every_pair_of_widths_stays_in_range(data, x_bits, w_bits, signed):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    proto, shape = random_model(data, rng)
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    formats = Formats(x_bits=x_bits, x_signed=signed, w_bits=w_bits, acc_width=56)
    method = data.draw(st.sampled_from(METHODS))
    q, reason = attempt(load_model(proto), formats, x, method)
    if q is None:
        assert "w_bits" in reason
        return
    check_ranges(q)
    y = run(q, q.quantise_input(x))
    out = q.tensors[q.output]
    assert out.low <= y.min()
    assert y.max() <= out.high


def attempt(graph: Graph, formats: Formats, x: np.ndarray, method: str):
    try:
        return quantise(graph, formats, x, calibration=method), ""
    except ModelError as error:
        return None, str(error)


def small(*nodes: onnx.NodeProto, output: str, shape=(1, 2, 4, 4), **constants) -> Graph:
    arrays = {name: np.asarray(value, np.float32) for name, value in constants.items()}
    return load_model(model(nodes, arrays, shape, output=output))


X = np.random.default_rng(3).normal(size=(3, 2, 4, 4)).astype(np.float32)
CONV = helper.make_node("Conv", ["x", "w"], ["c"], name="conv7")
KERNEL = np.random.default_rng(4).normal(size=(3, 2, 2, 2))


def test_relu_and_pool_join_the_convolution():
    relu = helper.make_node("Relu", ["c"], ["r"], name="relu")
    pool = helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[3, 2])
    q = quantise(small(CONV, relu, pool, output="p", w=KERNEL), Formats(), X)
    (layer,) = q.layers
    assert layer.op == "Conv+Relu+MaxPool"
    assert (layer.low, layer.high, layer.zero_point) == (-128, 127, -128)
    assert layer.pool_kernel == (3, 2)
    assert layer.pool_stride == (1, 1)
    assert layer.conv_shape == (3, 3)
    assert layer.output_shape == (1, 2, 3)
    assert layer.rows == 2 * 6
    assert layer.macs == 12 * 8 * 3
    assert not layer.raw


def test_pool_of_a_shared_tensor_keeps_the_scale_exactly():
    pool = helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], pads=[0, 0, 1, 1])
    relu = helper.make_node("Relu", ["c"], ["r"])
    total = helper.make_node("Add", ["r", "r2"], ["y"])
    graph = small(
        CONV,
        relu,
        helper.make_node("MaxPool", ["r"], ["r2"], kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
        total,
        output="y",
        w=KERNEL,
    )
    q = quantise(graph, Formats(), X)
    pool_layer = q.layers[1]
    assert pool_layer.op == "MaxPool"
    assert (pool_layer.mult == 1 << 15).all()
    assert (pool_layer.shift == 15).all()
    assert q.tensors["r2"].scale == q.tensors["r"].scale
    assert len(q.layers[2].inputs) == 2
    with pytest.raises(ModelError, match=r"MaxPool: pads .* supported: padding after Relu"):
        quantise(small(CONV, pool, output="p", w=KERNEL), Formats(), X)


def test_a_stated_scale_is_not_skipped():
    """Between a scale and another one stands a rounding of its own, even behind a plain Relu."""
    nodes, constants = [], {}
    for i, (x, y, scale) in enumerate([("x", "a", 0.05), ("c", "b", 0.5), ("p", "y", 0.11)]):
        constants |= {f"s{i}": np.float32(scale), f"z{i}": np.int8(0)}
        nodes.append(helper.make_node("QuantizeLinear", [x, f"s{i}", f"z{i}"], [f"q{i}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"q{i}", f"s{i}", f"z{i}"], [y]))
    nodes.insert(2, helper.make_node("Conv", ["a", "w"], ["c"]))
    nodes.insert(5, helper.make_node("Relu", ["b"], ["r"]))
    nodes.insert(6, helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2]))
    constants["w"] = KERNEL.astype(np.float32)
    proto = model(nodes, constants, [1, 2, 4, 4])
    q = quantise(load_model(proto), Formats(w_bits=16, acc_width=40))
    assert [layer.op for layer in q.layers] == ["Conv+Relu", "MaxPool"]
    assert q.layers[0].low == q.layers[0].zero_point == 0
    ours = q.dequantise_output(run(q, q.quantise_input(X)))
    np.testing.assert_allclose(ours, reference(proto, X, literal=True)[0], atol=1e-6)


def test_last_layer_is_raw_unless_asked_otherwise():
    graph = small(CONV, output="c", w=KERNEL)
    raw, rounded = quantise(graph, EXACT, X), quantise(graph, EXACT, X, raw_output=False)
    assert raw.layers[0].raw
    assert not rounded.layers[0].raw
    outputs = [q.dequantise_output(run(q, q.quantise_input(X))) for q in (raw, rounded)]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-3)


def test_channels_without_weights_keep_their_bias():
    kernel = KERNEL.copy()
    kernel[1] = 0
    conv = helper.make_node("Conv", ["x", "w", "b"], ["c"])
    q = quantise(small(conv, output="c", w=kernel, b=[0.1, 0.0123, 5]), Formats(), X)
    y = q.dequantise_output(run(q, q.quantise_input(X)))
    np.testing.assert_allclose(y[:, 1], 0.0123, rtol=1e-3)


def test_a_bias_beyond_the_accumulator_coarsens_its_channel():
    kernel = KERNEL * 1e-9
    conv = helper.make_node("Conv", ["x", "w", "b"], ["c"])
    q = quantise(small(conv, output="c", w=kernel, b=[1, -2, 3]), Formats(acc_width=20), X)
    check_ranges(q)
    y = q.dequantise_output(run(q, q.quantise_input(X)))
    np.testing.assert_allclose(y[:, :, 0, 0], [[1, -2, 3]] * 3, rtol=1e-3)


def test_a_constant_tensor_needs_no_scale():
    conv = helper.make_node("Conv", ["x", "w"], ["c"])
    relu = helper.make_node("Relu", ["c"], ["y"])
    graph = small(conv, relu, output="y", w=np.zeros((3, 2, 1, 1)))
    q = quantise(graph, Formats(), X)
    assert not q.dequantise_output(run(q, q.quantise_input(X))).any()


def test_refusals_name_the_layer():
    graph = small(CONV, helper.make_node("Relu", ["c"], ["y"]), output="y", w=KERNEL)
    with pytest.raises(ModelError, match=r"'conv7', operator Conv: .* 17 bits, more than .* 12$"):
        quantise(graph, Formats(acc_width=12), X)
    with pytest.raises(ModelError, match="'x' has no scale in the model; calibration needs"):
        quantise(graph, Formats())
    with pytest.raises(ModelError, match="at least one sample"):
        quantise(graph, Formats(), X[:0])
    with pytest.raises(ModelError, match=r"must have shape \[n, 2, 4, 4\]"):
        quantise(graph, Formats(), X[:, :1])
    with pytest.raises(ModelError, match="'x' is not finite"):
        quantise(graph, Formats(), X * np.nan)
    with pytest.raises(ConfigError, match="calibration must be one of"):
        quantise(graph, Formats(), X, calibration="best")
    with pytest.raises(ValueError, match="percentile must be above 50"):
        quantise(graph, Formats(), X, percentile=0.5)
    halves = [
        helper.make_node("Mul", ["x", "k"], ["h"]),
        helper.make_node("Relu", ["h"], ["hr"]),
        helper.make_node("Add", ["x", "hr"], ["y"], name="sum7"),
    ]
    with pytest.raises(ModelError, match=r"'sum7', operator Add: .* ratio that w_bits = 2"):
        quantise(small(*halves, output="y", k=np.float32(0.6)), Formats(w_bits=2), X)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("x_bits", 9),
        ("w_bits", 1),
        ("acc_width", 65),
        ("acc_width", 1),
        ("rounding", "up"),
        ("x_signed", 1),
    ],
)
def test_formats_are_checked(field, value):
    with pytest.raises(ConfigError, match=field):
        Formats(**{field: value})


def test_formats_of_an_engine():
    array = SystolicConfig(rows=4, cols=4, x_bits=4, x_signed=False, w_bits=3, k_max=100)
    config = EngineConfig(datapath=array, rounding="half_away")
    expected = Formats(x_bits=4, x_signed=False, w_bits=3, acc_width=14, rounding="half_away")
    assert Formats.of(config) == expected
    unsigned = EngineConfig(datapath=dataclasses.replace(array, w_signed=False))
    with pytest.raises(ConfigError, match="w_signed must be true"):
        Formats.of(unsigned)


def test_a_folded_zero_point_leaves_room_for_the_bias():
    """All weights of one sign and the longest sum: the zero point's share is the largest."""
    array = SystolicConfig(rows=4, cols=4, k_max=18)
    formats = Formats.of(EngineConfig(datapath=array))
    conv = helper.make_node("Conv", ["x", "w", "b"], ["c"])
    relu = helper.make_node("Relu", ["c"], ["y"])
    for bias in (50, -50):
        graph = small(conv, relu, output="y", w=-np.ones((1, 2, 3, 3)), b=[bias])
        q = quantise(graph, formats, np.abs(X))
        check_ranges(q)


def test_inputs_are_checked_and_saturate():
    q = quantise(small(CONV, output="c", w=KERNEL), Formats(), X)
    with pytest.raises(ValueError, match=r"shape \[n, 2, 4, 4\], not \[3, 2, 4\]"):
        q.quantise_input(X[..., 0])
    with pytest.raises(ValueError, match="finite"):
        q.quantise_input(np.full_like(X, np.inf))
    assert q.quantise_input(X * 1e6).max() == 127
    assert q.quantise_input(X).shape == (3, 4, 4, 2)
