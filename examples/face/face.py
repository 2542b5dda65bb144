"""Pack the sparse face detector without retraining, score it, run it on the RTL; see README.md."""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress

from tilewright.sw import zoo
from tilewright.sw.importers.tflite.tflite_file import read_model
from tilewright.sw.importers.tflite.tflite_graph import sparse_layers
from tilewright.sw.model.evaluation import evaluate
from tilewright.sw.model.graph import Graph
from tilewright.sw.model.inference import trace
from tilewright.sw.model.operators import convolutions
from tilewright.sw.quantise import Formats, QuantisedGraph, quantise
from tilewright.sw.sparse.columns import group_columns, lost_energy
from tilewright.sw.sparse.packed_graph import pack_network, report
from tilewright.sw.sparse.packer import fewest_columns, pack_columns
from tilewright.sw.sparse.refit import refit
from tilewright.sw.sparse.side_by_side import SideBySide

SIZE = 192
FACE = 96
"""Pixels of a crop within the grey frame of SIZE."""
CALIBRATION = [*range(30), *range(100, 130)]
"""Crops for calibration, with the cat; the others are scored."""


def frame(crop: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a crop in the middle of a grey frame, in -1..1."""
    large = Image.fromarray(_bytes(crop)).resize((FACE, FACE), Image.BILINEAR)
    grey = np.zeros((SIZE, SIZE), np.float32)
    edge = (SIZE - FACE) // 2
    grey[edge : edge + FACE, edge : edge + FACE] = np.asarray(large, np.float32) / 127.5 - 1
    return np.repeat(grey[..., None], 3, axis=2)


def photograph(name: str) -> NDArray[np.float32]:
    """Return a picture of the zoo, black at the sides to make it square, in -1..1."""
    picture = Image.fromarray(zoo.picture(name))
    side = max(picture.size)
    square = Image.new("RGB", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    small = square.resize((SIZE, SIZE), Image.BILINEAR)
    return np.asarray(small, np.float32) / 127.5 - 1


def calibration_images(crops: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return parts of the cat and mosaics of crops, in sizes from 24 to 96 pixels."""
    cat = Image.fromarray(zoo.picture("cat"))
    images = [photograph("cat")]
    for left, top in ((0, 0), (100, 0), (200, 40), (60, 100)):
        part = cat.crop((left, top, left + SIZE, top + SIZE))
        images.append(np.asarray(part, np.float32) / 127.5 - 1)
    rng = np.random.default_rng(0)
    for count in (2, 3, 4, 6, 8) * 3:
        side = SIZE // count
        chosen = rng.choice(CALIBRATION, (count, count))
        grey = [
            np.hstack([np.asarray(Image.fromarray(_bytes(crops[i])).resize((side, side)))
                       for i in row])
            for row in chosen
        ]  # fmt: skip
        images.append(np.repeat(np.vstack(grey)[..., None] / 127.5 - 1, 3, axis=2))
    return np.stack(images).astype(np.float32)


def _bytes(crop: NDArray[np.float64]) -> NDArray[np.uint8]:
    return (crop * 255).astype(np.uint8)


def packings(
    layers: dict[str, NDArray], alpha: int, gamma: float, losses: list[float]
) -> dict[str, Callable[[], dict[str, NDArray]]]:
    """Return what makes groups of every layer: both published rules and our packer."""

    def every(make: Callable[[str, NDArray], NDArray]) -> Callable[[], dict[str, NDArray]]:
        return lambda: {name: make(name, w) for name, w in layers.items()}

    found: dict[str, Callable[[], dict[str, NDArray]]] = {
        f"ours, loss {loss}": every(lambda _, w, loss=loss: fewest_columns(w, loss, alpha=alpha))
        for loss in losses
    }
    for rule in ("dense", "agglomerative"):
        published = {
            name: group_columns(w, alpha=alpha, gamma=gamma, rule=rule)
            for name, w in layers.items()
        }
        found[f"{rule}, gamma {gamma}"] = every(lambda name, _, p=published: p[name])
        found[f"ours, columns as {rule}"] = every(
            lambda name, w, p=published: pack_columns(w, int(p[name].max()) + 1, alpha=alpha)
        )
        found[f"ours, loss as {rule}"] = every(
            lambda name, w, p=published: fewest_columns(w, lost_energy(w, p[name]), alpha=alpha)
        )
    return found


def scores(images: list[NDArray], run: Callable[[NDArray], float], title: str) -> NDArray:
    """Return the best score of each picture, before the sigmoid."""
    with Progress(transient=True) as progress:
        return np.array([run(image[None]) for image in progress.track(images, description=title)])


def float_score(network: Graph, image: NDArray) -> float:
    """Return the best score that the float network finds."""
    return float(dict(evaluate(network, image))[network.outputs[1]].max())


def integer_score(network: QuantisedGraph, image: NDArray) -> float:
    """Return the best score that the quantised network finds."""
    values = dict(trace(network, network.quantise_input(image)))
    return float(network.dequantise(values)[network.outputs[1]].max())


def integers(network: Graph, images: NDArray) -> QuantisedGraph:
    """Return the network in integers, layer by layer, calibrated on images."""
    return quantise(network, Formats(), images, calibration="minmax", layer_by_layer=True)


def judged(title: str, run: Callable[[NDArray], float], crops: NDArray, face: NDArray) -> dict:
    """Return how well a network tells faces: two pictures, and the area under the ROC curve."""
    images = [photograph("astronaut"), photograph("cat"), *map(frame, crops)]
    found = scores(images, run, title)
    astronaut, cat = 1 / (1 + np.exp(-found[:2]))
    yes, no = found[2:][face == 1][:, None], found[2:][face == 0][None]
    area = float(((yes > no) + 0.5 * (yes == no)).mean())
    row = {"astronaut": astronaut, "cat": cat, "area under curve": area}
    row = {key: round(float(value), 4) for key, value in row.items()}
    print(f"{title}: {row}", flush=True)
    return row


def main() -> None:
    """Pack, score, and if asked run on the RTL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alpha", type=int, default=8)
    parser.add_argument("--gamma", type=float, default=0.5)
    parser.add_argument("--loss", type=float, nargs="*", default=[0.02, 0.04])
    parser.add_argument("--score", action="store_true", help="score the check images, minutes")
    parser.add_argument("--crops", type=int, default=140, help="crops to score, of 140")
    parser.add_argument("--rtl", action="store_true", help="run one picture on the RTL, minutes")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--cols", type=int, default=8)
    parser.add_argument("--packing", default="ours, loss as dense", help="which one --rtl runs")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/face.json"))
    a = parser.parse_args()
    network = zoo.tflite_network("face_sparse")
    names = sparse_layers(read_model(zoo.fetch("face_sparse")))
    layers = {name: convolutions(network)[name].matrix for name in names}
    started = time.perf_counter()
    plans = packings(layers, a.alpha, a.gamma, a.loss)
    if a.packing not in plans:
        parser.error(f"--packing must be one of {'; '.join(plans)}")
    if a.rtl and not a.score:
        plans = {a.packing: plans[a.packing]}
    found = {title: make() for title, make in plans.items()}
    result: dict[str, dict] = {"seconds": round(time.perf_counter() - started, 1)}
    for title, groups in found.items():
        r = report(layers, groups)
        result[title] = vars(r) | {"utilisation": round(r.utilisation, 4)}
        print(f"{title}: {result[title]}", flush=True)
    crops, face = zoo.faces()
    calibration = calibration_images(crops)
    if a.score:
        ours = {title: pack_network(network, groups) for title, groups in found.items()}
        tested = np.setdiff1d(np.arange(len(crops)), CALIBRATION)
        tested = tested[np.linspace(0, len(tested) - 1, a.crops).astype(int)]
        nets = {title: net for title, net in ours.items() if "agglomerative" not in title}
        fitted = {f"{title}, refit": refit(network, net, names, calibration)
                  for title, net in nets.items()}  # fmt: skip
        for title, net in {"unpacked": network, **nets, **fitted}.items():
            run = partial(float_score, net)
            result.setdefault(title, {})["score"] = judged(title, run, crops[tested], face[tested])
        best = "ours, columns as dense, refit"
        for title, net in (("unpacked", network), (best, fitted[best])):
            run = partial(integer_score, integers(net, calibration))
            result.setdefault(title, {})["int8"] = judged(
                f"{title}, int8", run, crops[tested], face[tested]
            )
    if a.rtl:
        packed = pack_network(network, found[a.packing])
        quantised = integers(packed, calibration)
        both = SideBySide(found[a.packing], alpha=a.alpha, rows=a.rows, cols=a.cols)
        x = quantised.quantise_input(photograph("astronaut")[None])
        dict(trace(quantised, x, both.product))
        result["rtl"] = both.report()
        print(result["rtl"])
    a.output.parent.mkdir(parents=True, exist_ok=True)
    a.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
