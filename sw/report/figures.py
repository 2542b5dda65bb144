"""The pictures of a report, each a piece of SVG that refers to nothing outside itself."""

import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...hw.engine.config import EngineConfig
from ..job import JobResult
from .data import BuildResult
from .floorplan import Placed
from .labels import place_labels

__all__ = [
    "draw_bars", "draw_floorplan", "draw_layers", "draw_resources", "draw_roofline", "draw_trade",
    "render",
]  # fmt: skip

_BLUE, _ORANGE, _GREY = "#2b6cb0", "#dd6b20", "#718096"
_COLOURS = (
    "#2b6cb0", "#dd6b20", "#2f855a", "#b83280", "#b7791f", "#6b46c1", "#c53030", "#4a5568",
    "#a0aec0",
)  # fmt: skip
_SITES = {
    "TRELLIS_COMB": "LUT4 site",
    "TRELLIS_FF": "flip-flop",
    "TRELLIS_RAMW": "distributed RAM",
    "MULT18X18D": "DSP",
    "DP16KD": "block RAM",
    "TRELLIS_IO": "pin",
    "EHXPLLL": "PLL",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}


def render(salt: str, size: tuple[float, float], draw, *, file: bool = False) -> str:
    """Return the SVG of a figure that ``draw(figure)`` fills; ``salt`` keeps its names its own.

    For a ``file`` of its own it names its namespaces, which inside HTML go without saying.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.S)
    return svg if file else re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)


def draw_layers(result: JobResult) -> str:
    """Cycles and utilisation of every layer."""
    names = [f"{layer.name} ({layer.op})" for layer in result.layers]

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        cycles = left.barh(names, [layer.cycles for layer in result.layers], color=_BLUE)
        left.bar_label(cycles, fmt="{:,.0f}", padding=3)
        left.set_xlabel("cycles per image")
        shares = [100 * layer.utilisation for layer in result.layers]
        bars = right.barh(names, shares, color=_ORANGE)
        right.bar_label(bars, fmt="{:.1f} %", padding=3)
        right.set_xlim(0, 118)
        right.set_xticks(range(0, 101, 20))
        right.set_xlabel("utilisation, % of the array's peak")
        left.margins(x=0.2)
        left.invert_yaxis()

    return render("layers", (9, 0.8 + 0.36 * len(names)), draw)


def draw_roofline(result: JobResult, engine: EngineConfig) -> str:
    """MACs per cycle against MACs per byte of weights, under the engine's two limits."""
    d = engine.datapath
    peak, bandwidth = d.act_lanes * d.cols, d.weight_beat_bits / 8
    points = []
    for layer in result.layers:
        if layer.macs and layer.cycles:
            _, k, n = layer.shape
            weights = k * n * d.w_bits / 8 / min(result.batch, result.images)
            points.append((layer.macs / weights, layer.macs / layer.cycles, layer.name))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        knee = peak / bandwidth
        low = min([x for x, _, _ in points] + [knee]) / 4
        high = max([x for x, _, _ in points] + [knee]) * 4
        axes.plot([low, knee, high], [low * bandwidth, peak, peak], color=_GREY)
        axes.annotate(
            f"peak {peak} MACs per cycle",
            (high, peak),
            (0, 4),
            textcoords="offset points",
            ha="right",
            color=_GREY,
        )
        axes.annotate(
            f"weight stream, {bandwidth:g} bytes per cycle",
            (low, low * bandwidth),
            (16, 2),
            textcoords="offset points",
            color=_GREY,
        )
        for x, y, _ in points:
            axes.plot(x, y, "o", color=_BLUE)
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="MACs per byte of weights streamed",
            ylabel="MACs per cycle",
        )
        _plain_ticks(axes.xaxis, high / low)
        _plain_ticks(axes.yaxis, peak / (low * bandwidth))
        place_labels(axes, points)

    return render("roofline", (6.5, 4 + 0.05 * len(points)), draw)


