"""Column combining of whole networks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..model.graph import Graph, Node
from ..model.operators import (
    AveragePool,
    Clip,
    Convolution,
    DepthwiseConvolution,
    MaxPool,
    ResizeBilinear,
    Shift,
    with_matrix,
)
from .columns import Groups, Weights, combine, lost_energy, prune_conflicts, row_order

__all__ = ["PackingReport", "arrange_channels", "pack_network", "report"]


_BY_CHANNEL = (AveragePool, Clip, DepthwiseConvolution, MaxPool, ResizeBilinear, Shift)
"""Operators that treat every channel by itself."""


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


def pack_network(network: Graph, groups: Mapping[str, Groups]) -> Graph:
    """Return the network with conflicts pruned in the 1 x 1 convolutions of ``groups``."""
    return replace(
        network,
        nodes=tuple(
            with_matrix(node, prune_conflicts(node.matrix, groups[node.name]))
            if isinstance(node, Convolution) and node.name in groups
            else node
            for node in network.nodes
        ),
    )


def arrange_channels(
    network: Graph, groups: Mapping[str, Groups]
) -> tuple[Graph, dict[str, Groups]]:
    """Return an equal network whose layers emit channels in the order of the next one's groups.

    A layer of ``groups`` whose input comes from another convolution, through steps that treat
    every channel by itself and that nothing else reads, gets its groups side by side: the rows
    (outputs) of that convolution are permuted. Where an input is shared, an addition's for one,
    nothing changes. Returns the network and the groups of the layers that are arranged.
    """
    nodes = {node.output: node for node in network.nodes}
    arranged = {}
    for name, layer_groups in groups.items():
        layer = next(node for node in nodes.values() if node.name == name)
        assert isinstance(layer, Convolution)
        path = _path(network, nodes, layer)
        if path is None:
            continue
        order = row_order(layer_groups)
        nodes[layer.output] = with_matrix(layer, layer.matrix[order])
        for node in path:
            nodes[node.output] = _permute(node, order)
        arranged[name] = layer_groups[order]
    ordered = tuple(nodes[node.output] for node in network.nodes)
    return replace(network, nodes=ordered), arranged


def _path(network: Graph, nodes: Mapping[str, Node], layer: Convolution) -> list[Node] | None:
    """Return the nodes back to the convolution that makes a layer's channels, if all are its."""
    uses = [name for node in nodes.values() for name in node.inputs] + list(network.outputs)
    path: list[Node] = []
    source = layer.inputs[0]
    while uses.count(source) == 1 and source in nodes:
        node = nodes[source]
        path.append(node)
        if isinstance(node, Convolution):
            return path
        if not isinstance(node, _BY_CHANNEL):
            return None
        source = node.inputs[0]
    return None


def _permute(node: Node, order: NDArray[np.int64]) -> Node:
    match node:
        case Convolution() | DepthwiseConvolution():
            return replace(node, weights=node.weights[..., order], bias=node.bias[order])
        case Shift():
            return replace(node, offsets=node.offsets[order])
    return node
