"""What drives each wire of a module, and how often it is read."""

from collections import Counter
from collections.abc import Iterator

from .errors import ToolError
from .expressions import OPERATORS
from .rtlil import Assign, Bits, Cell, Module, Slice, Spec, Statement

__all__ = [
    "Netlist", "bits_of", "memory_of", "packed", "read_wires", "specs_of", "wire_of",
]  # fmt: skip


class Netlist:
    """The contents of a module, sorted by what they are.

    Attributes
    ----------
    operators : dict
        Wire to the operator that drives it.
    registers, reads, writes, instances : list of Cell
        The other cells: flip-flops, ports of memories, instances of modules.
    outputs : dict
        Wire to the instance that drives it.
    contents : dict
        Memory to its initial bits, the last word first.
    processes : dict
        Wire to the statements that assign it.
    copies : dict
        Wire to the value that it repeats.
    uses : Counter
        How often each wire is read by what is alive.
    live : list of str
        Wires that reach a port, a register, a memory or an instance.
    """

    def __init__(self, module: Module, design: dict[str, Module]):
        self._module = module
        self._sources: dict[str, list[Spec]] = {}
        self.operators: dict[str, Cell] = {}
        self.outputs: dict[str, Cell] = {}
        self.registers: list[Cell] = []
        self.reads: list[Cell] = []
        self.writes: list[Cell] = []
        self.instances: list[Cell] = []
        self.contents: dict[str, str] = {}
        self.processes: dict[str, list[Statement]] = {}
        self.copies: dict[str, Spec] = {}
        self.uses: Counter[str] = Counter()
        self.live: list[str] = []
        self._sort_cells()
        self._sort_statements()
        self._find_outputs(design)
        self._follow()

    def sources(self, wire: str) -> list[Spec]:
        """Return the values that a wire's driver reads."""
        return self._sources.get(wire, [])

    def _sort_cells(self) -> None:
        for cell in _distinct(self._module):
            if () in [cell.pins.get(pin) for pin in ("Y", "Q", "DATA")] and cell.kind[0] == "$":
                continue  # of no bits
            if cell.kind in OPERATORS:
                self._drive(cell.pins["Y"], [s for pin, s in cell.pins.items() if pin != "Y"])
                self.operators[wire_of(cell.pins["Y"])] = cell
            elif cell.kind in ("$dff", "$adff"):
                self.registers.append(cell)
                self._drive(cell.pins["Q"], [s for pin, s in cell.pins.items() if pin != "Q"])
            elif cell.kind == "$memrd_v2":
                self.reads.append(cell)
                self._drive(cell.pins["DATA"], [cell.pins[p] for p in ("ADDR", "EN", "CLK")])
            elif cell.kind == "$memwr_v2":
                self.writes.append(cell)
            elif cell.kind == "$meminit_v2":
                data = cell.pins["DATA"]
                text = "".join(chunk.text for chunk in data if isinstance(chunk, Bits))
                self.contents[memory_of(cell)] = text
            elif cell.kind.startswith("$"):
                raise ToolError(
                    f"module {self._module.name} has a cell {cell.kind}, which is not for hardware"
                )
            else:
                self.instances.append(cell)

    def _drive(self, result: Spec, reads: list[Spec]) -> None:
        self._sources[wire_of(result)] = reads

    def _sort_statements(self) -> None:
        for body in self._module.processes:
            self.processes[_target(body)] = body
            self._sources[_target(body)] = list(specs_of(body))
        for left, right in self._module.connections:
            self.copies[wire_of(left)] = right
            self._sources[wire_of(left)] = [right]

    def _find_outputs(self, design: dict[str, Module]) -> None:
        """Find what instances drive; of a cell of the fabric, what nothing else drives."""
        driven = set(self._sources)
        driven |= {name for name, wire in self._module.wires.items() if wire.way == "input"}
        for cell in self.instances:
            known = design.get(cell.kind)
            for pin, spec in cell.pins.items():
                port = known.wires.get(f"\\{pin}") if known else None
                part = spec[0] if len(spec) == 1 else None
                unknown = isinstance(part, Slice) and part.wire not in driven
                if port.way == "output" if port else unknown:
                    self.outputs[wire_of(spec)] = cell

    def _follow(self) -> None:
        """Count what is read, from ports, registers, memories and instances backwards."""
        wires = self._module.wires
        queue = [name for name, wire in wires.items() if wire.way == "output"]
        for cell in (*self.instances, *self.writes):
            outputs = {wire for wire, source in self.outputs.items() if source is cell}
            for spec in cell.pins.values():
                for name in read_wires(spec) - outputs:
                    self.uses[name] += _count(spec, name)
                    queue.append(name)
        queue += [wire_of(cell.pins["Q"]) for cell in self.registers]
        seen: set[str] = set()
        while queue:
            name = queue.pop()
            if name in seen:
                continue
            seen.add(name)
            for spec in self._sources.get(name, ()):
                for source in read_wires(spec):
                    self.uses[source] += _count(spec, source)
                    queue.append(source)
        self.live = [name for name in wires if name in seen]