def _plain_ticks(axis: Any, span: float) -> None:
    """Mark a logarithmic axis with plain numbers, few enough to stand side by side."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if span < 1000 else (1,)))
    axis.set_major_formatter("{x:,g}")
    axis.set_minor_formatter(NullFormatter())


def draw_resources(build: BuildResult) -> str:
    """Share of the part that is used, by kind of site."""
    rows = [
        (name, build.used.get(kind, 0), build.available[kind])
        for kind, name in _SITES.items()
        if build.used.get(kind, 0) and build.available.get(kind)
    ]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        names = [name for name, _, _ in rows]
        axes.barh(names, [100] * len(rows), color="#e2e8f0")
        bars = axes.barh(names, [100 * used / there for _, used, there in rows], color=_BLUE)
        labels = [f"{used:,} of {there:,}, {used / there:.0%}" for _, used, there in rows]
        axes.bar_label(bars, labels=labels, padding=4)
        axes.set(xlim=(0, 130), xlabel="% of the part")
        axes.set_xticks(range(0, 101, 20))
        axes.invert_yaxis()

    return render("resources", (6.5, 0.8 + 0.36 * max(1, len(rows))), draw)


def draw_bars(names: Sequence[str], panels: Sequence[tuple[str, Sequence[float], str]]) -> str:
    """One panel of bars per quantity: its title, one value per name, and the values' format."""

    def draw(figure: Any) -> None:
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, values, form) in zip(row, panels, strict=True):
            bars = axes.barh(names, values, color=_BLUE)
            axes.bar_label(bars, labels=[format(value, form) for value in values], padding=3)
            axes.set_title(title)
            axes.set_xticks([])
            axes.margins(x=0.35)
        row[-1].invert_yaxis()

    return render("bars", (1.2 + 2.4 * len(panels), 0.8 + 0.4 * len(names)), draw)


def draw_trade(points: Sequence[tuple[float, float, str, bool]], titles: tuple[str, str]) -> str:
    """Two quantities of many candidates, by group; those that none beats are filled."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        groups = sorted({group for _, _, group, _ in points})
        for colour, group in zip(_COLOURS * len(groups), groups, strict=False):
            for best in (False, True):
                chosen = [(x, y) for x, y, of, is_best in points if (of, is_best) == (group, best)]
                axes.plot(
                    [x for x, _ in chosen],
                    [y for _, y in chosen],
                    "o",
                    color=colour,
                    fillstyle="full" if best else "none",
                    label=group if best else None,
                )
        axes.set(xscale="log", yscale="log", xlabel=titles[0], ylabel=titles[1])
        axes.legend(frameon=False)

    return render("trade", (6.5, 4.5), draw)


def draw_floorplan(cells: Sequence[Placed]) -> str:
    """Where the parts of the engine lie, and where each kind of cell does."""

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, sharex=True, sharey=True)
        _tiles(left, [(cell.x, cell.y, cell.part) for cell in cells])
        left.set_title("by part of the engine")
        _tiles(right, [(cell.x, cell.y, cell.kind) for cell in cells])
        right.set_title("by kind of cell")

    return render("floorplan", (9.5, 4.9), draw)


def _tiles(axes: Any, found: Sequence[tuple[int, int, str]]) -> None:
    """Colour each tile by what most of its cells are, stronger where there are more."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    count = Counter(label for _, _, label in found)
    labels = sorted(count, key=lambda label: (label == "other", -count[label]))
    colours = {**dict(zip(labels, _COLOURS, strict=False)), "other": _COLOURS[-1]}
    tiles: dict[tuple[int, int], Counter[str]] = {}
    for x, y, label in found:
        tiles.setdefault((x, y), Counter())[label] += 1
    width, height = (max(tile[axis] for tile in tiles) + 1 for axis in (0, 1))
    image = [[(1.0, 1.0, 1.0)] * width for _ in range(height)]
    for (x, y), inside in tiles.items():
        label, _ = inside.most_common(1)[0]
        full = min(1.0, 0.45 + sum(inside.values()) / 16)
        red, green, blue = (1 - full * (1 - part) for part in to_rgb(colours[label]))
        image[y][x] = (red, green, blue)
    axes.imshow(image, interpolation="nearest", origin="upper")
    axes.set(xlabel="column of the part", ylabel="row of the part")
    axes.legend(
        handles=[Patch(color=colours[x], label=f"{x}: {count[x]:,}") for x in labels],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12),
        ncols=2,
        frameon=False,
    )
