"""Limits of the quantiser, on layers that are given without a file: last numbers that are taken."""

import numpy as np
import pytest

from tilewright.sw.graph import (
    Add,
    Clip,
    Graph,
    ModelError,
    Product,
    Quantisation,
    Requantise,
    Tensor,
)
from tilewright.sw.quantise import Formats, quantise
from tilewright.verif.golden.network import run

BYTE = Quantisation(scale=1.0, zero_point=0, low=-128, high=127)


def byte(scale: float, zero: int = 0) -> Quantisation:
    return Quantisation(scale=scale, zero_point=zero, low=-128, high=127)


def graph(*nodes, **tensors) -> Graph:
    """Return nodes from ``x`` to ``y``; tensors are shapes, with integers if the model has them."""
    known = {
        name: Tensor(name=name, shape=shape, quantisation=said)
        for name, (shape, said) in tensors.items()
    }
    return Graph(name="given", tensors=known, nodes=nodes, input="x", output="y")


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
    net = graph(
        second, add, x=((2,), BYTE), z=((2,), byte(scale, zero)), y=((2,), byte(2.0))
    )
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
    net = fully_connected([[30000 / 6]], [0], [1 / 6], said=BYTE,
                          result=Quantisation(scale=1.0, zero_point=0, low=-32768, high=32767))
    for layer in quantise(net, formats).layers:
        assert np.abs(layer.weights).max() <= formats.w_high
