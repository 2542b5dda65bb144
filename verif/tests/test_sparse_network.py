"""Networks that run layer by layer: packed, arranged, quantised, and trained jointly."""

import importlib.util
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.sw import zoo
from tilewright.sw.model.evaluation import evaluate
from tilewright.sw.model.graph import Graph, Quantisation, graph_of
from tilewright.sw.model.inference import trace
from tilewright.sw.model.operators import (
    Add,
    AveragePool,
    Clip,
    Convolution,
    DepthToSpace,
    DepthwiseConvolution,
    MaxPool,
    Pad,
    Reshape,
    ResizeBilinear,
    Shift,
    convolutions,
)
from tilewright.sw.quantise import Formats, HostLayer, QuantisedGraph, QuantisedLayer, quantise
from tilewright.sw.sparse import side_by_side
from tilewright.sw.sparse.columns import group_columns, members, prune_conflicts, unpack
from tilewright.sw.sparse.packed_graph import arrange_channels, pack_network, report
from tilewright.sw.sparse.refit import refit

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def step(kind, output, *inputs, **fields):
    return kind(name=output, op=kind.__name__, inputs=inputs, output=output, **fields)


def bounded(node, low=0.0, high=np.inf):
    """Return a node and the bounds of its result, under the name that it had."""
    inner = f"{node.output}.sum"
    clip = Clip(name=inner, op="Clip", inputs=(inner,), output=node.output, low=low, high=high)
    return replace(node, output=inner), clip


def integers(net: Graph, x, formats=Formats()) -> QuantisedGraph:  # noqa: B008
    return quantise(net, formats, x, calibration="minmax", layer_by_layer=True)


def run(q: QuantisedGraph, x, *product):
    """Return the integers of every tensor."""
    return dict(trace(q, q.quantise_input(x), *product))


def network(seed=0):
    """Return every kind of step: a stem, a shared sum, a chain, two outputs."""
    rng = np.random.default_rng(seed)

    def sparse(*shape):
        return rng.normal(size=shape) * (rng.random(shape) < 0.4)

    def bias(n):
        return rng.normal(size=n)

    moves = rng.integers(-1, 2, (12, 2))
    steps = (
        *bounded(step(Convolution, "a", "x", weights=rng.normal(size=(3, 3, 2, 8)), bias=bias(8),
                      stride=(2, 2), pads=(0, 0, 1, 1))),
        *bounded(step(Convolution, "b", "a", weights=sparse(1, 1, 8, 12), bias=bias(12))),
        step(Shift, "c", "b", offsets=moves),
        *bounded(step(DepthwiseConvolution, "d", "c", weights=rng.normal(size=(3, 3, 12)),
                      bias=bias(12), pads=(1, 1, 1, 1))),
        step(Convolution, "e", "d", weights=sparse(1, 1, 12, 8), bias=bias(8)),
        *bounded(step(Add, "f", "a", "e")),
        *bounded(step(Convolution, "g", "f", weights=sparse(1, 1, 8, 8), bias=bias(8)), high=40.0),
        step(MaxPool, "h", "g", kernel=(2, 2), stride=(2, 2)),
        step(ResizeBilinear, "i", "h"),
        step(Pad, "j", "i", widths=((0, 0), (0, 0), (0, 4))),
        step(DepthToSpace, "s", "j", block=2),
        step(Reshape, "k", "s", to=(64, 3)),
        step(AveragePool, "l", "g", kernel=(4, 4)),
    )  # fmt: skip
    return graph_of("every", "x", (8, 8, 2), steps, ("k", "l"))


def images(count=6, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 8, 8, 2)).astype(np.float32)


def grouped(net, names=("b", "e", "g")):
    layers = {name: convolutions(net)[name].matrix for name in names}
    return layers, {name: group_columns(w, alpha=4, gamma=0.5) for name, w in layers.items()}


