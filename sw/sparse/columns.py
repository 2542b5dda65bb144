"""Column combining: sparse columns that share one packed column of an array."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "RULES",
    "PackedColumns",
    "combine",
    "conflicts",
    "group_columns",
    "lost_energy",
    "members",
    "prune_conflicts",
    "row_order",
    "unpack",
]

Groups = NDArray[np.int64]
Weights = NDArray

MAX_ALPHA = 64
"""Most columns of a group that are taken; wider multiplexers make no sense in hardware."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedColumns:
    """Weights [K, N] after column combining, one entry per packed column and output.

    Attributes
    ----------
    values : array [G, N]
        The kept weight, or 0 where the group has none in that row.
    selects : array [G, N]
        Which column of the group it belongs to, 0..alpha-1; 0 where the value is 0.
    sources : array [G, alpha]
        The group's columns in ascending order, which is the order that ``selects`` counts in;
        -1 where the group has fewer.
    columns : int
        K, the columns before packing.
    """

    values: Weights
    selects: NDArray[np.int64]
    sources: NDArray[np.int64]
    columns: int

    def __post_init__(self) -> None:
        values, selects, sources = map(np.asarray, (self.values, self.selects, self.sources))
        if values.ndim != 2 or selects.shape != values.shape or sources.ndim != 2:
            raise ValueError("values and selects must have the shape [G, N], sources [G, alpha]")
        if len(sources) != len(values):
            raise ValueError(f"sources must be of {len(values)} groups, not {len(sources)}")
        sizes = (sources >= 0).sum(axis=1)
        named = sources[sources >= 0]
        if (np.diff(np.where(sources < 0, self.columns, sources), axis=1) < 0).any() or (
            named.size and (sources.min() < -1 or named.max() >= self.columns)
        ):
            raise ValueError(
                f"sources must be columns from 0 to {self.columns - 1}, ascending, then -1"
            )
        if len(np.unique(named)) < len(named):
            raise ValueError("sources must name each column once, in one group")
        beyond = (selects < 0) | (selects >= np.where(values != 0, sizes[:, None], 1))
        if beyond.any():
            group, output = np.argwhere(beyond)[0]
            raise ValueError(
                f"selects must be below the {sizes[group]} columns of a group, and 0 where there "
                f"is no weight, but that of group {group} and output {output} is "
                f"{selects[group, output]}"
            )

    @property
    def utilisation(self) -> float:
        """Cells of the packed columns that hold a weight, of all their cells."""
        return float(np.count_nonzero(self.values) / self.values.size) if self.values.size else 1.0


def group_columns(
    weights: Weights, *, alpha: int, gamma: float, rule: str = "dense", section: int = 0
) -> Groups:
    """Return which group each column of ``weights`` [K, N] belongs to, by a published rule.

    A column is an input channel (one K), a row an output (one N). A group holds at most ``alpha``
    columns and at most ``floor(gamma * N)`` conflicts: entries beyond the first that are not zero
    in the same row, counted over all rows before anything is pruned.

    Parameters
    ----------
    weights : array [K, N]
        Weights after pruning; only which of them are zero matters.
    alpha : int
        Most columns of a group, 1 to 64.
    gamma : float
        Conflicts that a row may have on average; 0 loses nothing.
    rule : str
        ``"dense"``: columns by falling count of weights (equal: the first) go to the group where
        the union is densest (equal: the first), or open one. ``"agglomerative"``: groups start as
        single columns, and each in turn merges with the partner that leaves the fewest rows empty
        (equal: the first) as long as there is a legal one.
    section : int
        Columns that are grouped among themselves, in order; 0 for all.

    Returns
    -------
    array [K]
        Groups count from 0 in order of their first column; -1 for a column without weights.
    """
    weights = as_matrix(weights)
    check_alpha(alpha)
    if not 0 <= gamma <= MAX_ALPHA:
        raise ValueError(f"gamma must be from 0 to {MAX_ALPHA}, not {gamma!r}")
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, not {rule!r}")
    if section < 0:
        raise ValueError(f"section must be 0 or more columns, not {section!r}")
    used = weights != 0
    limit = int(np.floor(gamma * weights.shape[1]))
    groups = np.full(len(weights), -1, np.int64)
    first = 0
    for start in range(0, len(weights), section or max(1, len(weights))):
        stop = start + section if section else len(weights)
        found = RULES[rule](used[start:stop], alpha, limit)
        groups[start:stop] = np.where(found < 0, -1, found + first)
        first = max(first, int(groups.max(initial=-1)) + 1)
    return renumber(groups)


def _dense_first(used: NDArray[np.bool_], alpha: int, limit: int) -> Groups:
    groups = np.full(len(used), -1, np.int64)
    union = np.zeros_like(used)
    total, size = np.zeros(len(used), np.int64), np.zeros(len(used), np.int64)
    counts = used.sum(axis=1)
    opened = 0
    for column in np.argsort(-counts, kind="stable"):
        if not counts[column]:
            break
        rows = (union[:opened] | used[column]).sum(axis=1)
        legal = (size[:opened] < alpha) & (total[:opened] + counts[column] - rows <= limit)
        best = int(np.argmax(np.where(legal, rows, -1))) if legal.any() else opened
        opened = max(opened, best + 1)
        union[best] |= used[column]
        total[best] += counts[column]
        size[best] += 1
        groups[column] = best
    return groups


