"""Score the packed network in integers and run it on the RTL; see README.md in this folder."""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilewright.sw import zoo
from tilewright.sw.layerwise.network import Convolve, MaxPool, MeanPool, Network, Shift, Step
from tilewright.sw.layerwise.quantised import QuantisedNetwork, quantise, ranges
from tilewright.sw.sparse.side_by_side import SideBySide

HERE = Path(__file__).resolve().parent
SHIFTS = np.array([(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)])


def load(path: Path) -> tuple[Network, dict[str, NDArray[np.int64]]]:
    """Return the network that train.py saved, and the groups of its packed layers."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    names = sorted({key.split(".")[0] for key in arrays}, key=lambda name: int(name[5:]))
    steps: list[Step] = []
    source = "image"

    def add(kind: type[Step], output: str, **fields) -> None:
        nonlocal source
        steps.append(kind(name=output, inputs=(source,), output=output, **fields))
        source = output

    for number, name in enumerate(names):
        weights = arrays[f"{name}.weight"]
        weights = weights.reshape(*weights.shape, *[1] * (4 - weights.ndim)).transpose(2, 3, 1, 0)
        fields = {"weights": weights, "bias": arrays[f"{name}.bias"]}
        if number == 0:
            add(Convolve, name, **fields, stride=2, pads=(2, 2, 2, 2), low=0.0)
        elif number == len(names) - 1:
            add(MeanPool, "mean", pixels=49)
            add(Convolve, name, **fields)
        else:
            parts = np.array_split(np.arange(weights.shape[2]), len(SHIFTS))
            codes = np.repeat(np.arange(len(SHIFTS)), [len(part) for part in parts])
            add(Shift, f"{name}.shifted", offsets=SHIFTS[codes])
            add(Convolve, name, **fields, low=0.0)
        if number == 1:
            add(MaxPool, "pooled")
    groups = {name: arrays[f"{name}.groups"] for name in names if f"{name}.groups" in arrays}
    net = Network(
        name=path.stem, input="image", outputs=(source,), shape=(28, 28, 1), steps=tuple(steps)
    )
    return net, groups


def classes(network: QuantisedNetwork, images: NDArray, batch: int = 500) -> NDArray[np.int64]:
    """Return the class that the integers choose for each image in 0..255."""
    parts = np.array_split(images, max(1, len(images) // batch))
    out = network.network.outputs[0]
    found = [network.run(part[..., None] / 255)[out].reshape(len(part), -1) for part in parts]
    return np.concatenate(found).argmax(axis=1)


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
    quantised = quantise(network, ranges(network, calibration[:500, ..., None] / 255))
    images, labels = zoo.fashion("test")
    right = int((classes(quantised, images) == labels).sum())
    result: dict[str, object] = {"model": str(a.model), "right in int8": right}
    if a.rtl:
        both = SideBySide(groups, alpha=8, rows=a.rows, cols=a.cols)
        quantised.run(images[: a.rtl, ..., None] / 255, both.product)
        result["rtl"] = both.report()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
