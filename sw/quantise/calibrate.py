"""Scales and zero points from what a float network does on sample inputs, and from its weights."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..model.evaluation import evaluate
from ..model.graph import Graph, ModelError
from ..model.integer_graph import Formats

__all__ = ["METHODS", "Observation", "activation_scale", "observe", "weight_scales"]

METHODS = ("minmax", "percentile", "mse")
"""Ways to choose a range: everything seen; all but a few outliers; least squared error."""

BINS = 4096
BATCH = 64
TINY = 2.0**-126


@dataclass(frozen=True, eq=False)
class Observation:
    """How often each value of a tensor occurred: counts over equal bins from low to high."""

    low: float
    high: float
    counts: NDArray[np.float64]

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        return (edges[1:] + edges[:-1]) / 2


def observe(
    graph: Graph, images: NDArray[np.floating], names: Iterable[str], *, counting: bool = True
) -> dict[str, Observation]:
    """Run the float network over ``images``: for ranges, then if ``counting`` for histograms."""
    names = set(names)
    images = np.asarray(images, np.float32)
    if not len(images):
        raise ModelError("calibration needs at least one sample input")
    ranges = dict.fromkeys(names, (0.0, 0.0))

    def widen(name: str, values: NDArray[np.float32]) -> None:
        if not np.isfinite(values).all():
            raise ModelError(f"tensor {name!r} is not finite on the calibration inputs")
        low, high = ranges[name]
        ranges[name] = (min(low, float(values.min())), max(high, float(values.max())))

    counts = {name: np.zeros(BINS) for name in names}

    def count(name: str, values: NDArray[np.float32]) -> None:
        low, high = ranges[name]
        if low < high:
            counts[name] += np.histogram(values, BINS, (low, high))[0]

    for visit in (widen, count) if counting else (widen,):
        _each(graph, images, names, visit)
    return {name: Observation(*ranges[name], counts[name]) for name in names}


def _each(
    graph: Graph,
    images: NDArray[np.float32],
    names: set[str],
    visit: Callable[[str, NDArray[np.float32]], None],
) -> None:
    for start in range(0, len(images), BATCH):
        for name, values in evaluate(graph, images[start : start + BATCH]):
            if name in names:
                visit(name, values)


def activation_scale(
    seen: Observation, formats: Formats, method: str, percentile: float
) -> tuple[float, int]:
    """Return scale and zero point for a tensor; real zero is always represented exactly."""
    if seen.low == seen.high:
        return 1.0, min(max(0, formats.x_low), formats.x_high)
    if method == "minmax":
        return _grid(seen.low, seen.high, formats)
    if method == "percentile":
        share = np.cumsum(seen.counts) / seen.counts.sum()
        edges = np.linspace(seen.low, seen.high, len(seen.counts) + 1)
        low = edges[np.searchsorted(share, 1 - percentile / 100, side="right")]
        high = edges[np.searchsorted(share, percentile / 100, side="left") + 1]
        return _grid(min(float(low), 0.0), max(float(high), 0.0), formats)
    best = (np.inf, 1.0, 0)
    used = seen.counts > 0
    values, weights = seen.centres[used], seen.counts[used]
    fractions = np.geomspace(1, 0.05, 40)
    for low in [0.0] if seen.low == 0 else fractions * seen.low:
        for high in [0.0] if seen.high == 0 else fractions * seen.high:
            scale, zero = _grid(float(low), float(high), formats)
            q = np.clip(np.rint(values / scale) + zero, formats.x_low, formats.x_high)
            error = float((((q - zero) * scale - values) ** 2) @ weights)
            if error < best[0]:
                best = (error, scale, zero)
    return best[1], best[2]


def _grid(low: float, high: float, formats: Formats) -> tuple[float, int]:
    """Return scale and zero point whose integers span ``low..high``, which contains 0."""
    levels = formats.x_high - formats.x_low
    scale = max((high - low) / levels, TINY)
    return scale, int(np.clip(np.rint(formats.x_low - low / scale), formats.x_low, formats.x_high))


def weight_scales(
    weights: NDArray[np.floating], formats: Formats, method: str
) -> NDArray[np.floating]:
    """Return the scale of each column of ``weights`` [K, N]: symmetric, zero point 0.

    The largest magnitude becomes the largest integer; with ``"mse"`` a smaller range is taken
    where that lowers the squared error of the column. Columns of zeros get scale 1. Scales have the
    precision of the weights.
    """
    w = np.asarray(weights)
    largest = np.abs(w).max(0, initial=0)
    scales = np.where(largest > 0, largest, formats.w_high) / formats.w_high
    if method != "mse":
        return scales
    best, errors = scales, np.full(w.shape[1], np.inf)
    for fraction in np.geomspace(1, 0.2, 40):
        trial = np.maximum(scales * fraction, np.finfo(np.float64).tiny)
        q = np.clip(np.rint(w / trial), -formats.w_high, formats.w_high)
        error = ((q * trial - w) ** 2).sum(0)
        best, errors = np.where(error < errors, trial, best), np.minimum(errors, error)
    return best
