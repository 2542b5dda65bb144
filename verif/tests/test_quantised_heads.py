"""Limits of the quantiser, on layers that are given without a file: last numbers that are taken."""

import numpy as np
import pytest

from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.model.graph import Graph, ModelError, Quantisation, Tensor
from tilewright.sw.model.inference import run
from tilewright.sw.model.operators import (
    Add,
    Clip,
    Convolution,
    MaxPool,
    Product,
    Requantise,
    Reshape,
)
from tilewright.sw.quantise import Formats, quantise

BYTE = Quantisation(scale=1.0, zero_point=0, low=-128, high=127)


def byte(scale: float, zero: int = 0) -> Quantisation:
    return Quantisation(scale=scale, zero_point=zero, low=-128, high=127)


def inside(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an image with its channels last."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def graph(*nodes, **tensors) -> Graph:
    """Return nodes from ``x`` to ``y``.

    Tensors are shapes, channels first, with integers if the model has them.
    """
    known = {
        name: Tensor(name=name, shape=inside(shape), quantisation=said)
        for name, (shape, said) in tensors.items()
    }
    return Graph(name="given", layout="nchw", tensors=known, nodes=nodes, input="x", outputs=("y",))


def product(weights, bias, steps=None) -> Product:
    return Product(
        name="fc7", op="Gemm", inputs=("x",), output="y", weights=np.array(weights, np.float32),
        bias=np.array(bias, np.float32), steps=None if steps is None else np.float32(steps),
    )  # fmt: skip


def fully_connected(weights, bias, steps=None, said=BYTE, result=None) -> Graph:
    k, n = np.shape(weights)
    return graph(product(weights, bias, steps), x=((k,), said), y=((n,), result))


@pytest.mark.parametrize(
    ("weight", "bias", "bits"),
    [(1, 0, 8), (-1, 0, 9), (1, 127, 8), (1, 128, 9), (1, -128, 8), (1, -129, 9), (2, 0, 9)],
)
def test_sums_and_biases_may_fill_the_accumulator(weight, bias, bits):
    """Inputs of -128 to 127: -128 times -1 needs nine bits, times 1 eight."""
    net = fully_connected([[weight]], [bias], [1.0])
    q = quantise(net, Formats(acc_width=bits))
    assert (q.layers[0].weights.item(), q.layers[0].bias.item()) == (weight, bias)
    with pytest.raises(ModelError, match=rf"'fc7', .* need {bits} bits, more than .* {bits - 1}$"):
        quantise(net, Formats(acc_width=bits - 1))


def test_only_what_comes_together_counts():
    """The largest sums of 127 * 3 + 128 * 2 and -128 * 3 - 127 * 2 are of eleven bits."""
    for weights in ([[3], [-2]], [[-3], [2]]):
        net = fully_connected(weights, [0], [1.0])
        assert quantise(net, Formats(acc_width=11)).layers[0].k == 2
        with pytest.raises(ModelError, match="need 11 bits"):
            quantise(net, Formats(acc_width=10))


@pytest.mark.parametrize("zero", [-128, -7, 0, 100])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("more", [-2, -1, 0, 1, 2, 100])
def test_a_bias_that_is_too_large_coarsens_its_channel(zero, sign, more):
    """Beside the bias there is room for the zero point times all weights, of 127 each here."""
    formats = Formats(acc_width=17)
    room = (1 << 16) - 2 - abs(zero) * 2 * 127
    for weight in (-1, 1):
        bias = sign * (room + more) / 127
        net = fully_connected([[weight]] * 2, [bias], said=byte(1.0, zero))
        (layer,) = quantise(net, formats, calibration="minmax").layers
        assert (np.abs(layer.weights) == 127).all() or more > 0
        real = layer.bias.item() + zero * layer.weights.sum()
        assert real * layer.raw_scale.item() == pytest.approx(bias, rel=1e-4)


@pytest.mark.parametrize(("weight", "fits"), [(-9, False), (-8, True), (7, True), (8, False)])
def test_integer_weights_are_those_of_the_model(weight, fits):
    net = fully_connected([[weight * 0.5], [0.5]], [2.4], [0.5])
    if fits:
        (layer,) = quantise(net, Formats(w_bits=4)).layers
        assert layer.weights.tolist() == [[weight], [1]]
        assert layer.bias.tolist() == [5]  # 4.8 steps
    else:
        with pytest.raises(ModelError, match=rf"run from .*{weight}.*, which w_bits = 4 does not"):
            quantise(net, Formats(w_bits=4))


def test_a_layer_of_which_some_channels_make_ties_stays_one():
    """A sixth of a sum is often a tie; 0.0123 of one hardly ever is."""
    steps = np.array([1 / 6, 0.0123])
    net = fully_connected(np.diag(steps), [0, 0], steps, result=BYTE)
    q = quantise(net, Formats())
    assert len(q.layers) == 1
    x = np.arange(-128, 128).reshape(-1, 1, 1, 1).repeat(2, 3)
    exact = x * steps
    found = run(q, x)
    assert np.abs(found - exact).max() <= 0.5 + 1e-3
    assert not (found - np.rint(exact))[..., 1].any()


def test_constant_matrices_have_a_most():
    wide = (8193,)  # the square of 8,192 is the most
    clip = Clip(name="clip7", op="Clip", inputs=("x",), output="y", low=-1.0, high=1.0)
    with pytest.raises(ModelError, match="'clip7', .* matrix of 8193 x 8193 weights"):
        quantise(graph(clip, x=(wide, BYTE), y=(wide, byte(2.0))), Formats())


@pytest.mark.parametrize(
    ("scale", "zero", "fits"),
    [
        (1 - 1 / 128, 0, True), (1 - 1 / 120, 0, False), (1 - 1 / 60, 0, False),
        (1 - 1 / 150, 100, False), (1 - 1 / 150, -100, False), (1 - 1 / 150, 0, True),
        (1 / 256, 0, True), (0.009, 0, False), (1 / 3, 0, False),
    ],
)  # fmt: skip
def test_scales_of_a_sum_may_differ_by_a_step_at_the_end_of_the_range(scale, zero, fits):
    """Two bits leave weights 1 and 1, or 1 and 0: what the second is off grows with its values."""
    add = Add(name="sum7", op="Add", inputs=("x", "z"), output="y")
    second = Requantise(name="second", op="QuantizeLinear", inputs=("x",), output="z")
    net = graph(second, add, x=((2,), BYTE), z=((2,), byte(scale, zero)), y=((2,), byte(2.0)))
    if fits:
        assert quantise(net, Formats(w_bits=2)).layers[-1].weights.max() == 1
    else:
        with pytest.raises(ModelError, match="'sum7', .* a ratio that w_bits = 2 cannot express"):
            quantise(net, Formats(w_bits=2))


def outliers() -> np.ndarray:
    """Return a thousand vectors of small values, and of two large ones in each element."""
    x = np.random.default_rng(5).normal(size=(1000, 2)).astype(np.float32)
    x[:2] = [[40, -50], [-60, 30]]
    return x


def test_what_is_not_said_is_squared_errors_or_one_value_in_ten_thousand():
    x, net = outliers(), fully_connected(np.eye(2), [0, 0], said=None)

    def scale(**options) -> float:
        return quantise(net, Formats(x_bits=4), x, **options).tensors["x"].scale

    assert scale() == scale(calibration="mse") != scale(calibration="minmax")
    ways = [scale(calibration="percentile", percentile=p) for p in (99.9, 99.99, 99.999)]
    assert scale(calibration="percentile") == ways[1] != ways[0]
    assert quantise(net, Formats(), x).layers[-1].raw


@pytest.mark.parametrize(("percentile", "fits"), [(50, False), (50.01, True), (100, True),
                                                  (100.01, False)])  # fmt: skip
def test_percentiles_lie_above_50_up_to_100(percentile, fits):
    net = fully_connected(np.eye(2), [0, 0], said=None)
    options = {"calibration": "percentile", "percentile": percentile}
    if fits:
        assert quantise(net, Formats(), outliers(), **options).tensors["x"].scale > 0
    else:
        with pytest.raises(ValueError, match="percentile must be above 50 and at most 100"):
            quantise(net, Formats(), outliers(), **options)


def test_tensors_of_one_value_stand_for_zero_too():
    net = fully_connected(np.eye(2), [0, 0], said=None)
    for signed in (False, True):
        q = quantise(net, Formats(x_signed=signed), np.zeros((3, 2)), calibration="minmax")
        assert (q.tensors["x"].scale, q.tensors["x"].zero_point) == (1.0, 0)


@pytest.mark.parametrize("rounding", ["half_even", "half_away"])
@pytest.mark.parametrize("below", [6, 18, 196])
@pytest.mark.parametrize("above", [1, 5])
def test_every_integer_of_sixteen_bits_is_divided_exactly(above, below, rounding):
    """Zero is the least integer here, so that results lie far from it."""
    formats = Formats(x_bits=16, x_signed=False, w_bits=16, acc_width=56, rounding=rounding)
    x, y = (Quantisation(scale=s, zero_point=0, low=0, high=65535) for s in (1.0, below / above))
    change = Requantise(name="change", op="QuantizeLinear", inputs=("x",), output="y")
    q = quantise(graph(change, x=((1,), x), y=((1,), y)), formats, raw_output=False)
    values = np.arange(65536)
    whole, rest = np.divmod(values * above, below)
    away = rounding == "half_away"
    wanted = whole + ((2 * rest > below) | (2 * rest == below) & (away | (whole % 2 == 1)))
    np.testing.assert_array_equal(run(q, values.reshape(-1, 1, 1, 1)).ravel(), wanted)


def test_weights_of_exact_ties_stay_within_their_bits():
    formats = Formats(x_bits=16, w_bits=16, acc_width=56)
    net = fully_connected(
        [[30000 / 6]],
        [0],
        [1 / 6],
        said=BYTE,
        result=Quantisation(scale=1.0, zero_point=0, low=-32768, high=32767),
    )
    for layer in quantise(net, formats).layers:
        assert np.abs(layer.weights).max() <= formats.w_high


def test_two_pools_behind_a_layer_are_both_computed():
    pools = [
        MaxPool(name=f"pool{i}", op="MaxPool", inputs=(a,), output=b, kernel=(2, 2), stride=stride)
        for i, (a, b, stride) in enumerate([("x", "m", (1, 1)), ("m", "y", (2, 2))])
    ]
    net = graph(*pools, x=((1, 5, 5), BYTE), m=((1, 4, 4), None), y=((1, 2, 2), None))
    x = np.random.default_rng(1).permutation(25).reshape(1, 1, 5, 5)
    q = quantise(net, Formats())
    wanted = [[x[0, 0, i : i + 3, j : j + 3].max() for j in (0, 2)] for i in (0, 2)]
    assert q.dequantise_output(run(q, q.quantise_input(x))).tolist() == [[wanted]]


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [(2.5, 3.5, (2, 4)), (-3.5, -2.5, (-4, -2)), (300, 400, (127, 127)), (-400, -300, (-128, -128)),
     (-np.inf, 5, (-128, 5)), (5, np.inf, (5, 127))],
)  # fmt: skip
def test_bounds_are_rounded_as_values_are_within_the_stated_integers(low, high, ends):
    clip = Clip(name="clip", op="Clip", inputs=("x",), output="y", low=low, high=high)
    wide = Quantisation(scale=1.0, zero_point=0, low=-32768, high=32767)
    net = graph(clip, x=((1,), wide), y=((1,), BYTE))
    (layer,) = quantise(net, Formats(x_bits=16)).layers
    assert (layer.low, layer.high) == ends


