"""Models that state integers for some tensors or some readers, and ties between integers."""

from fractions import Fraction

import numpy as np
import onnx
import pytest
from onnx import helper

from tilewright.sw.model.evaluation import evaluate
from tilewright.sw.model.graph import ModelError
from tilewright.sw.model.inference import run, trace
from tilewright.sw.quantise import Formats, quantise
from tilewright.sw.quantise.scaling import bracket, tie_ratio
from tilewright.verif.onnx_reference import load_model, model, reference

RNG = np.random.default_rng(5)
X = RNG.normal(size=(12, 2, 6, 5)).astype(np.float32)
NARROW = (0.01, -128, np.int8)  # 0 to 2.55: a ReLU and a limit
WIDE = (0.07, 120, np.uint8)


class Builder:
    """Nodes in the order of calls, each result named after its call."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def op(self, kind: str, *inputs: str, output: str = "", **attributes: object) -> str:
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, value: np.ndarray) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def weights(self, *shape: int) -> str:
        """Return weights of 8 bits, so that sums are exact."""
        integers = RNG.integers(-127, 128, shape).astype(np.int8)
        scale = self.constant(np.float32(0.01))
        return self.op("DequantizeLinear", self.constant(integers), scale)

    def conv(self, x: str, size: int = 1, output: str = "") -> str:
        return self.op("Conv", x, self.weights(2, 2, size, size), output=output)

    def qdq(self, x: str, said: tuple[float, int, type], output: str = "") -> str:
        scale, zero, kind = said
        grid = self.constant(np.float32(scale)), self.constant(kind(zero))
        codes = self.op("QuantizeLinear", x, *grid)
        return self.op("DequantizeLinear", codes, *grid, output=output)

    def model(self, output: str, shape: tuple[int, ...] = (1, *X.shape[1:])) -> onnx.ModelProto:
        return model(self.nodes, self.constants, shape, output=output)


def one_branch(b: Builder, x: str) -> str:
    c = b.conv(x, 2)
    return b.op("Add", b.conv(b.qdq(c, NARROW)), b.conv(c))


def two_ranges(b: Builder, x: str) -> str:
    c = b.conv(x, 2)
    return b.op("Add", b.conv(b.qdq(c, NARROW)), b.conv(b.qdq(c, WIDE)))


def behind_a_pool(b: Builder, x: str) -> str:
    p = b.op("MaxPool", b.op("Relu", b.conv(x, 2)), kernel_shape=[2, 2])
    return b.op("Add", b.qdq(p, (0.003, 0, np.uint8)), b.conv(p))


def pool_of_a_branch(b: Builder, x: str) -> str:
    c = b.conv(x, 2)
    p = b.op("MaxPool", c, kernel_shape=[2, 2])
    return b.op("Add", b.qdq(p, NARROW), b.conv(c, 2))


def flattened_branch(b: Builder, x: str) -> str:
    c = b.conv(x, 2)
    flat = b.qdq(b.op("Flatten", c), NARROW)
    rest = b.op("Flatten", b.op("Relu", c))
    products = [b.op("MatMul", v, b.weights(40, 3)) for v in (flat, rest)]
    return b.op("Add", *products)


def renamed_branch(b: Builder, x: str) -> str:
    c = b.op("Identity", b.conv(x, 2))
    return b.op("Add", b.conv(b.qdq(c, NARROW)), b.conv(b.op("Identity", c)))


def of_a_sum(b: Builder, x: str) -> str:
    total = b.op("Add", x, b.qdq(b.conv(x), WIDE))
    return b.op("Add", b.conv(b.qdq(total, NARROW)), b.conv(total))


def two_on_the_way(b: Builder, x: str) -> str:
    c = b.conv(x, 2)
    r = b.op("Relu", c)
    p = b.op("MaxPool", r, kernel_shape=[2, 2])
    return b.op("Add", b.op("Add", b.qdq(p, NARROW), b.conv(c, 2)), b.conv(r, 2))


BRANCHES = [
    one_branch, two_ranges, behind_a_pool, pool_of_a_branch, flattened_branch, renamed_branch,
    of_a_sum, two_on_the_way,
]  # fmt: skip


@pytest.mark.parametrize("branches", BRANCHES)
def test_integers_of_a_branch_are_its_own(branches):
    """Readers of other branches see nothing of them, and the branch rounds once."""
    b = Builder()
    proto = b.model(branches(b, b.qdq("x", (0.03, 0, np.int8))))
    expected = reference(proto, X, literal=True)[0]
    graph = load_model(proto)
    values = dict(evaluate(graph, X))
    np.testing.assert_allclose(values[graph.output], expected, atol=1e-4)
    q = quantise(graph, Formats(w_bits=16, acc_width=56), X, calibration="minmax")
    assert len({layer.name for layer in q.layers}) == len(q.layers)
    assert {q.output}.union(*(layer.inputs for layer in q.layers)) == {q.input}.union(
        layer.output for layer in q.layers
    )
    tensors = dict(trace(q, q.quantise_input(X)))
    spread = max(float(np.abs(v).max()) for v in values.values())
    result = q.dequantise_output(tensors[q.output])
    np.testing.assert_allclose(result, expected, atol=0.02 * spread)
    stated = {name: t.quantisation for name, t in graph.tensors.items() if t.quantisation}
    assert len(set(stated) & set(tensors)) >= (1 if branches is flattened_branch else 2)
    for name in set(stated) & set(tensors):
        found = q.tensors[name].dequantise(tensors[name]).transpose(0, 3, 1, 2)
        steps = (found - values[name]) / stated[name].scale
        assert (np.abs(steps) > 0.01).mean() < 0.02


def two_of_the_input(b: Builder) -> str:
    return b.op("Add", b.conv(b.qdq("x", NARROW), 2), b.conv(b.qdq("x", WIDE), 2))


def input_and_its_shape(b: Builder) -> str:
    flat, rest = b.qdq(b.op("Flatten", "x"), NARROW), b.op("Flatten", b.conv("x", 2))
    return b.op("Add", *(b.op("MatMul", v, b.weights(n, 3)) for v, n in ((flat, 60), (rest, 40))))


@pytest.mark.parametrize("readers", [two_of_the_input, input_and_its_shape])
def test_ranges_of_the_input_for_some_readers(readers):
    """The host gives one tensor, calibrated, for all."""
    b = Builder()
    proto = b.model(readers(b))
    expected = reference(proto, X, literal=True)[0]
    graph = load_model(proto)
    np.testing.assert_allclose(dict(evaluate(graph, X))[graph.output], expected, atol=1e-4)
    with pytest.raises(ModelError, match="'x' has no scale in the model; calibration needs"):
        quantise(graph, Formats())
    q = quantise(graph, Formats(), X)
    result = q.dequantise_output(run(q, q.quantise_input(X)))
    assert np.abs(result - expected).max() < 0.03 * np.abs(expected).max()


def test_one_range_for_all_readers_is_the_tensors_own():
    """As exporters write it: a pair for each reader."""
    b = Builder()
    c = b.conv(b.qdq("x", (0.03, 0, np.int8)), 2, output="c")
    first, second = b.qdq(c, NARROW), b.qdq(c, NARROW)
    graph = load_model(b.model(b.op("Add", first, b.conv(second), output="y")))
    assert [part.op for part in graph.nodes] == ["Conv", "Conv", "Add"]
    said = graph.tensors["c"].quantisation
    assert said is not None
    assert (said.scale, said.zero_point) == (np.float32(0.01), -128)
    assert graph.tensors["x"].quantisation is not None


def test_pairs_one_behind_the_other_round_twice_as_they_say():
    b = Builder()
    first = b.qdq(b.qdq("x", WIDE), NARROW)
    proto = b.model(b.qdq(b.op("Relu", first), NARROW))
    q = quantise(load_model(proto), Formats())
    expected = reference(proto, X, literal=True)[0]
    result = q.dequantise_output(run(q, q.quantise_input(X)))
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_values_are_those_of_the_stated_integers():
    """A range that begins at 0 stands for the ReLU that a quantiser took away."""
    b = Builder()
    c = b.qdq(b.conv(b.qdq("x", WIDE, "a"), 2), NARROW, "d")
    proto = b.model(b.conv(c, output="y"))
    graph = load_model(proto)
    expected = reference(proto, X, literal=True)[0]
    values = dict(evaluate(graph, X))
    np.testing.assert_allclose(values["y"], expected, atol=1e-4)
    for name, (scale, zero, kind) in (("x", WIDE), (graph.nodes[0].output, NARROW)):
        steps = values[name] / np.float32(scale)
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
        ends = np.iinfo(kind)
        assert ends.min - zero <= steps.min()
        assert steps.max() <= ends.max - zero
    assert values[graph.nodes[0].output].min() == 0


def test_calibration_behind_stated_integers():
    """What follows a removed ReLU is calibrated on what it will see."""
    b = Builder()
    relu = b.qdq(b.conv(b.qdq("x", (0.03, 0, np.int8)), 2), (0.002, 0, np.uint8))
    proto = b.model(b.op("Relu", b.conv(b.conv(relu), 2)))
    expected = reference(proto, X, literal=True)[0]
    q = quantise(load_model(proto), Formats(), X)
    errors = q.dequantise_output(run(q, q.quantise_input(X))) - expected
    assert np.sqrt((errors**2).mean() / (expected**2).mean()) < 0.03


@pytest.mark.parametrize("layer_by_layer", [False, True])
def test_a_flattened_image_may_have_another_scale(layer_by_layer):
    """Values keep their places; the rows of the weights go with them."""
    b = Builder()
    flat = b.qdq(b.op("Flatten", b.qdq("x", WIDE)), NARROW)
    proto = b.model(b.qdq(b.op("MatMul", flat, b.weights(60, 3)), WIDE))
    q = quantise(load_model(proto), Formats(), layer_by_layer=layer_by_layer)
    expected = reference(proto, X, literal=True)[0]
    result = q.dequantise_output(run(q, q.quantise_input(X)))
    np.testing.assert_allclose(result, expected, atol=WIDE[0] * 1.01)
    assert (np.abs(result - expected) < 1e-6).mean() > 0.9


# -- ties


def rounded(value: Fraction, rounding: str) -> int:
    if rounding == "half_even":
        return round(value)
    whole = int(abs(value) + Fraction(1, 2))
    return whole if value > 0 else -whole


def check_ties(
    b: Builder, output: str, shape: tuple[int, ...], formats: Formats, factor: Fraction, sums
) -> None:
    """Compare the integers of a one-layer network with exact fractions, values near 0 and any."""
    q = quantise(load_model(b.model(output, (1, *shape))), formats)
    source, target = q.tensors[q.input], q.tensors[q.output]
    x = RNG.integers(source.low, source.high + 1, (8, *source.shape))
    x[::2] = np.clip(source.zero_point + x[::2] % 5 - 2, source.low, source.high)
    wanted = [
        rounded(factor * int(value), formats.rounding) + target.zero_point
        for value in sums(x - source.zero_point).reshape(-1)
    ]
    wanted = np.clip(wanted, target.low, target.high)
    np.testing.assert_array_equal(run(q, x).reshape(-1), wanted)


KERNELS = [(1, 2), (2, 2), (2, 3), (3, 3), (2, 5), (3, 4), (2, 7), (4, 5), (14, 14)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("rounding", ["half_even", "half_away"])
@pytest.mark.parametrize(("zero", "kind"), [(0, np.uint8), (10, np.int8)])
def test_averages_round_ties_as_configured(kernel, rounding, zero, kind):
    """Between equal scales and others, though no multiplier of 16 bits is a sixth."""

    def sums(x):
        return np.lib.stride_tricks.sliding_window_view(x, kernel, (1, 2)).sum((4, 5))

    for scale, w_bits in ((0.05, 8), (0.1, 2), (0.15, 8)):
        b = Builder()
        a = b.qdq("x", (0.05, zero, kind))
        pool = b.op("AveragePool", a, kernel_shape=list(kernel))
        output = b.qdq(pool, (scale, zero, kind))
        factor = Fraction(5, round(scale * 100)) / (kernel[0] * kernel[1])
        formats = Formats(rounding=rounding, w_bits=w_bits)
        check_ties(b, output, (2, kernel[0] + 1, kernel[1] + 2), formats, factor, sums)


@pytest.mark.parametrize("rounding", ["half_even", "half_away"])
def test_sums_and_changes_of_scale_round_ties_as_configured(rounding):
    formats = Formats(rounding=rounding)
    for scale, parts in ((0.3, 6), (0.5, 10), (0.6, 12), (0.03, Fraction(3, 5))):
        b = Builder()
        output = b.qdq(b.qdq("x", (0.05, 3, np.int8)), (scale, -2, np.int8))
        check_ties(b, output, (2, 3, 3), formats, 1 / Fraction(parts), lambda x: x)
        b = Builder()
        a = b.qdq("x", (0.05, 3, np.int8))
        output = b.qdq(b.op("Add", a, a), (scale, -2, np.int8))
        check_ties(b, output, (2, 3, 3), formats, 1 / Fraction(parts), lambda x: 2 * x)


def test_averages_with_a_pool_and_a_clip_behind_them():
    b = Builder()
    pool = b.op("AveragePool", b.qdq("x", (0.05, 0, np.int8)), kernel_shape=[2, 3])
    most = b.op("MaxPool", b.op("Relu", pool), kernel_shape=[2, 2])
    proto = b.model(b.qdq(most, (0.05, 0, np.int8)))
    q = quantise(load_model(proto), Formats())
    x = np.random.default_rng(1).integers(-9, 10, (20, *q.tensors[q.input].shape))
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 3), (1, 2)).sum((4, 5))
    means = np.vectorize(lambda total: max(round(Fraction(int(total), 6)), 0))(windows)
    wanted = np.lib.stride_tricks.sliding_window_view(means, (2, 2), (1, 2)).max((4, 5))
    np.testing.assert_array_equal(run(q, x), wanted)


@pytest.mark.parametrize("kernel", [(6, 14), (14, 14), (2, 505)])
@pytest.mark.parametrize("more_bits", range(8))
def test_weights_of_exact_ties_stay_within_the_accumulator(kernel, more_bits):
    b = Builder()
    pool = b.op("AveragePool", b.qdq("x", (0.05, 0, np.uint8)), kernel_shape=list(kernel))
    proto = b.model(b.qdq(pool, (0.05, 0, np.uint8)), (1, 1, *kernel))
    acc_width = (128 * kernel[0] * kernel[1]).bit_length() + 1 + more_bits
    q = quantise(load_model(proto), Formats(acc_width=acc_width))
    assert len(q.layers) == 2
    for layer in q.layers:
        assert 128 * np.abs(layer.weights).sum(0).max() < 1 << acc_width - 1
        assert np.abs(layer.bias).max() < 1 << acc_width - 1


@pytest.mark.parametrize(
    ("factor", "ratio"),
    [
        (1 / 6, Fraction(1, 6)), (5 / 6 * (1 + 1e-7), Fraction(5, 6)), (7 / 6, Fraction(7, 6)),
        (1 / 1022, Fraction(1, 1022)), (1 / 3, None), (3 / 8, None), (1.0, None), (0.0123, None),
        (1 / 6 * (1 + 1e-6), None), (1 / 1026, None), (37 / 30, None), (1e-9, None),
    ],
)  # fmt: skip
def test_factors_with_ties_are_told_apart(factor, ratio):
    assert tie_ratio(factor) == ratio


@pytest.mark.parametrize(
    "ratio", [Fraction(1, 6), Fraction(5, 6), Fraction(1, 196), Fraction(7, 18)]
)
@pytest.mark.parametrize("reach", [8, 256, 65536])
@pytest.mark.parametrize("widest", [1, 127, 4096])
def test_a_ratio_is_bracketed_as_closely_as_it_needs(ratio, reach, widest):
    below, above = (
        (weight, Fraction(weight * mult, 1 << shift), mult)
        for weight, mult, shift in bracket(ratio, reach, widest)
    )
    assert below[1] < ratio < above[1]
    need = Fraction(1, 2 * ratio.denominator * reach)
    for weight, factor, mult in (below, above):
        assert 1 <= weight <= widest
        assert 1 << 15 <= mult < 1 << 16
        error = abs(factor / ratio - 1)
        assert error < Fraction(1, 1 << 15)
        assert error < need or widest * ratio.denominator * reach < 1 << 31
        if weight > 1:
            side = int(factor > ratio)
            less, mult, shift = bracket(ratio, reach, weight - 1)[side]
            assert abs(Fraction(less * mult, 1 << shift) / ratio - 1) >= max(need, error)
