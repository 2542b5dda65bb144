"""Term budgets per layer, searched on calibration data, and the error that they make.

A weight that loses terms makes an error in every sum. What later weights of the same sum can make
good, they do: they are corrected, before they lose their own terms, by what calibration data say is
the best linear answer to the error so far (as in OBQ and GPTQ). Within a group the terms that are
left go, weight after weight, to the largest of the corrected weights.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...hw.term.config import TermConfig
from ...verif.golden.systolic import exact_product
from ..model.inference import run
from ..model.integer_graph import QuantisedGraph, QuantisedLayer
from .digits import count_terms
from .terms import reveal, truncate

__all__ = ["LayerBudget", "compensated", "search_budgets", "with_budgets"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
SlotCounts = Callable[[TermConfig, Ints], Ints]

AGREEMENT = 0.985
"""Share of the calibration images whose class must stay what it was without revealing."""

_ROWS = 20_000
_IMAGES = 300
_DAMPING = 0.01


@dataclass(frozen=True, eq=False)
class LayerBudget:
    """What a layer got.

    Attributes
    ----------
    name : str
        Layer.
    budget : int
        Most terms per group, 0 for all.
    weights : array [K, N]
        Revealed weights.
    weight_error : float
        Norm of the change of the weights by that of the weights.
    sum_error : float
        The same of the sums over calibration data: what the correction makes small.
    terms : float
        Terms per weight.
    """

    name: str
    budget: int
    weights: Ints
    weight_error: float
    sum_error: float
    terms: float


def compensated(
    config: TermConfig,
    weights: Ints,
    tiles: Ints,
    data: Floats,
    budget: int,
    slot_counts: SlotCounts,
) -> Ints:
    """Return revealed weights [K, N], tile after tile, the error passed on to those that follow.

    Parameters
    ----------
    config : TermConfig
        Group, encoding and limits of the datapath.
    weights : array [K, N]
        Weights of the layer.
    tiles : array [tiles, rows]
        Which K each lane of a tile holds, -1 for none.
    data : array [samples, K]
        Vectors that the layer sees.
    budget : int
        Most terms per group; 0 leaves the weights alone.
    slot_counts : callable
        Slots of the columns of a tile, see `sw.families.term`.
    """
    if not budget:
        return weights.copy()
    k = len(weights)
    moment = data.T @ data
    moment += np.eye(k) * (_DAMPING * np.trace(moment) / k + 1e-9)
    inverse: Any = np.linalg.inv(moment)
    wanted = weights.astype(np.float64)
    result = np.zeros_like(weights)
    open_ = np.ones(k, bool)
    for lanes in tiles:
        here = lanes[lanes >= 0]
        result[here] = _tile(config, lanes, wanted, inverse, budget, slot_counts)
        open_[here] = False
        rest = np.flatnonzero(open_)
        gain = inverse[np.ix_(rest, here)] @ np.linalg.inv(inverse[np.ix_(here, here)])
        wanted[rest] -= gain @ (wanted[here] - result[here])
        inverse[np.ix_(rest, rest)] -= gain @ inverse[np.ix_(here, rest)]
    return result


def _tile(
    config: TermConfig,
    lanes: Ints,
    wanted: Floats,
    inverse: Floats,
    budget: int,
    slot_counts: SlotCounts,
) -> Ints:
    """Return the weights of a tile, fewer terms in columns that would need more slots.

    Slots are at most ``budget`` for each group and the last one.
    """
    slots = config.groups * budget + (config.pe == "plane")
    here = lanes[lanes >= 0]
    result = np.zeros((len(here), wanted.shape[1]), np.int64)
    left = np.arange(wanted.shape[1])
    for terms in range(budget, 0, -1):
        kept = np.zeros((len(lanes), len(left)), np.int64)
        for first in range(0, len(lanes), config.group):
            group = np.arange(first, first + config.group)
            group = group[lanes[group] >= 0]
            ids = lanes[group]
            kept[group] = _group(
                config, wanted[np.ix_(ids, left)], inverse[np.ix_(ids, ids)], terms
            )
        fits = slot_counts(config, kept) <= slots
        result[:, left[fits]] = kept[lanes >= 0][:, fits]
        left = left[~fits]
        if not len(left):
            break
    return result


def _group(config: TermConfig, wanted: Floats, inverse: Floats, budget: int) -> Ints:
    """Return the weights [group, N] of a group: those that matter most to the sums come first."""
    wanted, inverse = wanted.copy(), inverse.copy()
    result = np.zeros(wanted.shape, np.int64)
    left = np.full(wanted.shape[1], budget)
    high = (1 << config.w_bits - 1) - 1
    order = np.argsort(np.diag(inverse), kind="stable")
    for number, weight in enumerate(order):
        ids = order[number:]
        whole = np.clip(np.rint(wanted[ids]), -high, high).astype(np.int64)
        kept = reveal(whole, config.encoding, len(whole), left)[0]
        result[weight] = kept
        left = left - count_terms(kept, config.encoding)
        rest = ids[1:]
        gain = inverse[rest, weight] / inverse[weight, weight]
        wanted[rest] -= np.outer(gain, wanted[weight] - kept)
        inverse[np.ix_(rest, rest)] -= np.outer(gain, inverse[weight, rest])
    return result


def search_budgets(
    config: TermConfig,
    network: QuantisedGraph,
    k_tiles: Sequence[Ints],
    inputs: Ints,
    slot_counts: SlotCounts,
    *,
    agreement: float = AGREEMENT,
) -> list[LayerBudget]:
    """Return a budget and revealed weights for every layer of ``network``.

    All layers start at the configured budget. Then each in turn, the one with most work first,
    gives up terms as long as the classes of enough calibration images stay.

    Parameters
    ----------
    config, k_tiles, slot_counts
        See `compensated`; one array of tiles per layer.
    inputs : array [n, h, w, c]
        Calibration images as integers.
    agreement : float
        Share of the images whose class must stay that of the lossless network.
    """
    inputs = inputs[:_IMAGES]
    data, classes = _observe(config, network, inputs)
    tiles = {layer.name: k for layer, k in zip(network.layers, k_tiles, strict=True)}
    made: dict[tuple[str, int], QuantisedLayer] = {}

    def layer_of(layer: QuantisedLayer, budget: int) -> QuantisedLayer:
        if (layer.name, budget) not in made:
            weights = compensated(
                config, layer.weights, tiles[layer.name], data[layer.name], budget, slot_counts
            )
            made[layer.name, budget] = dataclasses.replace(layer, weights=weights)
        return made[layer.name, budget]

    def agrees(budgets: dict[str, int]) -> bool:
        layers = tuple(layer_of(layer, budgets[layer.name]) for layer in network.engine_layers)
        changed = dataclasses.replace(network, layers=layers)
        outputs = run(changed, inputs, _truncating(config))
        return (_classes(outputs) == classes).mean() >= agreement

    budgets = {layer.name: config.budget for layer in network.engine_layers}
    lowest = 1 if config.pe == "tmac" else max(1, (config.shortest - 1) // config.groups)
    if config.budget and agrees(budgets):
        for layer in sorted(network.engine_layers, key=lambda layer: -layer.macs):
            while budgets[layer.name] > lowest:
                trial = budgets | {layer.name: budgets[layer.name] - 1}
                if not agrees(trial):
                    break
                budgets = trial
    return [
        _report(config, layer, layer_of(layer, budgets[layer.name]), data[layer.name], budget)
        for layer, budget in zip(network.engine_layers, budgets.values(), strict=True)
    ]


def with_budgets(network: QuantisedGraph, found: Sequence[LayerBudget]) -> QuantisedGraph:
    """Return ``network`` with the revealed weights of `search_budgets`."""
    layers = tuple(
        dataclasses.replace(layer, weights=report.weights)
        for layer, report in zip(network.engine_layers, found, strict=True)
    )
    return dataclasses.replace(network, layers=layers)


def _observe(config: TermConfig, network: QuantisedGraph, inputs: Ints):
    """Return some of the vectors that every layer sees, and the class of every image."""
    rng = np.random.default_rng(0)
    seen: dict[str, list[Ints]] = {layer.name: [] for layer in network.layers}

    def observing(layer: QuantisedLayer, rows: Ints) -> Ints:
        share = min(1.0, _ROWS / (len(inputs) * layer.rows))
        seen[layer.name].append(rows[rng.random(len(rows)) < share])
        return exact_product(rows, layer.weights)

    outputs = run(network, inputs, observing)
    few = {
        name: truncate(np.concatenate(parts), config.encoding, config.data_limit(0)).astype(float)
        for name, parts in seen.items()
    }
    return few, _classes(outputs)


def _truncating(config: TermConfig):
    """Return a layer's product with the configured terms per data value."""
    terms = config.data_limit(0)
    reach = 1 << config.x_bits
    table = truncate(np.arange(-reach, reach + 1), config.encoding, terms)
    return lambda layer, rows: exact_product(table[rows + reach], layer.weights)


def _classes(outputs: Ints) -> Ints:
    return outputs.reshape(len(outputs), -1).argmax(1)


def _report(
    config: TermConfig, before: QuantisedLayer, after: QuantisedLayer, data: Floats, budget: int
) -> LayerBudget:
    change = (after.weights - before.weights).astype(float)

    def ratio(part: Floats, whole: Floats) -> float:
        return float(np.linalg.norm(part)) / max(float(np.linalg.norm(whole)), 1e-12)

    return LayerBudget(
        name=before.name,
        budget=budget,
        weights=after.weights,
        weight_error=ratio(change, before.weights.astype(float)),
        sum_error=ratio(data @ change, data @ before.weights),
        terms=float(count_terms(after.weights, config.encoding).mean()),
    )