def test_a_clip_to_the_integers_that_the_layer_before_has_is_part_of_it():
    first = product([[1.0]], [0.0], [1.0])
    first = Product(**vars(first) | {"output": "m"})
    clip = Clip(name="clip", op="Clip", inputs=("m",), output="y", low=-5.5, high=7.25)
    net = graph(first, clip, x=((1,), BYTE), m=((1,), BYTE), y=((1,), BYTE))
    (layer,) = quantise(net, Formats()).layers
    assert (layer.op, layer.low, layer.high) == ("Gemm+Clip", -6, 7)


def test_sums_of_flattened_images_of_other_shapes_are_refused():
    shapes = {"x": (1, 3, 2), "a": (1, 2, 2), "b": (1, 1, 4), "c": (4,), "d": (4,), "y": (4,)}
    nodes = [
        MaxPool(name="p", op="MaxPool", inputs=("x",), output="a", kernel=(2, 1), stride=(1, 1)),
        Convolution(name="q", op="Conv", inputs=("x",), output="b", stride=(3, 1),
                    weights=np.ones((3, 1, 1, 1), np.float32), bias=np.zeros(1, np.float32),
                    pads=(0, 1, 0, 1)),
        Reshape(name="r", op="Flatten", inputs=("a",), output="c", to=(4,)),
        Reshape(name="s", op="Flatten", inputs=("b",), output="d", to=(4,)),
        Add(name="sum7", op="Add", inputs=("c", "d"), output="y"),
    ]  # fmt: skip
    net = graph(*nodes, **{name: (shape, BYTE) for name, shape in shapes.items()})
    with pytest.raises(ModelError, match="'sum7', .* its inputs differ in shape once flattened"):
        quantise(net, Formats())


