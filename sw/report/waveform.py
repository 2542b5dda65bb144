"""The engine's streams at work, drawn from a dump of its simulation."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from ...gen.errors import ToolError
from .figures import render
from .vcd import Trace, read_vcd

__all__ = ["draw_transfers", "draw_waveform"]

_STREAMS = ("s_axis_cmd", "s_axis_w", "s_axis_x", "psums", "m_axis_y")
_NAMES = {
    "s_axis_cmd": "commands",
    "s_axis_w": "weights",
    "s_axis_x": "activations",
    "m_axis_y": "results",
}
_CYCLES = 96
"""Most cycles that fit a page."""
_BLUE, _PALE, _IDLE, _BAD = "#2b6cb0", "#bee3f8", "#edf2f7", "#c53030"


def draw_waveform(path: Path) -> str:
    """Return the SVG of the engine's streams in the cycles in which most of them move beats.

    Raises
    ------
    ToolError
        The file is no VCD, or has not the engine's signals.
    """
    found = _traces(path)
    samples = _samples(path, found)
    start = busiest([_moves(found, stream, samples) for stream in _STREAMS], _CYCLES)
    cycles = samples[start : start + _CYCLES]
    moved = {stream: moves for stream in _STREAMS if (moves := _moves(found, stream, cycles))}
    rows = [name for stream in _STREAMS for name in sorted(found) if name.startswith(stream)]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for row, name in enumerate(rows):
            values = [found[name].at(time) for time in cycles]
            if found[name].width == 1:
                _draw_bit(axes, row, values)
            else:
                stream = next(stream for stream in _STREAMS if name.startswith(stream))
                _draw_bus(axes, row, values, moved.get(stream, [True] * len(cycles)))
        axes.set_yticks([row + 0.4 for row in range(len(rows))], rows, family="monospace")
        axes.set(xlim=(0, len(cycles)), ylim=(len(rows), -0.2), xlabel="clock cycle")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="x", color="#edf2f7")

    return render("waveform", (11, 0.8 + 0.26 * len(rows)), draw)


def draw_transfers(path: Path) -> str:
    """Return the SVG file of all cycles of a run: when each stream moves beats, and when it waits.

    Raises
    ------
    ToolError
        As of `draw_waveform`.
    """
    found = _traces(path)
    cycles = _samples(path, found)
    rows = {
        name: moves for stream, name in _NAMES.items() if (moves := _moves(found, stream, cycles))
    }
    waits = {name: _waits(found, stream, cycles) for stream, name in _NAMES.items() if name in rows}

    def draw(figure: Any) -> None:
        from matplotlib.patches import Patch

        axes = figure.subplots()
        for row, name in enumerate(rows):
            for values, colour in ((waits[name], _PALE), (rows[name], _BLUE)):
                axes.broken_barh(_runs(values), (row + 0.15, 0.7), facecolors=colour)
        axes.set_yticks([row + 0.5 for row in range(len(rows))], rows)
        axes.set(xlim=(0, len(cycles)), ylim=(len(rows), 0), xlabel="clock cycle")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="x", color="#edf2f7")
        handles = [Patch(color=_BLUE, label="a beat moves"), Patch(color=_PALE, label="it waits")]
        axes.legend(handles=handles, loc="upper right", frameon=False)

    return render("transfers", (11, 0.8 + 0.4 * len(rows)), draw, file=True)


def _runs(values: Sequence[bool]) -> list[tuple[int, int]]:
    """Return where each run of true values begins, and its length."""
    runs: list[tuple[int, int]] = []
    for cycle, value in enumerate(values):
        if value and runs and sum(runs[-1]) == cycle:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        elif value:
            runs.append((cycle, 1))
    return runs


def _waits(found: dict[str, Trace], stream: str, times: Sequence[int]) -> list[bool]:
    """Return at which times a stream of the engine offers a beat that is not taken."""
    valid, ready = found[f"{stream}_tvalid"], found.get(f"{stream}_tready")
    return [valid.at(t) == 1 and ready is not None and ready.at(t) == 0 for t in times]


def _traces(path: Path) -> dict[str, Trace]:
    """Return the clock and the signals of the streams, the outermost of each name."""
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
    return found


def _samples(path: Path, found: dict[str, Trace]) -> list[int]:
    """Return when to sample: just before the rising edges of the clock."""
    missing = {"clk", "s_axis_cmd_tvalid", "m_axis_y_tvalid"} - set(found)
    if missing:
        raise ToolError(f"the waveform {path} has no signal {min(missing)}")
    clock = found["clk"]
    edges = [t for t, v in zip(clock.times, clock.values, strict=True) if v == 1 and t > 0]
    samples = [edge - 1 for edge in edges]
    if not any(_moves(found, "m_axis_y", samples)):
        raise ToolError(f"the waveform {path} shows no result")
    return samples


def _moves(found: dict[str, Trace], stream: str, times: Sequence[int]) -> list[bool]:
    """Return at which times a stream moves a beat; nothing where it is not in the dump."""
    split = "_t" if "axis" in stream else "__"
    valid, ready = (found.get(f"{stream}{split}{part}") for part in ("valid", "ready"))
    if valid is None:
        return []
    return [valid.at(t) == 1 and (ready is None or ready.at(t) == 1) for t in times]


def busiest(moves: Sequence[Sequence[bool]], length: int) -> int:
    """Return where the ``length`` cycles begin in which most streams move beats.

    Of several such places that in which the least busy stream moves most beats, then that in which
    all together do, then the first one.
    """
    sums = [[0, *accumulate(map(int, stream))] for stream in moves if stream]
    cycles = len(sums[0]) - 1

    def beats(start: int) -> tuple[int, int, int, int]:
        counts = [total[min(start + length, cycles)] - total[start] for total in sums]
        return (sum(map(bool, counts)), min(counts), sum(counts), -start)

    return max(range(max(1, cycles - length + 1)), key=beats)


def _draw_bit(axes: Any, row: int, values: Sequence[int | None]) -> None:
    levels = [row + (0.4 if value is None else 0.8 - 0.8 * value) for value in values]
    axes.step(range(len(values) + 1), [*levels, levels[-1]], where="post", color=_BLUE, lw=1)
    for cycle, value in enumerate(values):
        if value is None:
            axes.fill_between([cycle, cycle + 1], row, row + 0.8, color=_BAD, alpha=0.25, lw=0)


def _draw_bus(axes: Any, row: int, values: Sequence[int | None], moved: Sequence[bool]) -> None:
    """Draw values; those that are not transferred are grey."""
    shown = list(zip(values, moved, strict=True))
    start = 0
    for cycle in range(1, len(shown) + 1):
        if cycle < len(shown) and shown[cycle] == shown[start]:
            continue
        value, is_moved = shown[start]
        colour = "#fed7d7" if value is None else _PALE
        axes.fill_between(
            [start, cycle],
            row,
            row + 0.8,
            facecolor=colour if is_moved else _IDLE,
            edgecolor=_BLUE if is_moved else "#cbd5e0",
            lw=0.6,
        )
        text = "X" if value is None else f"{value:x}"
        if is_moved and len(text) * 0.75 <= cycle - start:
            axes.text((start + cycle) / 2, row + 0.42, text, ha="center", va="center", size=6)
        start = cycle
