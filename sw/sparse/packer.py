"""A packer of sparse columns by local search: what it minimises is the energy that is lost."""

import numpy as np
from numpy.typing import NDArray

from .columns import Groups, Weights, as_matrix, check_alpha, lost_energy, renumber

__all__ = ["Search", "fewest_columns", "pack_columns", "whole_squares"]

Floats = NDArray[np.float64]

_LEVELS = 1 << 30
"""Squared weights are whole numbers up to this, so that sums are exact and runs repeat."""


def pack_columns(
    weights: Weights, columns: int, *, alpha: int, start: Groups | None = None
) -> Groups:
    """Return groups of ``weights`` [K, N], at most ``columns`` of them, that keep much energy.

    Every group and row keeps its largest weight, so the energy kept is the sum of the largest
    squares. Columns are placed by falling energy where they add most; then pairs of columns of
    different groups change places, and columns move to groups with room, best gain first, as long
    as that gains. Of equal gains the first column's counts.

    Parameters
    ----------
    weights : array [K, N]
        Weights as they are; conflicts are pruned afterwards by `prune_conflicts`.
    columns : int
        Packed columns, enough for all columns that have weights.
    alpha : int
        Most columns of a group.
    start : array [K], optional
        Groups to improve instead of placing columns anew, at most ``columns``.

    Raises
    ------
    ValueError
        ``columns`` are too few for ``alpha``, or ``start`` has more groups or larger ones.
    """
    weights = as_matrix(weights)
    check_alpha(alpha)
    used = np.flatnonzero(weights.any(axis=1))
    fewest = -(-len(used) // alpha)
    if columns < fewest:
        raise ValueError(
            f"columns must be {fewest} or more for {len(used)} columns and alpha={alpha}, "
            f"not {columns}"
        )
    result = np.full(len(weights), -1, np.int64)
    if not len(used):
        return result
    squares = whole_squares(weights[used])
    columns = min(columns, len(used))
    if start is None:
        labels = _place(squares, columns, alpha)
    else:
        labels = _start(np.asarray(start)[used], columns, alpha)
    result[used] = Search(squares, labels, columns, alpha).run()
    return renumber(result)


def fewest_columns(weights: Weights, loss: float, *, alpha: int) -> Groups:
    """Return as few groups as the search finds whose `lost_energy` is at most ``loss``.

    The number of groups is bisected; each one that is tried is packed by `pack_columns`.
    """
    weights = as_matrix(weights)
    check_alpha(alpha)
    if not loss >= 0:
        raise ValueError(f"loss must be 0 or more, not {loss!r}")
    filled = weights.any(axis=1)
    used = int(filled.sum())
    best = np.full(len(weights), -1, np.int64)
    best[filled] = np.arange(used)
    low, high = -(-used // alpha), used
    step = max(1, low // 8)
    while low < high:
        # First upwards in steps, as the answer is mostly near the lower end; then by halves.
        middle = low + step if high == used and low + step < used else (low + high) // 2
        groups = pack_columns(weights, middle, alpha=alpha)
        if lost_energy(weights, groups) <= loss:
            best, high = groups, middle
        else:
            low = middle + 1
    return best


def whole_squares(weights: Weights) -> Floats:
    """Return squared weights as whole numbers in proportion, the largest 2**30."""
    squares = np.square(np.asarray(weights, np.float64))
    return np.rint(squares / (squares.max(initial=0) or 1) * _LEVELS)


def _place(squares: Floats, columns: int, alpha: int) -> Groups:
    """Return groups that take the columns by falling energy, each where it adds most."""
    labels = np.full(len(squares), -1, np.int64)
    tops = np.zeros((columns, squares.shape[1]))
    sizes = np.zeros(columns, np.int64)
    for column in np.argsort(-squares.sum(axis=1), kind="stable"):
        gains = np.maximum(squares[column] - tops, 0).sum(axis=1)
        best = int(np.argmax(np.where(sizes < alpha, gains, -1)))
        labels[column] = best
        sizes[best] += 1
        np.maximum(tops[best], squares[column], out=tops[best])
    return labels


def _start(groups: Groups, columns: int, alpha: int) -> Groups:
    found = np.unique(groups)
    sizes = np.bincount(np.searchsorted(found, groups))
    if found[0] < 0 or len(found) > columns or sizes.max() > alpha:
        raise ValueError(
            f"start must put every column with weights into one of {columns} groups of up to "
            f"{alpha} columns"
        )
    return np.searchsorted(found, groups).astype(np.int64)


class Search:
    """Local search for groups that keep the most when each keeps its ``keep`` largest in each row.

    Place ``k`` is column ``k``'s, place ``K + g`` is room in group g. ``gains[c, p]`` is what
    column ``c`` adds to the group of place ``p`` when the column that stands there is out.

    Parameters
    ----------
    squares : array [K, N]
        What each weight is worth, whole numbers below 2**31.
    labels : array [K]
        Group of each column, 0..groups-1.
    groups : int
        How many there are.
    size : int
        Most columns of a group.
    keep : int
        Weights that a group keeps in each row.
    """

    def __init__(self, squares: Floats, labels: Groups, groups: int, size: int, keep: int = 1):
        self.squares, self.labels = squares, labels.copy()
        self.size, self.keep = size, keep
        count = len(squares)
        self.place_groups = np.concatenate([labels, np.arange(groups)])
        self.others = np.zeros((count + groups, squares.shape[1]))
        self.gains = np.zeros((count, count + groups))
        self.sizes = np.bincount(labels, minlength=groups)
        self._refresh(range(groups))

    def run(self) -> Groups:
        """Return the groups when no exchange and no move gains any more."""
        while changes := self._sweep():
            self._refresh(changes)
        return self.labels

    def _sweep(self) -> list[int]:
        """Make the best changes that share no group, and return the groups that changed."""
        count = len(self.squares)
        own = self.gains.diagonal()
        change = self.gains - own[:, None]
        pairs = change[:, :count]
        change[:, :count] = np.triu(pairs + pairs.T, 1)
        change[:, count:][:, self.sizes >= self.size] = 0
        change[self.labels[:, None] == self.place_groups] = 0
        better = np.flatnonzero(change > 0)
        better = better[np.argsort(-change.reshape(-1)[better], kind="stable")]
        touched: set[int] = set()
        for place in better.tolist():
            column, other = divmod(place, change.shape[1])
            here, there = int(self.labels[column]), int(self.place_groups[other])
            if here in touched or there in touched:
                continue
            touched |= {here, there}
            self.labels[column] = self.place_groups[column] = there
            if other < count:
                self.labels[other] = self.place_groups[other] = here
            else:
                self.sizes[here] -= 1
                self.sizes[there] += 1
        return sorted(touched)

    def _refresh(self, groups) -> None:
        """Work out anew what the places of some groups would gain from each column."""
        count = len(self.squares)
        for group in groups:
            columns = np.flatnonzero(self.labels == group)
            part = self.squares[columns]
            order = np.argsort(-part, axis=0, kind="stable")
            falling = np.zeros((max(len(columns), self.keep) + 1, part.shape[1]))
            falling[: len(columns)] = np.take_along_axis(part, order, axis=0)
            ranks = np.argsort(order, axis=0, kind="stable")
            last, after = falling[self.keep - 1], falling[self.keep]
            self.others[count + group] = last
            self.others[columns] = np.where(ranks < self.keep, after, last)
            for place in (*columns.tolist(), count + group):
                added = self.squares - self.others[place]
                self.gains[:, place] = np.maximum(added, 0, out=added).sum(axis=1)
