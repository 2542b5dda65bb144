"""Emission of a component as RTLIL and as readable Verilog, shared modules once each."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth.lib import stream, wiring

from ..hw.bus.axi_stream import AxiStreamTop
from .hierarchy import ModuleNotes, convert, summary
from .modules import write_module
from .rtlil import Module, read_modules

__all__ = ["Emitted", "emit", "has_streams", "sections", "summary", "top_of"]

_MEANT = {
    "WIDTH": "operands are extended, and results cut, by the rules of the standard",
    "UNSIGNED": "a configuration can make a comparison constant",
    "CMPCONST": "a configuration can make a comparison constant",
    "CASEINCOMPLETE": "in all other cases a block leaves what it assigned before",
    "PROCASSINIT": "registers start with their value after reset",
    "INITIALDLY": "at_start changes once every block waits",
    "UNUSEDSIGNAL": "not every field of a structure is read everywhere",
    "PINCONNECTEMPTY": "not every output of a part is read",
    "VARHIDDEN": "a signal inside a part may be called as an instance outside",
    "DECLFILENAME": "all modules of a design stand in one file",
}
_LINT_OFF = "".join(
    f"/* verilator lint_off {kind:15} */  // {reason}\n" for kind, reason in _MEANT.items()
)
_LINT_ON = "".join(f"/* verilator lint_on {kind} */\n" for kind in _MEANT)
_PROMISED = re.compile(
    r"^  attribute \\no_rw_check 1\n(?:  attribute .*\n)*  memory .* \\(\S+)$", re.MULTILINE
)
_READ = re.compile(
    r"^(  cell \$memrd_v2 \S+\n    parameter \\MEMID (\S+)\n(?:    .*\n)*?"
    r"    parameter \\COLLISION_X_MASK \d+')(0+)(?=\n(?:    .*\n)*?    parameter \\CLK_ENABLE 1\n)",
    re.MULTILINE,
)
_MODULE = re.compile(r"^module .*?^end$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Emitted:
    """One design in both forms: ``verilog`` to read and simulate, ``rtlil`` for synthesis.

    A memory with the attribute ``no_rw_check`` promises that nobody needs what a read gives in the
    cycle of a write to the same word: ``rtlil`` says so to synthesis, of no other memory.
    """

    name: str
    verilog: str
    rtlil: str

    @cached_property
    def strict(self) -> str:
        """The Verilog for benches: such a read gives X, so that whoever needs it is found out."""
        return _written(self.rtlil, self.name, {}, strict=True)


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
    design = convert(top, name)
    text = _promise(design.rtlil)
    verilog = _written(text, name, design.notes)
    if header:
        verilog = "\n".join((_comment(header), _LINT_OFF, verilog, _LINT_ON))
    return Emitted(name, verilog, text)


def _written(text: str, name: str, notes: dict[str, ModuleNotes], strict: bool = False) -> str:
    """Return RTLIL as Verilog, the top module first."""
    modules = read_modules(text)
    return "\n".join(
        write_module(module, modules, notes, strict) for module in _from_the_top(modules, name)
    )


def _promise(text: str) -> str:
    """Tell synthesis of the clocked reads of each memory that promises it, see `Emitted`."""

    def module(match: re.Match[str]) -> str:
        names = {rf'"\\{name}"' for name in _PROMISED.findall(match[0])}
        return _READ.sub(
            lambda read: read[1] + (read[3].replace("0", "1") if read[2] in names else read[3]),
            match[0],
        )

    return _MODULE.sub(module, text)


def _from_the_top(modules: dict[str, Module], name: str) -> Iterator[Module]:
    """Yield the modules in the order in which a reader meets them."""
    waiting, seen = [name], set()
    while waiting:
        name = waiting.pop()
        if name in modules and name not in seen:
            seen.add(name)
            yield modules[name]
            waiting += [cell.kind for cell in reversed(modules[name].cells)]


def sections(component: object) -> dict[str, str]:
    """Return the prose of each section of the documentation of an object's class."""
    component = component.inner if isinstance(component, AxiStreamTop) else component
    text = inspect.cleandoc(type(component).__doc__ or "") + "\n"
    found = re.findall(r"^(\w+)(?:\n-+)?\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    return {title: " ".join(body.split()) for title, body in found}


def top_of(component: wiring.Component) -> wiring.Component:
    """Return what becomes the top module: the component, or AXI4-Stream names around it."""
    return AxiStreamTop(component) if has_streams(component.signature) else component


def has_streams(signature: Any) -> bool:
    """Tell whether a signature has a stream anywhere inside."""
    return any(
        isinstance(member.signature, stream.Signature) or has_streams(member.signature)
        for member in signature.members.values()
        if member.is_signature
    )


def _comment(header: str) -> str:
    return "".join(f"// {line}".rstrip() + "\n" for line in header.splitlines())
