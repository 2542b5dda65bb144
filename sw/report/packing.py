"""A picture of sparse columns before and after packing."""

import numpy as np

from ..sparse.columns import Groups, Weights, combine, prune_conflicts

__all__ = ["packing_svg"]

CELL = 6
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5")
"""By the line of its group that a weight comes from, repeating beyond eight."""
PRUNED = "#bbbbbb"


def packing_svg(weights: Weights, groups: Groups, *, alpha: int) -> str:
    """Return an SVG of weights [K, N] and of their packed columns, one square a weight.

    Above stand the columns in the order of their groups, conflicts that go in grey, below the
    packed columns; the colour says which column of the group a weight is from.
    """
    packed = combine(weights, groups, alpha=alpha)
    kept = prune_conflicts(weights, groups)
    line = np.zeros(len(weights), np.int64)
    for sources in packed.sources:
        columns = sources[sources >= 0]
        line[columns] = np.arange(len(columns))
    order = [c for sources in packed.sources for c in sources if c >= 0]
    before: dict[str, list[tuple[int, int]]] = {}
    for x, column in enumerate(order):
        for y in np.flatnonzero(weights[column]):
            colour = _colour(int(line[column])) if kept[column, y] else PRUNED
            before.setdefault(colour, []).append((x, int(y)))
    after: dict[str, list[tuple[int, int]]] = {}
    for x, y in np.argwhere(packed.values):
        after.setdefault(_colour(int(packed.selects[x, y])), []).append((int(x), int(y)))
    rows = weights.shape[1]
    width, gap = len(order) * CELL, 4 * CELL
    height = 2 * rows * CELL + gap
    size = f'viewBox="-1 -1 {width + 2} {height + 2}" width="{width + 2}" height="{height + 2}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
        _block(before, len(order), rows, 0),
        _block(after, len(packed.values), rows, rows * CELL + gap),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _colour(line: int) -> str:
    return COLOURS[line % len(COLOURS)]


def _block(cells: dict[str, list[tuple[int, int]]], columns: int, rows: int, top: int) -> str:
    frame = (
        f'<rect y="{top}" width="{columns * CELL}" height="{rows * CELL}" fill="#ffffff" '
        'stroke="#666666"/>'
    )
    side = CELL - 1
    paths = [
        f'<path fill="{colour}" d="'
        + "".join(f"M{x * CELL} {top + y * CELL}h{side}v{side}h-{side}z" for x, y in places)
        + '"/>'
        for colour, places in cells.items()
    ]
    return "\n".join([frame, *paths])