def test_packed_network_holds_the_kept_weights():
    net = network()
    layers, groups = grouped(net)
    packed = pack_network(net, groups)
    for name, found in convolutions(packed).items():
        if name in groups:
            np.testing.assert_array_equal(found.matrix, prune_conflicts(layers[name], groups[name]))
        else:
            np.testing.assert_array_equal(found.matrix, convolutions(net)[name].matrix)
    told = report(layers, groups)
    assert told.columns == 28
    assert told.packed_columns == sum(g.max() + 1 for g in groups.values())
    assert told.kept == sum(np.count_nonzero(convolutions(packed)[n].matrix) for n in groups)
    assert 0 < told.loss < 1
    assert 0 < told.utilisation <= 1


def test_refit_layers_give_nearly_what_they_gave():
    """Zeros stay; each fitted output is the least-squares answer; the result comes nearer."""
    net = network(4)
    _, groups = grouped(net)
    packed = pack_network(net, groups)
    x = images(40)
    fitted = refit(net, packed, set(groups), x)
    for name, layer in convolutions(packed).items():
        found = convolutions(fitted)[name].matrix
        assert not found[layer.matrix == 0].any()
        if name not in groups:
            np.testing.assert_array_equal(found, layer.matrix)
    real = dict(evaluate(net, images(40, 2)))
    errors = [
        np.square(dict(evaluate(n, images(40, 2)))["k"] - real["k"]).mean()
        for n in (packed, fitted)
    ]
    assert errors[1] < 0.7 * errors[0]
    values = dict(evaluate(net, x))
    inputs, outputs = (
        values["a"].reshape(-1, 8),
        values["a"].reshape(-1, 8) @ (convolutions(net)["b"].matrix),
    )
    layer = convolutions(refit(net, packed, {"b"}, x, ridge=0))["b"]
    for output in range(12):
        used = np.flatnonzero(convolutions(packed)["b"].matrix[:, output])
        columns = np.column_stack([inputs[:, used], np.ones(len(inputs))])
        target = outputs[:, output] + convolutions(net)["b"].bias[output]
        expected = np.linalg.lstsq(columns, target, rcond=None)[0]
        np.testing.assert_allclose(layer.matrix[used, output], expected[:-1], atol=1e-4)


def test_a_fitted_weight_is_held_where_it_is():
    """Inputs -1 and 1 and a channel of zeros: w makes up for (w - 3)^2 twice and ridge (w - 1)^2.

    The mean square of the inputs is 1, half for each of two images, of two channels.
    """

    def net(weight):
        matrix = np.array([[weight], [0]], np.float32).reshape(1, 1, 2, 1)
        layer = step(Convolution, "y", "x", weights=matrix, bias=np.array([5], np.float32))
        return graph_of("n", "x", (1, 1, 2), (layer,), ("y",))

    x = np.array([[-1, 0], [1, 0]]).reshape(2, 1, 1, 2)
    for ridge, expected in ((0, 3), (2, 2), (1e6, 1)):
        layer = convolutions(refit(net(3), net(1), {"y"}, x, ridge=ridge))["y"]
        np.testing.assert_allclose(layer.matrix, [[expected], [0]], atol=1e-4)
        np.testing.assert_allclose(layer.bias, [5], atol=1e-4)


def test_a_layer_is_fitted_to_what_the_whole_network_gave():
    """The first layer now gives a third of what it gave; the second makes up for it."""

    def layer(output, source, weight):
        matrix = np.array([[[[weight]]]], np.float32)
        return step(Convolution, output, source, weights=matrix, bias=np.zeros(1, np.float32))

    def net(weight):
        steps = (layer("a", "x", weight), layer("b", "a", 2))
        return graph_of("n", "x", (1, 1, 1), steps, ("b",))

    x = np.array([-1.0, 1.0]).reshape(2, 1, 1, 1)
    found = convolutions(refit(net(3), net(1), {"b"}, x, ridge=0))
    np.testing.assert_allclose([found[name].matrix.item() for name in "ab"], [1, 6], atol=1e-4)


@given(st.integers(0, 30))
def test_arranged_channels_change_nothing_but_the_order(seed):
    """Only e's input is its alone, through a shift and a convolution by channels."""
    net = network(seed)
    _, groups = grouped(net)
    other, arranged = arrange_channels(net, groups)
    assert list(arranged) == ["e"]
    used = arranged["e"][arranged["e"] >= 0]
    assert (np.diff(used) >= 0).all()
    assert sorted(map(len, members(arranged["e"]))) == sorted(map(len, members(groups["e"])))
    before, after = dict(evaluate(net, images())), dict(evaluate(other, images()))
    for name in "aefghijskl":
        np.testing.assert_allclose(after[name], before[name], atol=1e-4)


