"""Column combining of whole networks that run layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..layerwise.network import (
    Convolve,
    Depthwise,
    Enlarge,
    MaxPool,
    MeanPool,
    Network,
    Shift,
    Step,
)
from .columns import Groups, Weights, combine, lost_energy, prune_conflicts, row_order

__all__ = ["PackingReport", "arrange_channels", "pack_network", "report"]


@dataclass(frozen=True, kw_only=True)
class PackingReport:
    """What packing does to some layers together.

    Attributes
    ----------
    columns, packed_columns : int
        Columns before and after.
    cells, packed_cells : int
        Cells of an array that holds the layers before and after.
    weights, kept : int
        Weights that are not zero before and after.
    loss : float
        Mean over the layers of the energy that each loses, of its own.
    """

    columns: int
    packed_columns: int
    cells: int
    packed_cells: int
    weights: int
    kept: int
    loss: float

    @property
    def utilisation(self) -> float:
        """Packed cells that hold a weight, of all packed cells."""
        return self.kept / self.packed_cells


def report(layers: Mapping[str, Weights], groups: Mapping[str, Groups]) -> PackingReport:
    """Return what ``groups`` do to the weights [K, N] of ``layers``."""
    alpha = max(int(np.bincount(g[g >= 0]).max(initial=1)) for g in groups.values())
    packed = {name: combine(w, groups[name], alpha=alpha) for name, w in layers.items()}
    return PackingReport(
        columns=sum(len(w) for w in layers.values()),
        packed_columns=sum(len(p.values) for p in packed.values()),
        cells=sum(w.size for w in layers.values()),
        packed_cells=sum(p.values.size for p in packed.values()),
        weights=sum(int(np.count_nonzero(w)) for w in layers.values()),
        kept=sum(int(np.count_nonzero(p.values)) for p in packed.values()),
        loss=float(np.mean([lost_energy(w, groups[name]) for name, w in layers.items()])),
    )


def pack_network(network: Network, groups: Mapping[str, Groups]) -> Network:
    """Return the network with conflicts pruned in the 1 x 1 convolutions of ``groups``."""
    return replace(
        network,
        steps=tuple(
            _with_matrix(step, prune_conflicts(step.matrix, groups[step.name]))
            if isinstance(step, Convolve) and step.name in groups
            else step
            for step in network.steps
        ),
    )


def arrange_channels(
    network: Network, groups: Mapping[str, Groups]
) -> tuple[Network, dict[str, Groups]]:
    """Return an equal network whose layers emit channels in the order of the next one's groups.

    A layer of ``groups`` whose input comes from another convolution, through steps that treat
    every channel by itself and that nothing else reads, gets its groups side by side: the rows
    (outputs) of that convolution are permuted. Where an input is shared, an addition's for one,
    nothing changes. Returns the network and the groups of the layers that are arranged.
    """
    steps = {step.output: step for step in network.steps}
    arranged = {}
    for name, layer_groups in groups.items():
        layer = next(step for step in steps.values() if step.name == name)
        chain = _chain(network, steps, layer)
        if chain is None:
            continue
        order = row_order(layer_groups)
        assert isinstance(layer, Convolve)
        steps[layer.output] = _with_matrix(layer, layer.matrix[order])
        for step in chain:
            steps[step.output] = _permute(step, order)
        arranged[name] = layer_groups[order]
    ordered = tuple(steps[step.output] for step in network.steps)
    return replace(network, steps=ordered), arranged


def _chain(network: Network, steps: Mapping[str, Step], layer: Step) -> list[Step] | None:
    """Return the steps back to the convolution that makes a layer's channels, if all are its."""
    uses = [name for step in steps.values() for name in step.inputs] + list(network.outputs)
    chain: list[Step] = []
    source = layer.inputs[0]
    while uses.count(source) == 1 and source in steps:
        step = steps[source]
        chain.append(step)
        if isinstance(step, Convolve):
            return chain
        if not isinstance(step, Depthwise | Enlarge | MaxPool | MeanPool | Shift):
            return None
        source = step.inputs[0]
    return None


def _permute(step: Step, order: NDArray[np.int64]) -> Step:
    match step:
        case Convolve() | Depthwise():
            return replace(step, weights=step.weights[..., order], bias=step.bias[order])
        case Shift():
            return replace(step, offsets=step.offsets[order])
    return step


def _with_matrix(step: Convolve, matrix: Weights) -> Convolve:
    return replace(step, weights=matrix.reshape(step.weights.shape))
