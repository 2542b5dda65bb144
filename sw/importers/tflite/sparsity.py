"""Sparse tensors of TensorFlow Lite: levels of dense and of compressed dimensions."""

import math

import numpy as np
from numpy.typing import NDArray

from ...model.graph import ModelError
from .flatbuffer import Table

__all__ = ["densify"]

_INDEX_TYPES = {1: "i4", 2: "u2", 3: "u1"}
"""Types of the vectors of segments and of indices, by their number in the schema."""


def densify(sparsity: Table, values: NDArray, shape: tuple[int, ...], name: str) -> NDArray:
    """Return all elements of a tensor in order, of which the file keeps ``values``.

    Dimensions are walked in the traversal order; at each one every position so far is followed by
    all of its sizes (dense), or by those that the segments and indices name (compressed). Blocks
    within the tensor are not supported.
    """
    order = [int(i) for i in sparsity.array(0, "i4")]
    if sorted(order) != list(range(len(shape))) or sparsity.array(1, "i4").size:
        raise ModelError(
            f"tensor {name!r} is sparse in blocks; supported: single elements, each dimension once"
        )
    levels = sparsity.tables(2, f"dimension of {name!r}")
    if len(levels) != len(shape):
        raise ModelError(f"tensor {name!r} describes {len(levels)} of {len(shape)} dimensions")
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    positions = np.zeros(1, np.int64)
    for dimension, level in zip(order, levels, strict=True):
        parents, places = _expand(level, len(positions), shape[dimension], name)
        positions = positions[parents] + places * strides[dimension]
    if len(positions) != len(values):
        raise ModelError(
            f"tensor {name!r} has places for {len(positions)} values but holds {len(values)}"
        )
    dense = np.zeros(math.prod(shape), values.dtype)
    dense[positions] = values
    return dense


def _expand(
    level: Table, parents: int, size: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each position of the next level its parent and its place in the dimension."""
    if level.number(0, "b") == 0:
        if level.number(1, "i") != size:
            raise ModelError(
                f"{level.name} is dense with another size than the {size} of its shape"
            )
        return np.repeat(np.arange(parents), size), np.tile(np.arange(size), parents)
    segments, indices = _vector(level, 2, name), _vector(level, 4, name)
    counts = np.diff(segments)
    if (
        len(segments) != parents + 1 or segments[0] != 0 or not (0 <= counts).all()
        or not (counts <= size).all()
        or segments[-1] != len(indices)
    ):  # fmt: skip
        raise ModelError(f"{level.name} has segments that do not fit its indices")
    if len(indices) and not 0 <= indices.min() <= indices.max() < size:
        raise ModelError(f"{level.name} has an index outside the {size} of its shape")
    return np.repeat(np.arange(parents), counts), indices


def _vector(level: Table, field: int, name: str) -> NDArray[np.int64]:
    kind = level.number(field, "B")
    table = level.table(field + 1, f"indices of {name!r}")
    if kind not in _INDEX_TYPES or table is None:
        raise ModelError(f"{level.name} has indices of an unknown type {kind}")
    return table.array(0, _INDEX_TYPES[kind]).astype(np.int64)