@pytest.mark.parametrize("rounding", ["half_even", "half_away"])
@pytest.mark.parametrize(("height", "width"), [(2, 3), (2, 5), (3, 4), (2, 7), (7, 7)])
def test_means_round_ties_as_configured(rounding, height, width):
    """Between equal scales a sum of six is often half way between two multiples of six."""
    pool = step(AveragePool, "y", "x", kernel=(height, width))
    net = graph_of("mean", "x", (height, width, 3), (pool,), ("y",))
    said = Quantisation(scale=2 / 255, zero_point=3, low=-128, high=127)
    tensors = {name: replace(tensor, quantisation=said) for name, tensor in net.tensors.items()}
    quantised = quantise(
        replace(net, tensors=tensors), Formats(rounding=rounding), layer_by_layer=True
    )
    zero, scale = quantised.tensors["x"].zero_point, quantised.tensors["x"].scale
    assert (zero, scale) == (said.zero_point, said.scale)
    x = np.random.default_rng(1).integers(-9, 10, (200, height, width, 3))
    values = run(quantised, x * scale)
    np.testing.assert_array_equal(values["x"], x + zero)
    count = height * width
    for total, mean in zip(x.sum((1, 2)).flat, values["y"].flat, strict=True):
        exact = Fraction(int(total), count)
        away = int(abs(exact) + Fraction(1, 2)) * (1 if total > 0 else -1)
        assert mean - zero == (round(exact) if rounding == "half_even" else away)


@given(st.integers(0, 99))
def test_shifts_read_beside_each_pixel(seed):
    rng = np.random.default_rng(seed)
    offsets, x = rng.integers(-2, 3, (4, 2)), rng.normal(size=(2, 3, 4, 4))
    result = step(Shift, "y", "x", offsets=offsets).compute([x])
    wanted = np.zeros_like(x)
    for n, row, column, channel in np.ndindex(x.shape):
        r, c = row + offsets[channel, 0], column + offsets[channel, 1]
        if 0 <= r < 3 and 0 <= c < 4:
            wanted[n, row, column, channel] = x[n, r, c, channel]
    np.testing.assert_array_equal(result, wanted)


def test_a_bias_beyond_the_accumulator_coarsens_its_channel():
    weights = np.array([[1.0, 1e-9, 0.0, -1.0]])[None, None]
    bias = np.array([0.5, -3.0, 2.0, 0.0])
    conv = step(Convolution, "y", "x", weights=weights, bias=bias)
    net = graph_of("n", "x", (1, 1, 1), (conv,), ("y",))
    x = np.linspace(-1, 1, 9).reshape(9, 1, 1, 1)
    quantised = integers(net, x, Formats(acc_width=17))
    assert np.abs(quantised.layers[0].bias).max() < 1 << 16
    result = quantised.dequantise(run(quantised, x))["y"]
    np.testing.assert_allclose(result, x * weights[0, 0] + bias, atol=0.02)


def test_bounds_of_what_moves_hold_in_integers():
    """A bound beyond the range or between two steps is a bound all the same."""
    x = np.random.default_rng(2).normal(size=(8, 4, 4, 2)).astype(np.float32)
    moves = {
        "pool": step(MaxPool, "y", "x", kernel=(2, 2), stride=(2, 2)),
        "shift": step(Shift, "y", "x", offsets=np.array([[0, 1], [-1, 0]])),
        "pad": step(Pad, "y", "x", widths=((1, 0), (0, 1), (0, 0))),
        "shape": step(Reshape, "y", "x", to=(2, 8, 2)),
    }
    for move in moves.values():
        for low, high in ((0.0, np.inf), (0.0, 0.005), (-np.inf, 0.0), (5.0, 6.0), (-0.3, np.inf)):
            net = graph_of("m", "x", (4, 4, 2), bounded(move, low, high), ("y",))
            quantised = integers(net, x)
            result = quantised.dequantise(run(quantised, x))["y"]
            real = dict(evaluate(net, x))["y"]
            scale = max(quantised.tensors[name].scale for name in "xy")
            np.testing.assert_allclose(result, real, atol=0.76 * scale)
            step_size = quantised.tensors["y"].scale
            if np.isinf((low, high)).any() and 0 in (low, high):
                assert step_size == quantised.tensors["x"].scale
            assert result.max() <= high + step_size / 2
            assert low - step_size / 2 <= result.min()


