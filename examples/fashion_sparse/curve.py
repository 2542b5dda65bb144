"""Accuracy against packed size: packed, fitted anew without labels, and retrained by train.py."""

import argparse
import json
from pathlib import Path

from numpy.typing import NDArray
from run import HERE, load

from tilewright.sw import zoo
from tilewright.sw.model.evaluation import evaluate
from tilewright.sw.model.graph import Graph
from tilewright.sw.model.operators import convolutions
from tilewright.sw.report.figures import render
from tilewright.sw.sparse.packed_graph import pack_network, report
from tilewright.sw.sparse.packer import pack_columns
from tilewright.sw.sparse.refit import refit


def right(network: Graph, images: NDArray, labels: NDArray) -> int:
    """Return how many images the float network puts in the right class."""
    count = 0
    for first in range(0, len(images), 500):
        values = dict(evaluate(network, images[first : first + 500, ..., None] / 255))
        found = values[network.output].reshape(-1, 10).argmax(axis=1)
        count += int((found == labels[first : first + 500]).sum())
    return count


def drawing(curves: dict[str, list[tuple[int, int]]], dense: int) -> str:
    """Return an SVG of curves of cells and images in the right class; ``dense`` has all cells."""

    def draw(figure) -> None:
        axes = figure.subplots()
        for marker, (name, points) in zip("osD", curves.items(), strict=False):
            cells, right = zip(*sorted(points), strict=True)
            axes.plot(cells, [count / 100 for count in right], marker=marker, label=name)
        axes.axhline(dense / 100, linestyle=":", color="black", label="dense")
        axes.set(xlabel="packed cells", ylabel="test images in the right class, %", xscale="log")
        axes.set_xticks(ticks := [4000, 6000, 8000, 12000, 17000], [f"{t:,}" for t in ticks])
        axes.minorticks_off()
        axes.legend(frameon=False)

    return render("curve", (6.0, 3.6), draw, file=True)


def main() -> None:
    """Print one line of JSON for every alpha, and draw all with the networks that were trained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("alpha", type=int, nargs="*", default=[2, 3, 4, 6, 8])
    parser.add_argument("--trained", type=Path, default=Path("build/fashion_sparse"))
    parser.add_argument("-o", "--output", type=Path, default=Path("build/fashion_sparse/curve.svg"))
    a = parser.parse_args()
    network, _ = load(HERE / "dense.npz")
    layers = {name: node.matrix for name, node in list(convolutions(network).items())[1:-1]}
    images, labels = zoo.fashion("test")
    calibration = zoo.fashion("train")[0][:2000, ..., None] / 255
    curves: dict[str, list[tuple[int, int]]] = {"packed": [], "fitted anew": []}
    for alpha in a.alpha:
        groups = {
            name: pack_columns(w, -(-len(w) // alpha), alpha=alpha) for name, w in layers.items()
        }
        packed = pack_network(network, groups)
        fitted = refit(network, packed, set(groups), calibration)
        told = report(layers, groups)
        line = {"alpha": alpha, "columns": told.packed_columns, "cells": told.packed_cells}
        for name, found in zip(curves, (packed, fitted), strict=True):
            line[name] = right(found, images, labels)
            curves[name].append((told.packed_cells, line[name]))
        print(json.dumps(line), flush=True)
    trained = [json.loads(path.read_text()) for path in a.trained.glob("alpha*.json")]
    if trained:
        curves["retrained"] = [(found["cells"], found["right"]) for found in trained]
    a.output.parent.mkdir(parents=True, exist_ok=True)
    a.output.write_text(drawing(curves, right(network, images, labels)))


if __name__ == "__main__":
    main()