def read_wires(spec: Spec) -> set[str]:
    """Return the wires of a value."""
    return {chunk.wire for chunk in spec if isinstance(chunk, Slice)}


def wire_of(spec: Spec) -> str:
    """Return the wire of a value that is all of one wire."""
    (chunk,) = spec
    assert isinstance(chunk, Slice)
    return chunk.wire


def memory_of(cell: Cell) -> str:
    """Return the memory of a port, which RTLIL quotes."""
    return cell.parameters["MEMID"].strip('"').replace("\\\\", "\\")


def _target(body: list[Statement]) -> str:
    assert isinstance(body[0], Assign)
    return body[0].target.wire


def specs_of(body: list[Statement]) -> Iterator[Spec]:
    """Yield every value that statements read."""
    for statement in body:
        if isinstance(statement, Assign):
            yield statement.value
        else:
            yield statement.test
            for _, inner in statement.cases:
                yield from specs_of(inner)


def _count(spec: Spec, wire: str) -> int:
    return sum(isinstance(chunk, Slice) and chunk.wire == wire for chunk in spec)


def bits_of(spec: Spec) -> list[Bits | Slice]:
    """Return the bits of a value, least significant first."""
    bits: list[Bits | Slice] = []
    for chunk in reversed(spec):
        for i in range(chunk.width):
            if isinstance(chunk, Slice):
                bits.append(Slice(chunk.wire, chunk.low + i, 1))
            else:
                bits.append(Bits(chunk.text[-1 - i]))
    return bits


def packed(bits: list[Bits | Slice]) -> Spec:
    """Return bits, least significant first, as a value with as few chunks as there can be."""
    chunks: list[Bits | Slice] = []
    for bit in bits:
        last = chunks[-1] if chunks else None
        if isinstance(bit, Bits) and isinstance(last, Bits):
            chunks[-1] = Bits(bit.text + last.text)
        elif (
            isinstance(bit, Slice)
            and isinstance(last, Slice)
            and (last.wire, last.low + last.width) == (bit.wire, bit.low)
        ):
            chunks[-1] = Slice(last.wire, last.low, last.width + 1)
        else:
            chunks.append(bit)
    return tuple(reversed(chunks))


def _distinct(module: Module) -> list[Cell]:
    """Return the cells without operators that do what an earlier one does, for readers too."""
    same: dict[str, str] = {}
    known: dict[object, str] = {}
    cells = []
    for cell in module.cells:
        if cell.kind not in OPERATORS or not cell.pins["Y"]:
            cells.append(cell)
            continue
        result = wire_of(cell.pins["Y"])
        reads = tuple((pin, _replaced(s, same)) for pin, s in cell.pins.items() if pin != "Y")
        key = cell.kind, reads, tuple(cell.parameters.items())
        if key in known and result.startswith("$"):
            same[result] = known[key]
        else:
            known.setdefault(key, result)
            cells.append(cell)
    if same:
        for cell in cells:
            cell.pins = {pin: _replaced(spec, same) for pin, spec in cell.pins.items()}
        module.connections = [(left, _replaced(right, same)) for left, right in module.connections]
        for body in module.processes:
            _replace_all(body, same)
    return cells


def _replaced(spec: Spec, names: dict[str, str]) -> Spec:
    if not any(isinstance(chunk, Slice) and chunk.wire in names for chunk in spec):
        return spec
    return tuple(
        Slice(names.get(chunk.wire, chunk.wire), chunk.low, chunk.width)
        if isinstance(chunk, Slice)
        else chunk
        for chunk in spec
    )


def _replace_all(body: list[Statement], names: dict[str, str]) -> None:
    for statement in body:
        if isinstance(statement, Assign):
            statement.value = _replaced(statement.value, names)
        else:
            statement.test = _replaced(statement.test, names)
            for _, inner in statement.cases:
                _replace_all(inner, names)