def test_integers_follow_the_real_network():
    net = network(3)
    x = images(32)
    quantised = integers(net, x)
    real = dict(evaluate(net, x))
    seen = {}

    def product(layer, rows):
        assert rows.min() >= -128
        assert rows.max() <= 127
        assert np.abs(layer.weights).max() <= 127
        seen[layer.name] = layer
        return rows @ layer.weights

    values = run(quantised, x, product)
    assert set(seen) == set(convolutions(net))
    plain = run(quantised, x)
    for name, found in values.items():
        np.testing.assert_array_equal(found, plain[name])
        tensor = quantised.tensors[name]
        assert tensor.shape == found.shape[1:]
        error = np.abs(tensor.dequantise(found) - real[name]) / np.ptp(real[name])
        assert error.max() < 0.08, name
        assert error.mean() < 0.005, name
    assert set(quantised.dequantise(values)) == {"k", "l"}
    kinds = {layer.name: type(layer) for layer in quantised.layers}
    assert kinds == {name: QuantisedLayer if name in "abeg" else HostLayer for name in kinds}


def test_what_only_moves_keeps_its_scale():
    net = network()
    quantised = integers(net, images())
    for one, other in (("b", "c"), ("g", "h"), ("i", "j"), ("j", "s"), ("s", "k")):
        ours, theirs = quantised.tensors[one], quantised.tensors[other]
        assert replace(ours, name=other, shape=theirs.shape) == theirs


def test_figures_of_packed_layers_worked_out_by_hand():
    layers = {"a": np.array([[3, 1], [-4, 0], [1, -1], [0, 2]]), "b": np.array([[1], [2]])}
    told = report(layers, {"a": np.array([0, 0, 0, 1]), "b": np.array([0, 1])})
    assert (told.columns, told.packed_columns) == (6, 4)
    assert (told.cells, told.packed_cells) == (10, 6)
    assert (told.weights, told.kept) == (8, 5)
    # The first layer loses 11 of 32, the second nothing.
    assert told.loss == pytest.approx(11 / 32 / 2)
    assert told.utilisation == pytest.approx(5 / 6)


class FakeEngine:
    """An array that takes a known time and may be wrong."""

    wrong, late = set(), set()

    def __init__(self, family, **fields):
        self.family, self.fields = family, fields

    def matmul(self, x, w):
        if self.family == "packed" and hasattr(w, "selects"):
            w = unpack(w)
        cycles = {"packed": 10, "systolic": 35 if len(w) == 4 else 12}[self.family] * w.shape[1]
        stats = SimpleNamespace(
            cycles=cycles, predicted_cycles=cycles + (self.family in self.late), useful=7
        )
        return x @ w + (self.family in self.wrong), stats


def test_figures_of_both_arrays_worked_out_by_hand(monkeypatch):
    monkeypatch.setattr(side_by_side, "Engine", FakeEngine)
    packed, dense = np.array([[3, 1], [0, 0], [0, 0], [0, -1]]), np.array([[1, 1, 1]])

    def run():
        both = side_by_side.SideBySide({"a": np.array([0, 0, 0, 1])}, alpha=4, rows=2, cols=3)
        for name, w in (("a", packed), ("dense", dense)):
            layer = SimpleNamespace(name=name, weights=w)
            both.product(layer, np.ones((5, len(w)), np.int64))
        return both.report()

    told = run()
    assert told["cycles"] == {"packed": 10 * 2 + 10 * 3, "systolic": 35 * 2 + 12 * 3}
    assert told["cycles of packed layers"] == {"packed": 20, "systolic": 70}
    assert told["every integer equal and every cycle as predicted"]
    assert told["times fewer cells"] == 2  # four rows in two groups
    assert told["times fewer cycles"] == 3.5
    assert told["utilisation"] == round(7 / (6 * 20), 4)
    for wrong in ("wrong", "late"):
        for family in ("packed", "systolic"):
            monkeypatch.setattr(FakeEngine, wrong, {family})
            assert not run()["every integer equal and every cycle as predicted"]
        monkeypatch.setattr(FakeEngine, wrong, set())


