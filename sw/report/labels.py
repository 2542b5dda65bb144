"""Labels beside the points of a picture, none over another."""

from collections.abc import Sequence
from math import cos, hypot, pi, sin
from typing import Any

__all__ = ["place_labels"]

_TURNS = (0, 4, 1, 7, 3, 5, 2, 6)
"""Eighths of a turn at which a label may stand, the right of its point first."""
_DISTANCES = range(7, 240, 6)
_NEAR = 10
"""Points farther off have a line to their label."""


def place_labels(axes: Any, points: Sequence[tuple[float, float, str]]) -> None:
    """Write the name of every point ``(x, y, name)`` where no text, point or line is.

    Scales, lines and other texts of the axes must be final. A name without any room is left out.
    """
    from matplotlib.transforms import Bbox

    axes.figure.draw_without_rendering()  # which lays it out
    scale = axes.figure.dpi / 72
    taken = [text.get_window_extent() for text in axes.texts]
    for line in axes.lines:
        is_drawn = line.get_linestyle() != "None"
        taken += _along(axes.transData.transform(line.get_xydata()), 3 * scale, is_drawn)
    for x, y, name in sorted(points):
        label = axes.annotate(
            name,
            (x, y),
            (0, 0),
            textcoords="offset points",
            va="center",
            in_layout=False,
            arrowprops={"arrowstyle": "-", "color": "#a0aec0", "lw": 0.6, "shrinkB": 3},
        )
        size = Bbox.from_bounds(0, 0, *label.get_window_extent().size)
        at = axes.transData.transform((x, y))
        for distance, turn in ((d, t) for d in _DISTANCES for t in _TURNS):
            right, up = cos(turn * pi / 4), sin(turn * pi / 4)
            # The edge or corner that is nearest to the point is so far away.
            shift = (
                distance * scale * right + (right - 1) / 2 * size.width,
                distance * scale * up + (up - 1) / 2 * size.height,
            )
            box = size.translated(*(at + shift))
            inside = axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1)
            inside &= axes.bbox.containsy(box.y0) and axes.bbox.containsy(box.y1)
            if inside and not box.count_overlaps(taken):
                label.set_position((shift[0] / scale, (shift[1] + size.height / 2) / scale))
                label.arrow_patch.set_visible(distance > _NEAR)
                taken.append(box)
                break
        else:
            label.remove()


def _along(corners: Sequence[Sequence[float]], half: float, is_drawn: bool) -> list[Any]:
    """Return boxes of half a side ``half`` that cover a line, or only its points."""
    from matplotlib.transforms import Bbox

    found = []
    for (x, y), (to_x, to_y) in zip(corners, [*corners[1:], corners[-1]], strict=True):
        steps = max(1, int(hypot(to_x - x, to_y - y) / half)) if is_drawn else 1
        for i in range(steps):
            along = i / steps
            found.append(Bbox.from_extents(
                x + along * (to_x - x) - half, y + along * (to_y - y) - half,
                x + along * (to_x - x) + half, y + along * (to_y - y) + half,
            ))  # fmt: skip
    return found
