"""Networks whose layers pack, on arrays of cells that select: equal to golden, cycles exact."""

import dataclasses

import numpy as np
import pytest
from onnx import helper

from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.nm.config import NmConfig
from tilewright.hw.packed.config import PackedConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.cycles import predict
from tilewright.sw.families.base import family_of
from tilewright.sw.lower.layers import k_tiles
from tilewright.sw.lower.network_plan import plan_network
from tilewright.sw.model.inference import run, run_layer, tiled_product, trace
from tilewright.sw.quantise import Formats, quantise
from tilewright.sw.runtime.simulated import SimulatedEngine
from tilewright.verif.onnx_reference import load_model, model
from tilewright.verif.testbench.engine_programs import golden_engine


def residual_network(rng):
    """Convolutions of 3 x 3 and 1 x 1, an addition, pooling, and a last layer of 10 outputs."""
    node = helper.make_node
    sizes = {"a": (11, 2, 3, 3), "b": (11, 11, 1, 1), "c": (9, 11, 3, 3), "d": (10, 81)}
    nodes = [
        node("Conv", ["x", "a"], ["1"], pads=[1, 1, 1, 1]),
        node("Relu", ["1"], ["2"]),
        node("Conv", ["2", "b"], ["3"]),
        node("Add", ["2", "3"], ["4"]),
        node("MaxPool", ["4"], ["5"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["5", "c"], ["6"]),
        node("Relu", ["6"], ["7"]),
        node("Flatten", ["7"], ["8"]),
        node("Gemm", ["8", "d"], ["y"], transB=1),
    ]
    constants = {k: rng.standard_normal(v).astype(np.float32) for k, v in sizes.items()}
    return load_model(model(nodes, constants, (1, 2, 10, 10), output="y"))


def directions(channels):
    """Return the kernel position of each channel: nine parts as equal as they can be."""
    parts = np.array_split(np.arange(channels), 9)
    return np.repeat(np.arange(9), [len(part) for part in parts])


def shift_network(rng, c):
    """Two shift convolutions, each a shift of nine parts of the channels and a 1 x 1 convolution.

    Written as what they are in ONNX: kernels in which each channel has one position.
    """
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "a"], ["1"], pads=[1, 1, 1, 1]),
        node("Relu", ["1"], ["2"]),
        node("Conv", ["2", "b"], ["3"], pads=[1, 1, 1, 1]),
        node("MaxPool", ["3"], ["4"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["4", "c"], ["5"], pads=[1, 1, 1, 1]),
        node("Flatten", ["5"], ["6"]),
        node("Gemm", ["6", "d"], ["y"], transB=1),
    ]
    sizes = {"a": (c, 1, 3, 3), "b": (c, c, 3, 3), "c": (5, c, 3, 3), "d": (10, 80)}
    constants = {k: rng.standard_normal(v).astype(np.float32) for k, v in sizes.items()}
    for name in "bc":
        constants[name] *= np.arange(9).reshape(3, 3) == directions(c)[:, None, None]
    return load_model(model(nodes, constants, (1, 1, 8, 8), output="y"))


def shifted(layer, x):
    """Return a layer's sums: channels moved, zeros let in at the borders, 1 x 1 products."""
    n, h, w, c = x.shape
    moved = np.full_like(x, layer.pad_value)
    for channel, part in enumerate(directions(c)):
        down, right = part // 3 - 1, part % 3 - 1
        for row, column in np.ndindex(h, w):
            if 0 <= row + down < h and 0 <= column + right < w:
                moved[:, row, column, channel] = x[:, row + down, column + right, channel]
    used = layer.weights.reshape(9, c, layer.n)[directions(c), np.arange(c)]
    return moved.reshape(-1, c) @ used


