"""Compiled simulation: an emitted unit as a shared library, driven through its streams."""

import ctypes
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray

from ... import gen, hw
from ...gen.cache import cache_folder, writable_cache
from ...gen.errors import ToolError
from ...gen.files import write_file
from ...gen.verilog import emit
from .harness import cxxrtl, harness, verilator
from .library import Recipe, code_of, digest, kept, sealed, surroundings, unsealed, version
from .models import CxxrtlModel, VerilatorModel
from .ports import Port, Stream, find_ports, find_streams

__all__ = [
    "CompiledUnit",
    "ProtocolError",
    "StreamRun",
    "Traffic",
    "compile_component",
    "compile_unit",
]

_FOLDER = "compiled"
_CODE = (hw.__name__, gen.__name__, __package__)
"""What makes a design from a configuration."""
_SLICE = 1 << 16
"""Cycles between two looks at whether the user pressed Ctrl-C."""


class ProtocolError(AssertionError):
    """A unit broke the rules of streams; the message says on which and when."""


@dataclass(frozen=True)
class Traffic:
    """When a stream pauses: with probability ``pause`` each cycle, drawn from ``seed``."""

    pause: float = 0.0
    seed: int = 1


@dataclass(frozen=True)
class StreamRun:
    """What one run saw on one stream.

    Attributes
    ----------
    beats : dict of str to ndarray
        For outputs: 64-bit words (beats, words) of every payload signal, by its suffix.
    cycles : ndarray
        Cycle of each transfer, counted from the unit's reset.
    """

    beats: dict[str, NDArray[np.uint64]]
    cycles: NDArray[np.int64]


def compile_unit(rtlil: str, top: str, *, cache: Path | None = None) -> "CompiledUnit":
    """Compile module ``top`` of ``rtlil``, or take it from the cache: any that Yosys can simulate.

    Parameters
    ----------
    rtlil : str
        All modules of the design; the top has ports ``clk`` and ``rst`` if it needs them.
    top : str
        Name of the top module.
    cache : Path, optional
        Folder for compiled units; by default ``compiled`` in what the environment variable
        TILEWRIGHT_CACHE names or in the user's cache. Where that cannot be written, units are
        compiled anew in each process.

    Raises
    ------
    ToolError
        Yosys or the C++ compiler is missing or fails, makes what this machine cannot run, or the
        folder cannot be written.
    """
    ports = find_ports(rtlil, top)
    streams = find_streams(ports)
    drivers = {
        once: harness(ports, streams, cxxrtl(top, ports, one_pass=once)) for once in (True, False)
    }
    recipe = Recipe(top, CxxrtlModel(rtlil, top, drivers))
    return _compiled(recipe, ports, _folders(cache))


def compile_component(
    kind: Callable[[Any], wiring.Component], config: Any, name: str, *, cache: Path | None = None
) -> "CompiledUnit":
    """Emit and compile ``kind(config)``, or take it from the cache without making it at all.

    It runs several times faster than what `compile_unit` makes, and must hold no cells of a fabric.

    Parameters
    ----------
    kind : type
        Class of the component. One of ``hw`` is known again by its configuration and the code.
    config : dataclass
        Its configuration.
    name : str
        Name of the top module.
    cache : Path, optional
        As of `compile_unit`.

    Raises
    ------
    ToolError
        As of `compile_unit`; of Verilator instead of Yosys.
    """
    folders = _folders(cache)
    key = _known_by(kind, config, name)
    for folder in folders if key else ():
        entry = unsealed(folder / f"{name}-{key}.json", key)
        if entry is not None:
            found = json.loads(entry)
            ports = [Port(*fields) for fields in found["ports"]]
            for path in kept(folder, name, found["library"]):
                with suppress(OSError):
                    return CompiledUnit(path, ports, find_streams(ports))
    design = emit(kind(config), name)
    ports = find_ports(design.rtlil, name)
    driver = harness(ports, find_streams(ports), verilator(ports))
    recipe = Recipe(name, VerilatorModel(design.strict, name, driver))
    unit = _compiled(recipe, ports, folders)
    if key:
        facts = {"library": recipe.key, "ports": [[p.name, p.width, p.is_input] for p in ports]}
        with suppress(OSError):  # the next process takes longer, that is all
            write_file(folders[-1] / f"{name}-{key}.json", sealed(json.dumps(facts).encode(), key))
    return unit


def _known_by(kind: Any, config: Any, name: str) -> str:
    """Return what tells a design from all others; empty where that is not known."""
    parts = (kind, type(config))
    if not all(part.__module__.startswith(f"{hw.__name__}.") for part in parts):
        return ""
    made = f"{kind.__module__}.{kind.__qualname__}({config!r})"
    return digest(name, made, code_of(*_CODE), version("amaranth"), *surroundings())


