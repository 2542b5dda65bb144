"""A small reader of value change dumps (IEEE 1364, VCD)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ...gen.errors import ToolError

__all__ = ["Trace", "read_vcd"]

_TYPES = {"wire", "reg", "integer", "logic", "parameter", "tri", "supply0", "supply1", "event"}


@dataclass
class Trace:
    """One signal: its full name, width, and values over time.

    Attributes
    ----------
    name : str
        Scopes and name, joined by dots.
    width : int
        Bits.
    times : list of int
        When it changes, in the dump's unit.
    values : list of int or None
        What it changes to; None where any bit is X or Z.
    """

    name: str
    width: int
    times: list[int] = field(default_factory=list)
    values: list[int | None] = field(default_factory=list)

    def at(self, time: int) -> int | None:
        """Return the value at a time, None before the first."""
        from bisect import bisect_right

        index = bisect_right(self.times, time)
        return self.values[index - 1] if index else None


def read_vcd(path: Path, wanted: Callable[[str], bool], *, changes: int = 200_000) -> list[Trace]:
    """Return the traces of the signals that are wanted.

    Parameters
    ----------
    path : Path
        The dump.
    wanted : callable
        Told the last part of a signal's name, says whether it is kept.
    changes : int
        Reading ends after so many changes of wanted signals; an excerpt needs no more.

    Raises
    ------
    ToolError
        The file cannot be read or is no VCD.
    """
    try:
        with open(path, encoding="ascii") as file:
            return _read(_tokens(file), wanted, changes)
    except OSError as error:
        raise ToolError(f"the waveform {path} cannot be read: {error.strerror}") from None
    except (StopIteration, UnicodeDecodeError, ValueError):
        raise ToolError(f"the waveform {path} is not a valid VCD file") from None


def _tokens(file):
    for line in file:
        yield from line.split()


def _read(tokens, wanted: Callable[[str], bool], changes: int) -> list[Trace]:
    traces = _header(tokens, wanted)
    time = 0
    for token in tokens:
        kind = token[0]
        if kind == "#":
            time = int(token[1:])
        elif kind in "bBrR":
            key = next(tokens)
            if found := traces.get(key):
                changes -= _change(found, time, token[1:])
        elif kind in "01xXzZ":
            if found := traces.get(token[1:]):
                changes -= _change(found, time, kind)
        elif token == "$comment":
            _until_end(tokens)
        elif token not in ("$dumpvars", "$dumpall", "$dumpon", "$dumpoff", "$end"):
            raise ValueError(token)
        if changes < 0:
            break
    return [trace for several in traces.values() for trace in several]


def _header(tokens, wanted: Callable[[str], bool]) -> dict[str, list[Trace]]:
    traces: dict[str, list[Trace]] = {}
    scopes: list[str] = []
    while (token := next(tokens)) != "$enddefinitions":
        if not token.startswith("$"):
            raise ValueError(token)
        words = _until_end(tokens)
        if token == "$scope":
            scopes.append(words[1])
        elif token == "$upscope":
            scopes.pop()
        elif token == "$var":
            if len(words) < 4 or words[0] not in _TYPES:
                raise ValueError(words)
            if wanted(words[3]):
                trace = Trace(".".join([*scopes, words[3]]), int(words[1]))
                traces.setdefault(words[2], []).append(trace)
    _until_end(tokens)
    return traces


def _until_end(tokens) -> list[str]:
    words = []
    while (token := next(tokens)) != "$end":
        words.append(token)
    return words


def _change(traces: list[Trace], time: int, text: str) -> int:
    value = int(text, 2) if not set(text) - {"0", "1"} else None
    for trace in traces:
        trace.times.append(time)
        trace.values.append(value)
    return 1
