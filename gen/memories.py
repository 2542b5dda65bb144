"""Memories with their ports as Verilog."""

from collections.abc import Callable

from .errors import ToolError
from .expressions import Expressions, Naming, attributes_text, literal, range_text
from .netlist import Netlist, bits_of, memory_of, packed, wire_of
from .rtlil import Bits, Cell, Module

__all__ = ["Memories"]


class Memories:
    """The memories of one module.

    Attributes
    ----------
    declarations : list of str
        Lines that declare them.
    values : dict
        Wires of ports without a clock to their expressions.
    words : list of str
        Wires of ports with a clock, which are registers.
    """

    def __init__(
        self, module: Module, netlist: Netlist, naming: Naming, write: Expressions,
        unique: Callable[[str], str], strict: bool,
    ):  # fmt: skip
        self._module = module
        self._netlist = netlist
        self._naming = naming
        self._write = write
        self._unique = unique
        self._strict = strict
        self.declarations: list[str] = []
        self.values: dict[str, str] = {}
        self.words: list[str] = []

    def text(self) -> list[str]:
        """Return the lines that fill, write and read the memories."""
        lines: list[str] = []
        for memory in self._module.memories.values():
            name = self._unique(memory.name.removeprefix("\\"))
            self.declarations.append(
                f"  {attributes_text(memory.attributes)}reg {range_text(memory.width)}{name} "
                f"[0:{memory.depth - 1}];"
            )
            lines.append("")
            lines += self._initial(
                name, memory.width, memory.depth, self._netlist.contents[memory.name]
            )
            writes = [c for c in self._netlist.writes if memory_of(c) == memory.name]
            reads = [c for c in self._netlist.reads if memory_of(c) == memory.name]
            for cell in writes:
                lines += self._write_port(name, cell)
            for cell in reads:
                lines += self._read_port(name, cell, writes)
        return lines[1:]

    def _initial(self, name: str, width: int, depth: int, contents: str) -> list[str]:
        words = [contents[len(contents) - width * (i + 1) :][:width] for i in range(depth)]
        if len(set(words)) == 1:
            return [
                f"  initial begin : {self._unique(name + '_init')}",
                "    integer i;",
                f"    for (i = 0; i < {depth}; i = i + 1) {name}[i] = {literal(words[0])};",
                "  end",
            ]
        return [
            "  initial begin",
            *(f"    {name}[{i}] = {literal(word)};" for i, word in enumerate(words)),
            "  end",
        ]

    def _write_port(self, name: str, cell: Cell) -> list[str]:
        write, pins = self._write, cell.pins
        write.place = name
        address = write.index(pins["ADDR"])
        enables = bits_of(pins["EN"])
        data = bits_of(pins["DATA"])
        lines, low = [], 0
        for high in range(1, len(enables) + 1):
            if high < len(enables) and enables[high] == enables[low]:
                continue
            part = "" if (low, high) == (0, len(enables)) else f"[{high - 1}:{low}]"
            if part:
                value = write.bare(packed(data[low:high]))
            else:
                value = write.bare(pins["DATA"])
            test = write.condition((enables[low],))
            lines.append(f"    if ({test}) {name}[{address}]{part} <= {value};")
            low = high
        return [f"  always @(posedge {write.alone(pins['CLK'])}) begin", *lines, "  end"]

    def _read_port(self, name: str, cell: Cell, writes: list[Cell]) -> list[str]:
        write, pins, result = self._write, cell.pins, wire_of(cell.pins["DATA"])
        if result not in self._naming.wires:
            return []
        write.place = name
        value = f"{name}[{write.index(pins['ADDR'])}]"
        if cell.parameters["CLK_ENABLE"] == "0":
            self.values[result] = value
            return []
        self.words.append(result)
        mask = cell.parameters["TRANSPARENCY_MASK"].partition("'")[2]
        for port, bit in zip(writes, reversed(mask), strict=False):
            if bit == "1":
                enables = set(bits_of(port.pins["EN"]))
                if len(enables) > 1:
                    raise ToolError(f"memory {name} is written in parts and read transparently")
                same = f"{write.alone(pins['ADDR'])} == {write.alone(port.pins['ADDR'])}"
                test = f"{write.alone((enables.pop(),))} && {same}"
                value = f"{test} ? {write.alone(port.pins['DATA'])} : {value}"
        target = self._naming.wires[result]
        width = len(bits_of(pins["DATA"]))
        lines = [f"{target} <= {value};"]
        mask = cell.parameters["COLLISION_X_MASK"].partition("'")[2]
        for port, bit in zip(writes, reversed(mask), strict=False):
            if bit == "1" and self._strict:
                same = f"{write.index(pins['ADDR'])} == {write.index(port.pins['ADDR'])}"
                for test in {write.alone((bit,)) for bit in bits_of(port.pins["EN"])}:
                    lines.append(f"if ({test} && {same}) {target} <= {width}'bx;")
        head = f"  always @(posedge {write.alone(pins['CLK'])})"
        if pins["EN"] != (Bits("1"),):
            head += f" if ({write.condition(pins['EN'])})"
        if len(lines) == 1:
            return [f"{head} {lines[0]}"]
        return [f"{head} begin", *(f"    {line}" for line in lines), "  end"]
