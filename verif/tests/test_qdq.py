"""Models that state integers for some tensors or some readers."""

import numpy as np
import onnx
import pytest
from onnx import helper

from tilewright.sw.graph import ModelError, evaluate
from tilewright.sw.quantise import Formats, quantise
from tilewright.verif.golden.network import run, trace
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


def test_two_ranges_of_the_input():
    """The host gives one tensor, calibrated, for both."""
    b = Builder()
    proto = b.model(b.op("Add", b.conv(b.qdq("x", NARROW), 2), b.conv(b.qdq("x", WIDE), 2)))
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