@pytest.mark.slow
def test_packed_layers_on_the_rtl():
    """Each convolution on the column-combining array and on the dense one, every integer equal."""
    from tilewright.sw.sparse.side_by_side import SideBySide

    net = network(2)
    _, groups = grouped(net)
    quantised = integers(pack_network(net, groups), images())
    both = SideBySide(groups, alpha=4, rows=2, cols=4)
    found, expected = run(quantised, images(1), both.product), run(quantised, images(1))
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    told = both.report()
    assert told["every integer equal and every cycle as predicted"]
    assert 1 < told["times fewer cycles"] <= 1.05 * told["times fewer cells"]
    assert 0 < told["utilisation"] < 1


def example(name):
    path = EXAMPLES / "fashion_sparse" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"fashion_sparse_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_trained_model_is_packed():
    """The model that is kept: full cells, a seventh of them, nothing lost in packing."""
    script = example("run")
    net, groups = script.load(EXAMPLES / "fashion_sparse" / "packed.npz")
    told = report({name: convolutions(net)[name].matrix for name in groups}, groups)
    assert (told.columns, told.loss) == (252, 0)
    assert told.utilisation > 0.9
    assert told.cells > 6 * told.packed_cells
    try:
        images, labels = zoo.fashion("test")
    except zoo.ZooError as error:
        pytest.skip(str(error))
    images, labels = images[:500], labels[:500]
    quantised = script.integers(net, images[:100, ..., None] / 255)
    assert (script.classes(quantised, images) == labels).mean() > 0.85


@pytest.fixture
def script():
    pytest.importorskip("torch", reason="needs PyTorch, extra train")
    return example("train")


def pruned(script, fill, **fields):
    import torch

    from tilewright.sw.sparse.joint import ColumnCombining, JointConfig

    torch.manual_seed(0)
    model = script.network()
    config = JointConfig(alpha=8, gamma=0.5, sparsity=0.85, events=2, fill=fill, **fields)
    return model, ColumnCombining(script.packed_layers(model), config)


@pytest.mark.parametrize("fill", [False, True])
def test_events_prune_group_and_fill(script, fill):
    """Weights under the mask are those that pruning keeps; filled cells are full."""
    model, pruning = pruned(script, fill)
    full = pruning.weights()
    full = {name: w.copy() for name, w in full.items()}
    pruning.event()
    halfway = {name: np.count_nonzero(w) for name, w in pruning.weights().items()}
    pruning.event()
    for name, weights in pruning.weights().items():
        groups = pruning.groups[name]
        np.testing.assert_array_equal(weights, prune_conflicts(weights, groups))
        used = weights != 0
        np.testing.assert_array_equal(weights[used], full[name][used])
        assert np.count_nonzero(weights) < halfway[name]
        if not fill:
            assert np.count_nonzero(weights) <= 0.15 * weights.size + 1
    told = script.packing(pruning)
    assert told["packed columns"] < told["columns"] / 4
    assert (told["utilisation"] == 1) == fill


def test_training_goes_on_where_it_stopped(script, tmp_path):
    """Two epochs at once, and one, a stop and another: the same weights."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.rand(256, 1, 28, 28, generator=generator)
    y = torch.randint(0, 10, (256,), generator=generator)
    results = []
    for parts in ((2,), (1, 2)):
        checkpoint = tmp_path / f"{len(parts)}.pt"
        for part in parts:
            model, pruning = pruned(script, True)
            script.train(
                model, pruning, (x, y), epochs=2, rate=1e-3, checkpoint=checkpoint, stop=part
            )
        results.append({name: w.copy() for name, w in pruning.weights().items()})
        for name, layer in script.packed_layers(model).items():
            used = layer.weight.detach().numpy()[:, :, 0, 0].T
            np.testing.assert_array_equal(results[-1][name], used)
    for name, weights in results[0].items():
        np.testing.assert_array_equal(weights, results[1][name])