def _agglomerative(used: NDArray[np.bool_], alpha: int, limit: int) -> Groups:
    groups = np.where(used.any(axis=1), np.arange(len(used)), -1)
    alive = groups >= 0
    union, total, size = used.copy(), used.sum(axis=1), np.ones(len(used), np.int64)
    for group in range(len(used)):
        # A group that has no partner now never gets one: the others only grow.
        while alive[group]:
            rows = (union | union[group]).sum(axis=1)
            legal = alive & (size + size[group] <= alpha) & (total + total[group] - rows <= limit)
            legal[group] = False
            if not legal.any():
                break
            other = int(np.argmax(np.where(legal, rows, -1)))
            groups[groups == other] = group
            union[group] |= union[other]
            total[group] += total[other]
            size[group] += size[other]
            alive[other] = False
    return groups


RULES = {"dense": _dense_first, "agglomerative": _agglomerative}
"""The published rules: columns into bins (the paper's) and merging (the authors' program's)."""


def conflicts(weights: Weights, groups: Groups) -> NDArray[np.int64]:
    """Return for each group how many of its weights stand in a row that has another one."""
    weights, groups = _checked(weights, groups)
    used = weights != 0
    return np.array(
        [np.maximum(used[columns].sum(axis=0) - 1, 0).sum() for columns in members(groups)],
        np.int64,
    )


def prune_conflicts(weights: Weights, groups: Groups) -> Weights:
    """Return the weights with only the largest magnitude of each row and group kept.

    Of equal magnitudes the first column's stays. Columns of group -1 become zero.
    """
    weights, groups = _checked(weights, groups)
    kept = np.zeros_like(weights)
    for columns in members(groups):
        part = weights[columns]
        best = columns[np.argmax(magnitude(part), axis=0)]
        outputs = np.arange(weights.shape[1])
        kept[best, outputs] = weights[best, outputs]
    return kept


def lost_energy(weights: Weights, groups: Groups) -> float:
    """Return which part of the sum of squared weights `prune_conflicts` takes away."""
    squares = np.square(np.asarray(weights, np.float64))
    kept = np.square(np.asarray(prune_conflicts(weights, groups), np.float64))
    return float(1 - kept.sum() / squares.sum()) if squares.any() else 0.0


def combine(weights: Weights, groups: Groups, *, alpha: int) -> PackedColumns:
    """Return the packed columns of ``weights`` [K, N], conflicts pruned on the way."""
    weights, groups = _checked(weights, groups)
    check_alpha(alpha)
    found = members(groups)
    largest = max(map(len, found), default=0)
    if largest > alpha:
        raise ValueError(f"groups must hold up to alpha={alpha} columns, not {largest}")
    sources = np.full((len(found), alpha), -1, np.int64)
    values = np.zeros((len(found), weights.shape[1]), weights.dtype)
    selects = np.zeros(values.shape, np.int64)
    for group, columns in enumerate(found):
        sources[group, : len(columns)] = columns
        part = weights[columns]
        selects[group] = np.argmax(magnitude(part), axis=0)
        values[group] = np.take_along_axis(part, selects[group][None], axis=0)[0]
    return PackedColumns(values=values, selects=selects, sources=sources, columns=len(weights))


def unpack(packed: PackedColumns) -> Weights:
    """Return the weights [K, N] that packed columns hold: the inverse of `combine`."""
    weights = np.zeros((packed.columns, packed.values.shape[1]), packed.values.dtype)
    for values, selects, sources in zip(packed.values, packed.selects, packed.sources, strict=True):
        rows = np.flatnonzero(values)
        weights[sources[selects[rows]], rows] = values[rows]
    return weights


def members(groups: Groups) -> list[NDArray[np.int64]]:
    """Return the columns of each group in ascending order."""
    order = np.argsort(groups, kind="stable")
    order = order[groups[order] >= 0]
    edges = np.searchsorted(groups[order], np.arange(int(groups.max(initial=-1)) + 2))
    return [order[a:b] for a, b in itertools.pairwise(edges)]


def row_order(groups: Groups) -> NDArray[np.int64]:
    """Return the order of channels in which the columns of every group stand side by side.

    The layer before, its rows in this order, emits channels as the packed layer takes them, so
    that no crossbar is needed. Columns of no group come last.
    """
    groups = np.asarray(groups)
    return np.argsort(np.where(groups < 0, len(groups), groups), kind="stable")


def renumber(groups: Groups) -> Groups:
    """Return the same groups numbered in order of their first columns."""
    result = np.full(len(groups), -1, np.int64)
    names: dict[int, int] = {}
    for column, group in enumerate(groups):
        if group >= 0:
            result[column] = names.setdefault(int(group), len(names))
    return result


def magnitude(weights: Weights) -> Weights:
    """Return absolute values in a type that holds them all: int8 has no 128."""
    return np.abs(weights.astype(np.result_type(weights.dtype, np.int64)))


def check_alpha(alpha: int) -> None:
    """Raise unless ``alpha`` is a legal number of columns."""
    if not 1 <= alpha <= MAX_ALPHA:
        raise ValueError(f"alpha must be from 1 to {MAX_ALPHA}, not {alpha!r}")


def as_matrix(weights: Weights) -> Weights:
    """Return weights as an array [K, N], or raise."""
    weights = np.asarray(weights)
    if weights.ndim != 2:
        raise ValueError(f"weights must have the shape [K, N], not {list(weights.shape)}")
    return weights


def _checked(weights: Weights, groups: Groups) -> tuple[Weights, Groups]:
    weights, groups = as_matrix(weights), np.asarray(groups)
    if groups.shape != weights.shape[:1]:
        raise ValueError(
            f"groups must name {len(weights)} columns, as weights have, not {list(groups.shape)}"
        )
    if len(groups) and not -1 <= groups.min() <= groups.max() < len(groups):
        raise ValueError(f"groups must be numbers from -1 to {len(groups) - 1}")
    return weights, groups
