"""Packed networks as chains of arrays: the integers of the network, golden and on RTL."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tilewright.gen.errors import ToolError
from tilewright.hw.config import ConfigError
from tilewright.sw.model.graph import graph_of
from tilewright.sw.model.inference import trace
from tilewright.sw.model.operators import Clip, Convolution, MaxPool, Shift
from tilewright.sw.quantise import Formats, HostLayer, quantise
from tilewright.sw.sparse import chain as chain_module
from tilewright.sw.sparse.chain import SimulatedChain, chain_of
from tilewright.sw.sparse.columns import group_columns, prune_conflicts
from tilewright.verif.golden.packed_chain import packed_chain

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fashion_sparse"


def step(kind, output, source, **fields):
    return kind(name=output, op=kind.__name__, inputs=(source,), output=output, **fields)


def integers(quantised, images):
    """Return the integers of every tensor."""
    return dict(trace(quantised, quantised.quantise_input(images)))


def network(seed=1, shape=(5, 4, 6), rounding="half_even"):
    """Return a quantised network of packed layers, the groups, and values of all its arrays."""
    rng = np.random.default_rng(seed)
    groups, steps, source, channels = {}, [], "x", shape[2]
    for name, outputs, moves in (("a", 9, False), ("b", 8, True), ("c", 5, True)):
        weights = rng.normal(size=(channels, outputs))
        weights[rng.random(weights.shape) < 0.6] = 0
        weights[rng.integers(channels)] = 0  # a channel that no weight reads
        groups[name] = group_columns(weights, alpha=4, gamma=0.6)
        weights = prune_conflicts(weights, groups[name])
        if moves:
            offsets = rng.integers(-1, 2, (channels, 2))
            steps.append(step(Shift, f"{name}.shifted", source, offsets=offsets))
            source = f"{name}.shifted"
        fields = {"weights": weights[None, None], "bias": rng.normal(size=outputs)}
        steps.append(replace(step(Convolution, name, source, **fields), output=f"{name}.sum"))
        steps.append(step(Clip, name, f"{name}.sum", low=0.0, high=np.inf))
        source, channels = name, outputs
    steps.append(step(MaxPool, "pooled", "c", kernel=(2, 2), stride=(2, 2)))
    net = graph_of("net", "x", shape, steps, ("pooled",))
    images = rng.normal(size=(3, *shape))
    quantised = quantise(
        net, Formats(rounding=rounding), images, calibration="minmax", layer_by_layer=True
    )
    return quantised, groups, integers(quantised, images)


@pytest.mark.parametrize(("first", "last"), [("a", "c"), ("a", "a"), ("b", "c"), ("c", "c")])
def test_a_chain_gives_the_integers_of_the_network(first, last):
    for seed in range(5):
        quantised, groups, values = network(seed)
        chain = chain_of(quantised, groups, first, last)
        pixels = chain.pixels(values[chain.source])
        found = chain.images(packed_chain(chain.config, chain.layers, pixels))
        assert (found == values[chain.output]).all()
        assert len(np.unique(found)) > 8
        assert chain.source == {"a": "x", "b": "a", "c": "b"}[first]


def test_biases_have_the_bits_that_they_need():
    def least(biases):
        ends = [int(end) for bias in biases for end in (bias.min(), bias.max())]
        return max(8, *(max(end, ~end).bit_length() + 1 for end in ends))

    seen = set()
    for seed in range(8):
        quantised, groups, _ = network(seed)
        chain = chain_of(quantised, groups, "a", "c")
        assert chain.config.bias_bits == least([layer.bias for layer in chain.layers])
        seen.add(chain.config.bias_bits)
    assert len(seen) > 1


class FakeUnit:
    """A compiled chain that took vectors in cycles 5 to 9 and gives results from 20 on."""

    def forget(self):
        self.sent = None

    def offer(self, stream, fields):
        self.sent = stream, fields["data"]

    def run(self, stream, count, *, quiet):
        self.asked = stream, count
        return stream == "s_axis_params" or count == 20

    def seen(self, stream):
        first = {"s_axis_acts": 5, "m_axis_results": 20}[stream]
        beats = {"data": np.zeros((20, 1), np.uint64)}
        return SimpleNamespace(cycles=np.arange(first, first + 20), beats=beats)


def test_cycles_are_those_from_the_first_vector_to_the_last_result(monkeypatch):
    monkeypatch.setattr(chain_module, "load", lambda path: lambda config: None)
    monkeypatch.setattr(chain_module, "compile_component", lambda *args: FakeUnit())
    quantised, groups, values = network()
    simulated = SimulatedChain(chain_of(quantised, groups, "a", "c"))
    found, cycles = simulated.run(values["x"][:1])
    assert cycles == 39 - 5 + 1
    assert found.shape == (1, 5, 4, 5)
    assert simulated._unit.asked == ("m_axis_results", 20)
    with pytest.raises(ToolError, match="stopped before all results were out"):
        simulated.run(values["x"])


def test_layers_without_groups_are_dense():
    quantised, _, values = network()
    chain = chain_of(quantised, {}, "a", "c")
    assert chain.config.sizes[0] == (1,) * 6
    found = packed_chain(chain.config, chain.layers, chain.pixels(values["x"]))
    assert (chain.images(found) == values["c"]).all()


def test_what_is_no_chain_is_one_sentence():
    quantised, groups, _ = network()
    between = "by shifts and 1 x 1 convolutions alone, not by"
    with pytest.raises(ConfigError, match=f"^pooled must come from a {between} pooled$"):
        chain_of(quantised, groups, "a", "pooled")
    with pytest.raises(ConfigError, match=f"^a must come from c {between} the input$"):
        chain_of(quantised, groups, "c", "a")
    groups["b"] = np.zeros(9, np.int64)
    bounded = tuple(
        replace(layer, low=layer.low + 1) if isinstance(layer, HostLayer) else layer
        for layer in quantised.layers
    )
    other = replace(quantised, layers=bounded)
    with pytest.raises(ConfigError, match=f"^c must come from a {between} c.shifted$"):
        chain_of(other, groups, "a", "c")
    with pytest.raises(ConfigError, match="^b must have one weight per group and output; [0-9]+ "):
        chain_of(quantised, groups, "a", "c")


def test_far_shifts_are_refused():
    quantised, groups, _ = network()
    shift = next(layer for layer in quantised.layers if isinstance(layer, HostLayer))
    shift.node.offsets[:] = (0, 2)
    with pytest.raises(ConfigError, match=r"shift by one pixel at most, not by \(0, 2\)$"):
        chain_of(quantised, groups, "a", "c")


@pytest.fixture
def example(monkeypatch):
    """Return the script of examples/fashion_sparse that measures chains."""
    monkeypatch.syspath_prepend(EXAMPLE)
    spec = importlib.util.spec_from_file_location("fashion_chain", EXAMPLE / "chain.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("run", None)


@pytest.mark.parametrize(("first", "last"), [("layer4", "layer4"), ("layer9", "layer13")])
def test_real_layers(example, first, last):
    net, groups = example.load(EXAMPLE / "packed.npz")
    images = np.random.default_rng(1).random((2, 28, 28, 1))
    quantised = example.integers(net, images)
    values = integers(quantised, images)
    chain = chain_of(quantised, groups, first, last)
    pixels = chain.pixels(values[chain.source])
    found = chain.images(packed_chain(chain.config, chain.layers, pixels))
    assert (found == values[chain.output]).all()


@pytest.mark.slow
def test_real_layers_on_rtl(example):
    net, groups = example.load(EXAMPLE / "packed.npz")
    images = np.random.default_rng(1).random((3, 28, 28, 1))
    quantised, kept, x = example.part(net, groups, {"layer9": 3, "layer13": 2}, 8, images)
    chain = chain_of(quantised, kept, "layer9", "layer13")
    values = integers(quantised, x)
    hardware = SimulatedChain(chain)
    for count in (3, 1):
        found, cycles = hardware.run(values[chain.source][:count])
        assert (found == values[chain.output][:count]).all()
        assert cycles == chain.config.cycles(count)
    assert len(np.unique(found)) > 20
