"""Cycles of the packed layers on a chain of arrays and on one array; see README.md here."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from run import HERE, integers, load

from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.packed.config import PackedConfig
from tilewright.sw.cycles import predict
from tilewright.sw.engine import Engine
from tilewright.sw.families.packed import Packed
from tilewright.sw.lower.matmul import plan_matmul
from tilewright.sw.model.evaluation import evaluate
from tilewright.sw.model.graph import Graph, graph_of
from tilewright.sw.model.inference import trace
from tilewright.sw.model.operators import Convolution, Shift
from tilewright.sw.quantise import QuantisedGraph
from tilewright.sw.sparse.chain import Chain, SimulatedChain, chain_of
from tilewright.sw.sparse.columns import PackedColumns, combine

Groups = dict[str, NDArray[np.int64]]


def part(
    network: Graph, groups: Groups, columns: dict[str, int], outputs: int, images: NDArray
) -> tuple[QuantisedGraph, Groups, NDArray]:
    """Return some packed columns of consecutive layers as a network, and its inputs.

    ``columns`` says how many of each layer; a layer keeps the outputs that the next one reads.
    ``images`` are the whole network's.
    """
    first = next(iter(columns))
    made = dict(evaluate(network, images))
    nodes = {node.name: node for node in network.nodes}
    kept = {name: np.flatnonzero((groups[name] >= 0) & (groups[name] < count))
            for name, count in columns.items()}  # fmt: skip
    emitted = [*list(kept.values())[1:], np.arange(outputs)]
    chosen = []
    for (name, channels), out in zip(kept.items(), emitted, strict=True):
        conv, relu, shift = (nodes[f"{name}{end}"] for end in ("", ".sum", ".shifted"))
        assert isinstance(conv, Convolution)
        assert isinstance(shift, Shift)
        chosen.append(replace(shift, offsets=shift.offsets[channels]))
        weights = conv.weights[:, :, channels][..., out]
        chosen += [replace(conv, weights=weights, bias=conv.bias[out]), relu]
    source = chosen[0].inputs[0]
    x = made[source][..., kept[first]]
    small = graph_of("part", source, x.shape[1:], chosen, (chosen[-1].output,))
    return integers(small, x), {n: groups[n][c] for n, c in kept.items()}, x


def packed_layers(chain: Chain) -> list[PackedColumns]:
    """Return the packed columns of a chain's layers."""
    return [
        combine(layer.weights, np.repeat(np.arange(len(sizes)), sizes), alpha=max(sizes))
        for sizes, layer in zip(chain.config.sizes, chain.layers, strict=True)
    ]


def shape(chain: Chain) -> dict[str, int]:
    """Return the array that holds each layer of a chain whole."""
    arrays = [layer.array for layer in chain.config.layers]
    sizes = ("rows", "cols", "alpha")
    return {name: max(getattr(array, name) for array in arrays) for name in sizes}


def on_one_array(chain: Chain, images: int, engine: Engine | None = None) -> int:
    """Return the cycles of all layers one after the other, by the model or by an engine's RTL."""
    datapath = PackedConfig(**shape(chain))
    lanes = 1 << min(datapath.cols, datapath.act_lanes).bit_length() - 1
    config = EngineConfig(datapath=datapath, drain_lanes=lanes)
    cycles = 0
    for w in packed_layers(chain):
        x = np.zeros((images * chain.config.pixels, w.columns), np.int64)
        if engine:
            cycles += engine.matmul(x, w)[1].cycles
            continue
        family = Packed(datapath)
        mode = family.mode_word(family.settings(w))
        given = family.operand(w, mode)
        plan = plan_matmul(config, given.gather(x), given.weights, mode)
        cycles += predict(config, plan.program).cycles
    return cycles


def figures(chain: Chain, images: int) -> dict[str, object]:
    """Return what the models say of a chain, with some images one behind the other."""
    config = chain.config
    alone = sum(config.pixels * images + layer.latency for layer in config.layers)
    return {
        "cells": config.cells,
        "parameter words": config.parameter_words,
        "chain": config.cycles(images),
        "one array, weights there": alone,
        "one array in the engine": on_one_array(chain, images),
    }


def main() -> None:
    """Print the figures, and with ``--rtl`` those of a part as the compiled RTL has them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=HERE / "packed.npz")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--rtl", action="store_true", help="run a part on the compiled RTL")
    a = parser.parse_args()
    network, groups = load(a.model)
    images = np.random.default_rng(1).random((4, 28, 28, 1))
    result: dict[str, object] = {}
    if not a.rtl:
        quantised = integers(network, images)
        for first, last in (("layer4", "layer4"), ("layer9", "layer13")):
            chain = chain_of(quantised, groups, first, last)
            result[f"{first} to {last}"] = figures(chain, a.images)
    else:
        columns = {"layer9": 3, "layer13": 2}
        quantised, kept, x = part(network, groups, columns, 8, images[: a.images])
        chain = chain_of(quantised, kept, "layer9", "layer13")
        values = dict(trace(quantised, quantised.quantise_input(x)))
        found, cycles = SimulatedChain(chain).run(values[chain.source])
        engine = Engine("packed", **shape(chain))
        result = {
            "models": figures(chain, a.images),
            "every integer equal": bool((found == values[chain.output]).all()),
            "chain, measured": cycles,
            "one array in the engine, measured": on_one_array(chain, a.images, engine),
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
