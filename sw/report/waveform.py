"""One tile's waveform, drawn from a dump of the engine's simulation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...gen.errors import ToolError
from .figures import render
from .vcd import Trace, read_vcd

__all__ = ["draw_waveform"]

_STREAMS = ("s_axis_cmd", "s_axis_w", "s_axis_x", "psums", "m_axis_y")
_CYCLES = 96
"""Most cycles that fit a page."""
_BLUE, _PALE, _BAD = "#2b6cb0", "#bee3f8", "#c53030"


def draw_waveform(path: Path) -> str:
    """Return the SVG of the engine's streams around its first tile.

    Raises
    ------
    ToolError
        The file is no VCD, or has not the engine's signals.
    """
    names = {"clk"}
    for stream in _STREAMS:
        split = "_t" if "axis" in stream else "__"
        names |= {f"{stream}{split}{part}" for part in ("valid", "ready", "data", "payload")}
    found: dict[str, Trace] = {}
    for trace in read_vcd(path, names.__contains__):
        name = trace.name.rpartition(".")[2]
        held = found.get(name)
        if trace.times and (held is None or trace.name.count(".") < held.name.count(".")):
            found[name] = trace
    cycles = _cycles(path, found)
    rows = [name for stream in _STREAMS for name in sorted(found) if name.startswith(stream)]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for row, name in enumerate(rows):
            values = [found[name].at(time) for time in cycles]
            (_draw_bit if found[name].width == 1 else _draw_bus)(axes, row, values)
        axes.set_yticks([row + 0.4 for row in range(len(rows))], rows, family="monospace")
        axes.set(xlim=(0, len(cycles)), ylim=(len(rows), -0.2), xlabel="clock cycle")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="x", color="#edf2f7")

    return render("waveform", (11, 0.8 + 0.26 * len(rows)), draw)


def _cycles(path: Path, found: dict[str, Trace]) -> list[int]:
    """Return when to sample: just before rising clock edges, around the first partial sums."""
    missing = {"clk", "s_axis_cmd_tvalid", "m_axis_y_tvalid"} - set(found)
    if missing:
        raise ToolError(f"the waveform {path} has no signal {min(missing)}")
    clock = found["clk"]
    edges = [t for t, v in zip(clock.times, clock.values, strict=True) if v == 1 and t > 0]
    busy = found.get("psums__valid", found["m_axis_y_tvalid"])
    first = next((t for t, v in zip(busy.times, busy.values, strict=True) if v), None)
    if first is None:
        raise ToolError(f"the waveform {path} shows no result")
    middle = next((i for i, edge in enumerate(edges) if edge >= first), len(edges))
    start = max(0, min(middle - 2 * _CYCLES // 3, len(edges) - _CYCLES))
    return [edge - 1 for edge in edges[start : start + _CYCLES]]


def _draw_bit(axes: Any, row: int, values: Sequence[int | None]) -> None:
    levels = [row + (0.4 if value is None else 0.8 - 0.8 * value) for value in values]
    axes.step(range(len(values) + 1), [*levels, levels[-1]], where="post", color=_BLUE, lw=1)
    for cycle, value in enumerate(values):
        if value is None:
            axes.fill_between([cycle, cycle + 1], row, row + 0.8, color=_BAD, alpha=0.25, lw=0)


def _draw_bus(axes: Any, row: int, values: Sequence[int | None]) -> None:
    start = 0
    for cycle in range(1, len(values) + 1):
        if cycle < len(values) and values[cycle] == values[start]:
            continue
        value = values[start]
        axes.fill_between(
            [start, cycle], row, row + 0.8, facecolor=_PALE if value is not None else "#fed7d7",
            edgecolor=_BLUE, lw=0.6,
        )
        text = "X" if value is None else f"{value:x}"
        if len(text) * 0.75 <= cycle - start:
            axes.text((start + cycle) / 2, row + 0.42, text, ha="center", va="center", size=6)
        start = cycle