@pytest.mark.parametrize("second", [(1, 4, 3), (12, 1, 1), (1, 3, 4)])
def test_a_vector_is_one_image(second):
    """Channels of one value each are no other image than the vector itself."""
    reshapes = [
        Reshape(name=name, op="Reshape", inputs=("x",), output=name, to=inside(shape))
        for name, shape in (("a", (1, 3, 4)), ("b", second))
    ]
    pools = [
        MaxPool(name=f"{a}{b}", op="MaxPool", inputs=(a,), output=b, kernel=(1, 1), stride=(1, 1))
        for a, b in (("a", "c"), ("b", "d"))
    ]
    flat = [
        Reshape(name=b, op="Flatten", inputs=(a,), output=b, to=(12,))
        for a, b in (("c", "e"), ("d", "f"))
    ]
    add = Add(name="sum", op="Add", inputs=("e", "f"), output="y")
    shapes = {"x": (12,), "a": (1, 3, 4), "b": second, "c": (1, 3, 4), "d": second}
    shapes |= dict.fromkeys("efy", (12,))
    net = graph(*reshapes, *pools, *flat, add, **{name: (s, BYTE) for name, s in shapes.items()})
    if second == (1, 4, 3):
        with pytest.raises(ModelError, match=r"'x' is reshaped to \[\(1, 3, 4\), \(1, 4, 3\)\]"):
            quantise(net, Formats())
    elif second == (1, 3, 4):
        assert quantise(net, Formats()).tensors["x"].shape == (3, 4, 1)
    else:
        with pytest.raises(ModelError, match="windows over a flattened input|differ in shape"):
            quantise(net, Formats())


def test_accumulators_have_eight_bits_at_least():
    array = SystolicConfig(rows=1, cols=1, x_bits=2, w_bits=2, k_max=1)
    config = EngineConfig(datapath=array)
    assert config.acc_width < 8
    assert Formats.of(config).acc_width == 8
