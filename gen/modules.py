"""One module of RTLIL as one module of Verilog-2005."""

import re
import textwrap

from .errors import ToolError
from .expressions import Expressions, attributes_text, literal, parameter_text, range_text
from .hierarchy import ModuleNotes
from .identifiers import Identifiers, legal_port, port_ranks
from .memories import Memories
from .netlist import Netlist, bits_of, packed, read_wires, specs_of, wire_of
from .processes import Block, blocks, choice, render, retarget, split_reset, wrapped
from .rtlil import Assign, Bits, Cell, Module, Slice, Spec, Statement

__all__ = ["write_module"]

_LINE = 100


def write_module(
    module: Module, design: dict[str, Module], notes: dict[str, ModuleNotes], strict: bool = False
) -> str:
    """Return the Verilog of a module.

    Parameters
    ----------
    module : Module
        What is written.
    design : dict
        All modules by name; tells the outputs of instances.
    notes : dict
        By the names of modules: order of ports, names of states, what the comment above says.
    strict : bool
        A read that collides with a write gives X, where the memory promises that nobody minds.
    """
    return _Writer(module, design, notes, strict).write()


class _Writer:
    def __init__(
        self,
        module: Module,
        design: dict[str, Module],
        notes: dict[str, ModuleNotes],
        strict: bool,
    ):
        self._module = module
        self._design = design
        self._notes = notes
        self._netlist = Netlist(module, design)
        self._names = Identifiers(module, self._netlist, notes.get(module.name, ModuleNotes()))
        self._naming = self._names.naming
        self._start = self._names.unique("at_start")
        self._write = Expressions(
            module, self._naming, self._netlist.operators, self._netlist.uses, self._names.unique
        )
        self._memories = Memories(
            module, self._netlist, self._naming, self._write, self._names.unique, strict
        )
        self._values: dict[str, str] = {}  # combinational wire to its expression
        self._variables: dict[str, str] = {}  # what a block assigns, to its initial value

    def write(self) -> str:
        parts = [
            self._registers_text(),
            self._combinational_text(),
            self._memories_text(),
            self._instances_text(),
        ]
        self._operators()
        lines = [*self._comment(), f"module {self._module.name} ("]
        ports = [self._port(name) for name in self._names.ports]
        lines += [f"{port}," for port in ports[:-1]] + ports[-1:] + [");"]
        for part in (self._states_text(), self._declarations(), self._wires(), *parts):
            if part:
                lines += [*part, ""]
        return "\n".join([*lines[:-1], "endmodule", ""])

    def _comment(self) -> list[str]:
        notes = self._notes.get(self._module.name, ModuleNotes())
        lines = textwrap.wrap(notes.summary, _LINE - 3)
        if notes.parameters:
            lines += textwrap.wrap(f"Parameters: {notes.parameters}.", _LINE - 3)
        if notes.latency:
            lines += textwrap.wrap(f"Latency: {notes.latency}", _LINE - 3)
        return [f"// {line}" for line in lines]

    def _states_text(self) -> list[str]:
        lines = []
        for register, states in self._naming.states.items():
            width = self._module.wires[register].width
            lines += [
                f"  localparam {range_text(width)}{name} = {width}'d{value};"
                for value, name in states.items()
            ]
        return lines

    def _registers_text(self) -> list[str]:
        parts: dict[str, list[Block]] = {}
        for cell in self._netlist.registers:
            register, data = wire_of(cell.pins["Q"]), cell.pins["D"]
            if cell.kind != "$dff" or cell.parameters["CLK_POLARITY"] != "1":
                raise ToolError(f"module {self._module.name} has a register with another edge")
            init = self._module.wires[register].attributes.get("init", "")
            self._variables[register] = init.partition("'")[2]
            source = wire_of(data) if len(data) == 1 and isinstance(data[0], Slice) else ""
            width = self._module.wires[register].width
            if (
                source in self._netlist.processes
                and self._netlist.uses[source] == 1
                and source.startswith("$")
            ):
                body: list[Statement] = retarget(self._netlist.processes.pop(source), register)
            else:
                body = [Assign(Slice(register, 0, width), data)]
            first = body[0]
            if isinstance(first, Assign) and first.value == (Slice(register, 0, width),):
                body = body[1:]
            body, resets = split_reset(body, "\\rst")
            clock = self._write.alone(cell.pins["CLK"])
            parts.setdefault(clock, []).append(Block([register], body, resets))
        lines: list[str] = []
        for clock, some in parts.items():
            for block in blocks(some, lambda body: set()):
                self._write.place = self._naming.wires[block.targets[0]]
                lines += ["", *self._clocked(clock, block)]
        return lines[1:]

    def _clocked(self, clock: str, block: Block) -> list[str]:
        write = self._write
        head = f"  always @(posedge {clock})"
        if not block.resets:
            body = render(block.body, write, "<=", "    ")
            if len(block.body) == 1 and len(body) > 1:
                return [head, *body]
            return _guarded(head, body, "  ")
        resets = render(list(block.resets), write, "<=", "      ")
        body = render(block.body, write, "<=", "      ")
        if not body:
            return _guarded(f"{head} if (rst)", resets, "  ")
        first = _guarded("    if (rst)", resets, "    ")
        if first[-1] == "    end":
            rest = _guarded("    end else", body, "    ")
            return [f"{head}", *first[:-1], *rest]
        return [head, *first, *_guarded("    else", body, "    ")]

    def _combinational_text(self) -> list[str]:
        parts = []
        for wire, body in self._netlist.processes.items():
            if wire not in self._naming.wires:
                continue  # nobody reads it
            bits = self._module.wires[wire]
            self._write.place = self._naming.wires[wire]
            whole = _one_assignment(body, bits.width)
            room = _LINE - 3 - len(f"  wire {range_text(bits.width)}{self._naming.wires[wire]} = ;")
            text = choice(whole, self._write, room)
            if text is None:
                self._variables[wire] = ""
                parts.append(Block([wire], body))
            else:
                self._values[wire] = text
        lines: list[str] = []
        for block in blocks(parts, self._read_directly):
            self._write.place = self._naming.wires[block.targets[0]]
            statements = render(block.body, self._write, "=", "    ")
            start = f"    if ({self._start}) begin end"
            lines += ["", "  always @* begin", start, *statements, "  end"]
        if lines:
            lines = [
                "",
                "  // makes every block below run once at the start of a simulation",
                f"  reg {self._start};",
                f"  initial {self._start} <= 1'b0;",
                *lines,
            ]
        return lines[1:]

    def _read_directly(self, body: list[Statement]) -> set[str]:
        """Return the wires that the text of statements may name."""
        queue = [wire for spec in specs_of(body) for wire in read_wires(spec)]
        seen: set[str] = set()
        while queue:
            wire = queue.pop()
            if wire not in seen:
                seen.add(wire)
                if wire in self._netlist.operators:
                    queue += [w for spec in self._netlist.sources(wire) for w in read_wires(spec)]
        return seen

    def _operators(self) -> None:
        """Write the values of all wires that are named, and of those that this names in turn."""
        naming, write = self._naming, self._write
        for name in self._netlist.live:
            if (
                name in naming.wires
                and name in self._netlist.operators
                and name not in self._values
            ):
                write.place = naming.wires[name]
                self._values[name] = write.operator(self._netlist.operators[name])
            elif name in self._netlist.copies and not self._is_part(name):
                write.place = naming.wires[name]
                self._values[name] = write.bare(self._netlist.copies[name])
        while write.needed:
            name = write.needed.pop()
            if name not in self._values:
                write.place = naming.wires[name]
                self._values[name] = write.operator(self._netlist.operators[name])
        for part, bits in write.parts.items():
            self._values[part] = write.target(bits)

    def _is_part(self, name: str) -> bool:
        return name in self._naming.parts.values() and not self._module.wires[name].way

    def _port(self, name: str) -> str:
        wire = self._module.wires[name]
        sort = "reg " if name in self._variables else "wire"
        shape = ("signed " if wire.signed else "") + range_text(wire.width)
        init = self._variables.get(name)
        tail = f" = {literal(init)}" if init else ""
        return f"  {wire.way:6} {sort} {shape}{self._naming.wires[name]}{tail}"

    def _declarations(self) -> list[str]:
        wires, lines = self._module.wires, []
        for name in [*self._variables, *self._netlist.outputs]:
            wire = wires[name]
            if wire.way or name not in self._naming.wires:
                continue
            sort = "reg" if name in self._variables else "wire"
            init = self._variables.get(name)
            lines.append(
                f"  {attributes_text(wire.attributes)}{sort} {'signed ' if wire.signed else ''}"
                f"{range_text(wire.width)}{self._naming.wires[name]}"
                f"{f' = {literal(init)}' if init else ''};"
            )
        return lines + self._memories.declarations

    def _wires(self) -> list[str]:
        """Return combinational wires, each after those that it reads."""
        wires, names = self._module.wires, self._naming.wires
        by_name = {names[wire]: wire for wire in self._values}
        reads = {
            wire: {by_name[word] for word in re.findall(r"[A-Za-z_]\w*", text) if word in by_name}
            for wire, text in self._values.items()
        }
        done: dict[str, None] = {}
        early: list[str] = []
        open_: set[str] = set()

        def visit(wire: str) -> None:
            if wire in done:
                return
            open_.add(wire)
            for other in sorted(reads[wire], key=order.__getitem__):
                if other in open_ and other not in done:
                    early.append(other)  # different bits of two words depend on each other
                else:
                    visit(other)
            done[wire] = None

        order = {wire: index for index, wire in enumerate(self._values)}
        for wire in self._values:
            visit(wire)
        lines = []
        for wire in done:
            shape = ("signed " if wires[wire].signed else "") + range_text(wires[wire].width)
            text, attributes = self._values[wire], attributes_text(wires[wire].attributes)
            if wires[wire].way:
                lines.append(wrapped(f"  assign {names[wire]} = {text};"))
            elif wire in early:
                lines.insert(0, f"  {attributes}wire {shape}{names[wire]};")
                lines.append(wrapped(f"  assign {names[wire]} = {text};"))
            else:
                lines.append(wrapped(f"  {attributes}wire {shape}{names[wire]} = {text};"))
        return lines

    def _memories_text(self) -> list[str]:
        lines = self._memories.text()
        self._values |= self._memories.values
        self._variables |= dict.fromkeys(self._memories.words, "")
        return lines

    def _instances_text(self) -> list[str]:
        lines: list[str] = []
        for cell in self._netlist.instances:
            self._write.place = cell.name
            parameters = ", ".join(
                f".{name}({parameter_text(value)})" for name, value in cell.parameters.items()
            )
            head = f"  {attributes_text(cell.attributes)}{cell.kind} "
            head += f"#({parameters}) " if parameters else ""
            pins = []
            rank = port_ranks(self._notes.get(cell.kind, ModuleNotes()))
            for pin in sorted(cell.pins, key=lambda pin: rank.get(pin, len(rank))):
                own = pin if cell.kind not in self._design else legal_port(pin)
                pins.append(f"    .{own}({self._pin(cell, cell.pins[pin])})")
            lines += ["", *_wrapped_head(head + self._names.unique(cell.name) + " (")]
            lines += [f"{pin}," for pin in pins[:-1]] + pins[-1:] + ["  );"]
        return lines[1:]

    def _pin(self, cell: Cell, spec: Spec) -> str:
        wire = spec[0].wire if len(spec) == 1 and isinstance(spec[0], Slice) else ""
        if self._netlist.outputs.get(wire) is cell:
            live = self._netlist.uses[wire] or self._module.wires[wire].way
            return self._naming.wires[wire] if live else ""
        return self._write.condition(spec) if spec else ""


def _one_assignment(body: list[Statement], width: int) -> list[Statement]:
    """Join assignments to parts into one to the whole, where no condition stands among them."""
    if not all(isinstance(statement, Assign) for statement in body):
        return body
    bits: list[Bits | Slice] = [Bits("x")] * width
    for statement in body:
        if isinstance(statement, Assign):
            low = statement.target.low
            bits[low : low + statement.target.width] = bits_of(statement.value)
    target = body[0].target if isinstance(body[0], Assign) else None
    assert target
    return [Assign(Slice(target.wire, 0, width), packed(bits))]


def _guarded(head: str, body: list[str], indent: str) -> list[str]:
    """Return a statement of one or several lines behind its head."""
    if len(body) == 1 and len(one := f"{head} {body[0].strip()}") <= _LINE:
        return [one]
    shift = indent + "  "
    cut = len(body[0]) - len(body[0].lstrip()) if body else 0
    return [f"{head} begin", *(shift + line[cut:] for line in body), f"{indent}end"]


def _wrapped_head(line: str) -> list[str]:
    return wrapped(line).split("\n")
