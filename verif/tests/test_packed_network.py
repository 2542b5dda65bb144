"""Networks whose layers pack, on arrays of cells that select: equal to golden, cycles exact."""

import dataclasses

import numpy as np
import pytest
from onnx import helper

from tilewright.gen.catalog import find_unit, load
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.nm.config import NmConfig
from tilewright.hw.packed.config import PackedConfig
from tilewright.sw.cycles import predict
from tilewright.sw.mapping.network import k_tiles, plan_network
from tilewright.sw.pack.by_mode import tile_k
from tilewright.sw.quantise import Formats, quantise
from tilewright.sw.runtime.simulated import SimulatedEngine
from tilewright.verif.golden.network import run, tiled_product
from tilewright.verif.onnx_reference import load_model, model


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
        for group in lanes[:, : tile_k(d, mode)].reshape(-1, d.span(mode)):
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
    row = find_unit(datapath.family)
    inputs = network.quantise_input(images)
    dense = plan_network(config, network, load(f"sw.pack.{datapath.family}:pack_tile"))
    network = load(row.prepare)(datapath, network, k_tiles(config, network), inputs)
    assert all(layer.mode >= mode for layer, mode in zip(network.layers, modes, strict=True))
    tiles = zip(network.layers, k_tiles(config, network), strict=True)
    product = tiled_product(load(row.golden), datapath, {x.name: t for x, t in tiles})
    golden = run(network, inputs, product)
    assert (golden == run(network, inputs)).all()
    plan = plan_network(config, network, load(f"sw.pack.{datapath.family}:pack_tile"))
    program = plan.program(inputs)
    result = SimulatedEngine(config).run(program)
    assert (plan.decode(result.lanes, len(inputs)) == golden).all()
    assert result.cycles == predict(config, program).cycles
    assert result.cycles < predict(config, dense.program(inputs)).cycles
