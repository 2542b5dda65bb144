"""Identifiers of a module: those of its signals, as far as they have a name."""

import re

from .expressions import Naming
from .hierarchy import ModuleNotes
from .keywords import KEYWORDS
from .netlist import Netlist, memory_of, wire_of
from .rtlil import Module, Slice

__all__ = ["Identifiers", "legal_port", "port_ranks"]


class Identifiers:
    """Gives every wire that has a name, or a place that names it, an identifier.

    Attributes
    ----------
    naming : Naming
        The identifiers.
    ports : list of str
        Wires of the ports, clock and reset first, then in the order of the signature.
    """

    def __init__(self, module: Module, netlist: Netlist, notes: ModuleNotes):
        self._module = module
        self._netlist = netlist
        self._notes = notes
        self._taken: set[str] = set(KEYWORDS)
        self.naming = Naming()
        self.ports: list[str] = []
        self._name_ports()
        self._name_states()
        self._name_signals(self._proposals())
        self._name_parts()

    def unique(self, name: str) -> str:
        """Return an identifier that nothing has, like a proposal."""
        base = name = re.sub(r"\W+", "_", name).strip("_") or "value"
        if base[0].isdigit():
            base = name = f"n{base}"
        number = 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name

    def _name_ports(self) -> None:
        wires = self._module.wires
        ports = [name for name, wire in wires.items() if wire.way and wire.width]
        ranks = port_ranks(self._notes)
        self.ports = sorted(ports, key=lambda name: ranks.get(name[1:], len(ranks)))
        for name in self.ports:
            self.naming.wires[name] = legal_port(name.removeprefix("\\"))
            self._taken.add(self.naming.wires[name])

    def _proposals(self) -> dict[str, str]:
        """Return names for wires that have none of their own, from where they are used."""
        wires, netlist = self._module.wires, self._netlist
        proposals: dict[str, str] = {}
        for cell in netlist.instances:
            for pin, spec in cell.pins.items():
                if len(spec) == 1 and isinstance(spec[0], Slice):
                    name = spec[0].wire
                    whole = spec[0].width == wires[name].width
                    if whole and _own_name(name) in (pin, ""):
                        proposals.setdefault(name, f"{cell.name}_{pin}")
        for name, source in netlist.copies.items():
            for chunk in source:
                if isinstance(chunk, Slice) and chunk.wire.startswith("$"):
                    if chunk.wire not in netlist.operators:
                        proposals.setdefault(chunk.wire, f"{_own_name(name)}_{chunk.low}_part")
        for cell in netlist.reads:
            memory = memory_of(cell).removeprefix("\\")
            proposals.setdefault(wire_of(cell.pins["DATA"]), f"{memory}_word")
        for cell in netlist.registers:
            data = cell.pins["D"]
            if len(data) == 1 and isinstance(data[0], Slice) and data[0].wire.startswith("$"):
                proposals.setdefault(data[0].wire, f"{_own_name(wire_of(cell.pins['Q']))}_next")
        return proposals

    def _name_signals(self, proposals: dict[str, str]) -> None:
        """Name all that is live, but for results of operators without a name."""
        named = self.naming.wires
        for name in self._netlist.live:
            if name in named or (name.startswith("$") and name in self._netlist.operators):
                continue
            named[name] = self.unique(proposals.get(name) or _own_name(name) or "value")

    def _name_parts(self) -> None:
        """Find the fields of structures: bits of a signal with a name of their own."""
        wires, naming = self._module.wires, self.naming
        for name, source in self._netlist.copies.items():
            if not re.search(r"[.\[]", name) or "$" in name or len(source) != 1:
                continue
            bits = source[0]
            if not isinstance(bits, Slice) or bits.wire.startswith("$") or bits in naming.parts:
                continue
            if bits.width < wires[bits.wire].width:
                naming.parts[bits] = name
                if name not in naming.wires:
                    naming.wires[name] = self.unique(name.removeprefix("\\"))

    def _name_states(self) -> None:
        for register, states in self._notes.states.items():
            name = f"\\{register}"
            if name in self._module.wires and self._module.wires[name].width:
                machine = _upper(register.removesuffix("_state"))
                self.naming.states[name] = {
                    value: self.unique(f"{machine}_{_upper(state)}")
                    for value, state in states.items()
                }


def _own_name(wire: str) -> str:
    """Return what a signal was called, without the number that tells it from others."""
    return wire.removeprefix("\\").partition("$")[0]


def _upper(name: str) -> str:
    return re.sub(r"\W+|(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def legal_port(port: str) -> str:
    """Return the name of a port, changed if Verilog keeps it for itself."""
    return f"{port}_" if port in KEYWORDS else port


def port_ranks(notes: ModuleNotes) -> dict[str, int]:
    """Return the place of each port among all."""
    return {name: place for place, name in enumerate(("clk", "rst", *notes.ports))}