def _folders(cache: Path | None) -> list[Path]:
    return [cache] if cache else [cache_folder() / _FOLDER, writable_cache() / _FOLDER]


def _compiled(recipe: Recipe, ports: list[Port], folders: list[Path]) -> "CompiledUnit":
    """Load what a recipe makes, which is perhaps there already."""
    streams, key = find_streams(ports), recipe.key
    for path in chain.from_iterable(kept(folder, recipe.top, key) for folder in folders):
        with suppress(OSError):
            return CompiledUnit(path, ports, streams)
    path = recipe.make(folders[-1])
    try:
        return CompiledUnit(path, ports, streams)
    except OSError as error:
        raise ToolError(
            f"the compiled unit cannot be loaded: {error}; set CXX to a compiler for this machine, "
            "or TILEWRIGHT_CACHE to a folder from which programs may run"
        ) from None


class CompiledUnit:
    """One instance of a compiled unit, reset and ready.

    Inputs of a stream carry noise while it has no beat to offer. Whatever the streams do, the
    unit's outputs are checked against the rules: valid and payload hold until taken.

    Attributes
    ----------
    ports : list of Port
        Ports of the top module.
    streams : list of Stream
        Its streams.
    """

    def __init__(
        self,
        path: Path,
        ports: list[Port],
        streams: list[Stream],
        pins: Mapping[str, int] | None = None,
    ):
        self.ports = ports
        self.streams = streams
        self._path = path
        self._numbers = {port.name: i for i, port in enumerate(ports)}
        self._streams = {stream.name: (i, stream) for i, stream in enumerate(streams)}
        self._library = library = ctypes.CDLL(str(path.resolve()))
        u64, unit, number = ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int
        words = ctypes.POINTER(u64)
        for name, result, arguments in (
            ("make", unit, ()),
            ("destroy", None, (unit,)),
            ("offer", None, (unit, number, unit, u64)),
            ("traffic", None, (unit, number, u64, u64)),
            ("taken", u64, (unit, number)),
            ("payload", words, (unit, number)),
            ("cycles", words, (unit, number)),
            ("forget", None, (unit,)),
            ("cycle", u64, (unit,)),
            ("settle", None, (unit,)),
            ("begin", None, (unit,)),
            ("fault", u64, (unit, words)),
            ("run", u64, (unit, number, u64, u64, u64)),
            ("poke", None, (unit, number, words)),
            ("peek", None, (unit, number, words)),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._unit = library.make()
        self._held: dict[str, NDArray[np.uint64]] = {}
        self._origin = 0
        for name, value in (pins or {}).items():
            self.poke(name, value)
        self.reset(2)
        self._origin = int(library.cycle(self._unit))

    def __del__(self) -> None:
        if getattr(self, "_unit", None):
            self._library.destroy(self._unit)
            self._unit = None

    def another(self, **pins: int) -> "CompiledUnit":
        """Return a new instance of the same unit, with ``pins`` set before its reset."""
        return CompiledUnit(self._path, self.ports, self.streams, pins)

    def reset(self, cycles: int = 1) -> None:
        """Hold ``rst``; the beats that inputs still have to offer are offered again after it."""
        if "rst" not in self._numbers:
            return
        self.poke("rst", 1)
        self.step(cycles)
        self.poke("rst", 0)

    def offer(self, stream: str, beats: Mapping[str, NDArray[np.uint64]]) -> None:
        """Set what an input stream sends: per payload suffix 64-bit words (beats, words)."""
        index, found = self._streams[stream]
        columns = []
        for suffix, port in found.payload.items():
            column = np.asarray(beats[suffix], np.uint64)
            column = column.reshape(len(column), -1) if column.size else column.reshape(0, 1)
            if len(column) and column.shape[1] != port.words:
                raise ValueError(
                    f"{port.name} has {port.width} bits, not {column.shape[1]} words of 64"
                )
            columns.append(column)
        data = np.ascontiguousarray(np.concatenate(columns, axis=1), np.uint64)
        self._held[stream] = data
        self._library.offer(self._unit, index, data.ctypes.data, len(data))

    def pause(self, stream: str, traffic: Traffic) -> None:
        """Make a stream pause at random."""
        limit = int(traffic.pause * (1 << 53))
        self._library.traffic(self._unit, self._streams[stream][0], limit, traffic.seed)

    def run(
        self, until: str | None = None, count: int = 0, *, quiet: int = 10_000, most: int = 1 << 62
    ) -> bool:
        """Clock until stream ``until`` has moved ``count`` beats since the last `forget`.

        Returns False where ``quiet`` cycles passed in which nothing moved, or ``most`` in all.

        Raises
        ------
        ProtocolError
            The unit took a beat back or changed it while it was waiting.
        """
        index = self._streams[until][0] if until else -1
        self._library.begin(self._unit)
        while True:
            slice_ = min(most, _SLICE)
            ended = self._library.run(self._unit, index, count, quiet, slice_)
            details = (ctypes.c_uint64 * 2)()
            fault = self._library.fault(self._unit, details)
            if fault:
                did = {1: "took back", 2: "changed"}[fault]
                raise ProtocolError(
                    f"{self.streams[details[0]].name} {did} a beat that was waiting, "
                    f"in cycle {details[1] - self._origin}"
                )
            most -= slice_
            if ended != 2 or not most:
                return ended == 0

    def step(self, cycles: int = 1) -> None:
        """Clock a number of times; streams move as they can."""
        self.run(most=cycles, quiet=cycles)

    def seen(self, stream: str) -> StreamRun:
        """Return the transfers of a stream since the last `forget`."""
        index, found = self._streams[stream]
        count = self._library.taken(self._unit, index)
        cycles = np.zeros(0, np.int64)
        beats: dict[str, NDArray[np.uint64]] = {}
        if count:
            raw = np.ctypeslib.as_array(self._library.cycles(self._unit, index), (count,))
            cycles = raw.astype(np.int64) - self._origin
        if not found.is_input:
            words = np.zeros((0, found.words), np.uint64)
            if count and found.words:
                payload = self._library.payload(self._unit, index)
                words = np.ctypeslib.as_array(payload, (count, found.words))
            at = 0
            for suffix, port in found.payload.items():
                beats[suffix] = words[:, at : at + port.words].copy()
                at += port.words
        return StreamRun(beats, cycles)

    def forget(self) -> None:
        """Drop what the streams have carried so far."""
        self._library.forget(self._unit)

    @property
    def cycle(self) -> int:
        """Cycles since reset."""
        return int(self._library.cycle(self._unit)) - self._origin

    def poke(self, name: str, value: int) -> None:
        """Set an input port that belongs to no stream."""
        port = self.ports[self._numbers[name]]
        words = (ctypes.c_uint64 * port.words)()
        for i in range(len(words)):
            words[i] = value >> 64 * i & (1 << 64) - 1
        self._library.poke(self._unit, self._numbers[name], words)

    def peek(self, name: str) -> int:
        """Return a port's value now, after the last clock edge and the inputs set since."""
        port = self.ports[self._numbers[name]]
        words = (ctypes.c_uint64 * port.words)()
        self._library.settle(self._unit)
        self._library.peek(self._unit, self._numbers[name], words)
        return sum(int(word) << 64 * i for i, word in enumerate(words))

    def write(self, address: int, value: int, *, strobes: int = 15, bus: str = "s_axi") -> int:
        """Write a register over AXI4-Lite, while the streams go on; return the response."""
        waiting = {"aw": {"addr": address}, "w": {"data": value, "strb": strobes}}
        self._send(bus, waiting)
        return self._answer(bus, "b", ("resp",))[0]

    def read(self, address: int, *, bus: str = "s_axi") -> tuple[int, int]:
        """Read a register over AXI4-Lite, while the streams go on; return data and response."""
        self._send(bus, {"ar": {"addr": address}})
        data, response = self._answer(bus, "r", ("data", "resp"))
        return data, response

    def _send(self, bus: str, channels: dict[str, dict[str, int]]) -> None:
        prefix = f"{bus}_" if f"{bus}_awvalid" in self._numbers else f"{bus}__"
        for channel, values in channels.items():
            self.poke(f"{prefix}{channel}valid", 1)
            for name, value in values.items():
                self.poke(f"{prefix}{channel}{name}", value)
        for _ in range(1000):
            taken = [c for c in channels if self.peek(f"{prefix}{c}ready")]
            self.step()
            for channel in taken:
                self.poke(f"{prefix}{channel}valid", 0)
                del channels[channel]
            if not channels:
                return
        raise ProtocolError(f"{bus} did not accept {', '.join(channels)} within 1000 cycles")

    def _answer(self, bus: str, channel: str, names: Sequence[str]) -> list[int]:
        prefix = f"{bus}_" if f"{bus}_awvalid" in self._numbers else f"{bus}__"
        for _ in range(1000):
            if self.peek(f"{prefix}{channel}valid"):
                values = [self.peek(f"{prefix}{channel}{name}") for name in names]
                self.poke(f"{prefix}{channel}ready", 1)
                self.step()
                self.poke(f"{prefix}{channel}ready", 0)
                return values
            self.step()
        raise ProtocolError(f"{bus} did not answer on {channel} within 1000 cycles")
