"""Score the packed network in integers and run it on the RTL; see README.md in this folder."""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilewright.sw import zoo
from tilewright.sw.model.graph import Graph, Node, graph_of
from tilewright.sw.model.inference import run
from tilewright.sw.model.operators import AveragePool, Clip, Convolution, MaxPool, Shift
from tilewright.sw.quantise import Formats, QuantisedGraph, quantise
from tilewright.sw.sparse.side_by_side import SideBySide

HERE = Path(__file__).resolve().parent
SHIFTS = np.array([(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)])


def load(path: Path) -> tuple[Graph, dict[str, NDArray[np.int64]]]:
    """Return the network that train.py saved, and the groups of its packed layers."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    names = sorted({key.split(".")[0] for key in arrays}, key=lambda name: int(name[5:]))
    nodes: list[Node] = []
    source = "image"

    def add(kind: type[Node], output: str, *, relu: bool = False, **fields) -> None:
        nonlocal source
        made = f"{output}.sum" if relu else output
        node = kind(name=output, op=kind.__name__, inputs=(source,), output=made, **fields)
        nodes.append(node)
        if relu:
            bounds = {"low": 0.0, "high": math.inf}
            nodes.append(Clip(name=made, op="Relu", inputs=(made,), output=output, **bounds))
        source = output

    for number, name in enumerate(names):
        weights = arrays[f"{name}.weight"]
        weights = weights.reshape(*weights.shape, *[1] * (4 - weights.ndim)).transpose(2, 3, 1, 0)
        fields = {"weights": weights, "bias": arrays[f"{name}.bias"]}
        if number == 0:
            add(Convolution, name, relu=True, **fields, stride=(2, 2), pads=(2, 2, 2, 2))
        elif number == len(names) - 1:
            add(AveragePool, "mean", kernel=(7, 7))
            add(Convolution, name, **fields)
        else:
            parts = np.array_split(np.arange(weights.shape[2]), len(SHIFTS))
            codes = np.repeat(np.arange(len(SHIFTS)), [len(part) for part in parts])
            add(Shift, f"{name}.shifted", offsets=SHIFTS[codes])
            add(Convolution, name, relu=True, **fields)
        if number == 1:
            add(MaxPool, "pooled", kernel=(2, 2), stride=(2, 2))
    groups = {name: arrays[f"{name}.groups"] for name in names if f"{name}.groups" in arrays}
    return graph_of(path.stem, "image", (28, 28, 1), nodes, (source,)), groups


def integers(network: Graph, images: NDArray) -> QuantisedGraph:
    """Return the network in integers, layer by layer; ``images`` to calibrate with are in 0..1."""
    return quantise(network, Formats(), images, calibration="minmax", layer_by_layer=True)


def classes(network: QuantisedGraph, images: NDArray, batch: int = 500) -> NDArray[np.int64]:
    """Return the class that the integers choose for each image in 0..255."""
    parts = np.array_split(images, max(1, len(images) // batch))
    found = [run(network, network.quantise_input(part[..., None] / 255)) for part in parts]
    return np.concatenate(found).reshape(len(images), -1).argmax(axis=1)


def main() -> None:
    """Score, and if asked run on the RTL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=HERE / "dense.npz")
    parser.add_argument("--rtl", type=int, default=0, help="images to run on the RTL")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--cols", type=int, default=8)
    a = parser.parse_args()
    network, groups = load(a.model)
    calibration, _ = zoo.fashion("train")
    quantised = integers(network, calibration[:500, ..., None] / 255)
    images, labels = zoo.fashion("test")
    right = int((classes(quantised, images) == labels).sum())
    result: dict[str, object] = {"model": str(a.model), "right in int8": right}
    if a.rtl:
        both = SideBySide(groups, alpha=8, rows=a.rows, cols=a.cols)
        x = quantised.quantise_input(images[: a.rtl, ..., None] / 255)
        run(quantised, x, both.product)
        result["rtl"] = both.report()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
