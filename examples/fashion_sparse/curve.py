"""Accuracy against packed size without retraining: packed, and fitted anew without labels."""

import argparse
import json

import numpy as np
from numpy.typing import NDArray
from run import HERE, load

from tilewright.sw import zoo
from tilewright.sw.layerwise.network import Network
from tilewright.sw.sparse.network import pack_network, report
from tilewright.sw.sparse.packer import pack_columns
from tilewright.sw.sparse.refit import refit


def right(network: Network, images: NDArray, labels: NDArray) -> int:
    """Return how many images the float network puts in the right class."""
    count = 0
    for first in range(0, len(images), 500):
        values = {network.input: (images[first : first + 500, ..., None] / 255).astype(np.float32)}
        for step in network.steps:
            values[step.output] = step.real([values[name] for name in step.inputs])
        found = values[network.outputs[0]].reshape(-1, 10).argmax(axis=1)
        count += int((found == labels[first : first + 500]).sum())
    return count


def main() -> None:
    """Print one line of JSON for every alpha."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("alpha", type=int, nargs="*", default=[2, 3, 4, 6, 8])
    a = parser.parse_args()
    network, _ = load(HERE / "dense.npz")
    layers = {name: step.matrix for name, step in list(network.convolutions().items())[1:-1]}
    images, labels = zoo.fashion("test")
    calibration = zoo.fashion("train")[0][:2000, ..., None] / 255
    for alpha in a.alpha:
        groups = {
            name: pack_columns(w, -(-len(w) // alpha), alpha=alpha) for name, w in layers.items()
        }
        packed = pack_network(network, groups)
        fitted = refit(network, packed, set(groups), calibration)
        told = report(layers, groups)
        line = {"alpha": alpha, "columns": told.packed_columns, "cells": told.packed_cells}
        line |= {"packed": right(packed, images, labels)}
        line |= {"refit": right(fitted, images, labels)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