@pytest.mark.parametrize(
    ("datapath", "channels", "tiles"),
    [
        (SystolicConfig(rows=4, cols=4, k_max=256), 27, 9),
        (SystolicConfig(rows=8, cols=4, k_max=256), 32, 9),  # parts are not equal
        (SystolicConfig(rows=4, cols=4, k_max=512), 45, 102),  # a part is more than a K tile
        (PackedConfig(rows=2, cols=4, alpha=8, k_max=256), 18, 9),
    ],
    ids=["systolic", "unequal", "wide", "packed"],
)
def test_shift_convolutions_walk_over_parts(datapath, channels, tiles):
    """Each channel is read where its shift says, at the cost of a 1 x 1 convolution's K tiles."""
    config = EngineConfig(datapath=datapath, act_depth=4096, drain_lanes=2)
    rng = np.random.default_rng(channels)
    images = rng.standard_normal((3, 1, 8, 8)).astype(np.float32)
    network = quantise(shift_network(rng, channels), Formats.of(config), images)
    found = k_tiles(config, network)
    assert [len(found[i]) for i in (1, 2)] == [tiles, tiles]
    inputs = network.quantise_input(images)
    values = dict(trace(network, inputs))
    for layer in network.layers[1:3]:
        x = values[layer.inputs[0]]
        sums = [run_layer(dataclasses.replace(layer, raw=True, bias=0 * layer.bias), [x], "even")]
        assert (shifted(layer, x) == np.concatenate(sums).reshape(-1, layer.n)).all()
    plan = plan_network(config, network)
    packets = golden_engine(config).run(plan.program(inputs)).packets
    lanes = np.concatenate([values for values, _ in packets])
    assert (plan.decode(lanes, len(inputs)) == values[network.output]).all()


def with_weights(network, modes, weights):
    """Return the network with other modes and weights."""
    layers = (
        dataclasses.replace(layer, mode=mode, weights=w)
        for layer, mode, w in zip(network.layers, modes, weights, strict=True)
    )
    return dataclasses.replace(network, layers=tuple(layers))


def thinned(config, network, modes):
    """Return the weights of each layer that groups as large as in ``modes`` have room for."""
    d = config.datapath
    unchanged = [layer.weights for layer in network.layers]
    tiles = k_tiles(config, with_weights(network, modes, unchanged))
    found = []
    for layer, mode, lanes in zip(network.layers, modes, tiles, strict=True):
        weights = np.zeros_like(layer.weights)
        for group in lanes[:, : d.tile_k(mode)].reshape(-1, d.span(mode)):
            held = group[group >= 0]
            for n in range(layer.n):
                kept = held[np.flatnonzero(layer.weights[held, n])[: d.share]]
                weights[kept, n] = layer.weights[kept, n]
        found.append(weights)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("datapath", "modes"),
    [
        (PackedConfig(rows=2, cols=4, alpha=8, k_max=1024), [0, 3, 0, 2, 3]),
        (PackedConfig(rows=3, cols=5, alpha=6, k_max=1024), [2, 1, 0, 3, 0]),
        (NmConfig(rows=4, cols=4, n=2, m=4, k_max=1024), [1, 0, 0, 1, 1]),
    ],
    ids=["packed", "packed6", "nm"],
)
def test_networks_equal_golden(datapath, modes):
    config = EngineConfig(datapath=datapath, act_depth=512, drain_lanes=2)
    rng = np.random.default_rng(7)
    images = rng.standard_normal((6, 2, 10, 10)).astype(np.float32)
    network = quantise(residual_network(rng), Formats.of(config), images)
    assert len(network.layers) == len(modes)
    weights = thinned(config, network, modes)
    network = with_weights(network, [0] * len(modes), weights)
    family = family_of(datapath)
    inputs = network.quantise_input(images)
    dense = plan_network(config, network)
    network = family.prepare(network, inputs)
    assert all(layer.mode >= mode for layer, mode in zip(network.layers, modes, strict=True))
    tiles = zip(network.layers, k_tiles(config, network), strict=True)
    product = tiled_product(family.golden, {x.name: t for x, t in tiles})
    golden = run(network, inputs, product)
    assert (golden == run(network, inputs)).all()
    plan = plan_network(config, network)
    program = plan.program(inputs)
    result = SimulatedEngine(config).run(program)
    assert (plan.decode(result.lanes, len(inputs)) == golden).all()
    assert result.cycles == predict(config, program).cycles
    assert result.cycles < predict(config, dense.program(inputs)).cycles
