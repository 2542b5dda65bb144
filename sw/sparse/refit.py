"""Kept weights fitted anew, so that pruned layers give what they gave before; needs no labels."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..model.evaluation import evaluate_node
from ..model.graph import Graph
from ..model.operators import Convolution, convolutions, with_matrix

__all__ = ["refit"]

MAX_ROWS = 1 << 16
"""Pixels of the calibration images that a layer is fitted on, evenly spread."""


def refit(
    before: Graph,
    after: Graph,
    names: Collection[str],
    images: NDArray[np.floating],
    *,
    ridge: float = 1e-3,
) -> Graph:
    """Return ``after`` with the weights that are not zero in 1 x 1 layers ``names`` fitted anew.

    Layers are taken in order. Each one's weights and biases minimise the squared difference, over
    the pixels of ``images``, between what it gives for its input in the fitted network and what
    the same layer of ``before`` gives in that network. Zeros stay zeros.

    Parameters
    ----------
    before, after : Graph
        The network before and after pruning.
    names : collection of str
        Layers to fit.
    images : array [n, rows, columns, channels]
        Calibration data.
    ridge : float
        How much weights are held back from growing: part of the mean square of their inputs.
    """  # fmt: skip
    originals = convolutions(before)
    reference, values = ({before.input: np.asarray(images, np.float32)} for _ in range(2))
    nodes = []
    for node, original in zip(after.nodes, before.nodes, strict=True):
        if isinstance(node, Convolution) and node.name in names:
            x = _rows(values[node.inputs[0]])
            layer = originals[node.name]
            y = _rows(reference[node.inputs[0]]) @ layer.matrix + layer.bias
            node = _fitted(node, x, y, ridge)
        nodes.append(node)
        for known, one in ((reference, original), (values, node)):
            inputs = [known[name] for name in node.inputs]
            known[node.output] = evaluate_node(after, one, inputs)
    return replace(after, nodes=tuple(nodes))


def _rows(x: NDArray) -> NDArray:
    rows = x.reshape(-1, x.shape[-1])
    return rows[:: -(-len(rows) // MAX_ROWS)].astype(np.float64)


def _fitted(node: Convolution, x: NDArray, y: NDArray, ridge: float) -> Convolution:
    """Return the layer with least-squares weights in the places of its weights, and biases."""
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    square, product = x.T @ x, x.T @ y
    held = ridge * np.trace(square[:-1, :-1]) / max(1, len(square) - 1)
    square[np.arange(len(square) - 1), np.arange(len(square) - 1)] += held
    matrix = np.zeros(node.matrix.shape)
    bias = np.zeros(len(node.bias))
    for output in range(len(bias)):
        places = np.append(np.flatnonzero(node.matrix[:, output]), len(matrix))
        # What the weights are now is where they are held.
        pull = np.append(held * node.matrix[places[:-1], output], 0)
        found = np.linalg.solve(
            square[np.ix_(places, places)] + 1e-9 * np.eye(len(places)),
            product[places, output] + pull,
        )
        matrix[places[:-1], output], bias[output] = found[:-1], found[-1]
    fitted = with_matrix(node, matrix.astype(np.float32))
    return replace(fitted, bias=bias.astype(np.float32))
