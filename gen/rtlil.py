"""RTLIL as Amaranth writes it, read into modules of wires, cells, processes and memories."""

import re
from dataclasses import dataclass, field
from typing import TypeAlias

from .errors import ToolError

__all__ = [
    "Assign", "Bits", "Cell", "Memory", "Module", "Slice", "Spec", "Statement", "Switch", "Wire",
    "read_modules", "width_of",
]  # fmt: skip


@dataclass(frozen=True)
class Bits:
    """A constant, most significant bit first, each of ``0``, ``1`` and ``x``."""

    text: str

    @property
    def width(self) -> int:
        return len(self.text)


@dataclass(frozen=True)
class Slice:
    """Bits ``low`` to ``low + width - 1`` of a wire."""

    wire: str
    low: int
    width: int


Spec: TypeAlias = tuple[Bits | Slice, ...]
"""A value, its most significant part first."""


def width_of(spec: Spec) -> int:
    """Return how many bits a value has."""
    return sum(chunk.width for chunk in spec)


@dataclass
class Wire:
    """A signal; ``way`` is ``input`` or ``output`` for ports, else empty."""

    name: str
    width: int
    signed: bool
    way: str
    attributes: dict[str, str]


@dataclass
class Memory:
    """Words that read and write ports share."""

    name: str
    width: int
    depth: int
    attributes: dict[str, str]


@dataclass
class Cell:
    """An operator, a register, a port of a memory, or an instance of a module."""

    kind: str
    name: str
    parameters: dict[str, str]
    pins: dict[str, Spec]
    attributes: dict[str, str]


@dataclass
class Assign:
    """Bits that take a value."""

    target: Slice
    value: Spec


@dataclass
class Switch:
    """The first case with a matching pattern counts; no patterns match everything."""

    test: Spec
    cases: list[tuple[tuple[str, ...], list["Statement"]]]


Statement: TypeAlias = Assign | Switch


@dataclass
class Module:
    """One module; ``wires`` in the order in which they were written."""

    name: str
    attributes: dict[str, str]
    wires: dict[str, Wire] = field(default_factory=dict)
    memories: dict[str, Memory] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    processes: list[list[Statement]] = field(default_factory=list)
    connections: list[tuple[Spec, Spec]] = field(default_factory=list)


_TOKEN = re.compile(r"[{}]|(\d+)'([01x]*)|([\\$]\S+)|\[(\d+)(?::(\d+))?\]|(\d+)")


def read_modules(text: str) -> dict[str, Module]:
    """Return the modules of a design by name, in the order of the text.

    Raises
    ------
    ToolError
        A line is not of a form that Amaranth writes.
    """
    modules: dict[str, Module] = {}
    lines = iter(text.splitlines())
    attributes: dict[str, str] = {}
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if word == "attribute":
            _add_pair(attributes, rest)
        elif word == "module":
            name = rest.removeprefix("\\")
            modules[name] = _Reader(lines, Module(name, attributes)).read()
            attributes = {}
        elif word:
            raise ToolError(f"RTLIL has a line of a form that tilewright does not know: {line}")
    return modules


def _add_pair(pairs: dict[str, str], text: str) -> None:
    name, _, value = text.partition(" ")
    pairs[name.removeprefix("\\")] = value


class _Reader:
    def __init__(self, lines, module: Module):
        self._lines = lines
        self._module = module
        self._specs: dict[str, Spec] = {}

    def read(self) -> Module:
        module = self._module
        attributes: dict[str, str] = {}
        for line in self._lines:
            word, _, rest = line.strip().partition(" ")
            if not word:
                continue
            if word == "attribute":
                _add_pair(attributes, rest)
                continue
            if word == "end":
                return module
            if word == "wire":
                self._wire(rest, attributes)
            elif word == "cell":
                self._cell(rest, attributes)
            elif word == "process":
                statements = self._statements()
                if statements:
                    module.processes.append(statements)
            elif word == "connect":
                left, right = self._pair(rest)
                if left:
                    module.connections.append((left, right))
            elif word == "memory":
                _, width, _, depth, name = rest.split()
                module.memories[name] = Memory(name, int(width), int(depth), attributes)
            else:
                raise ToolError(f"RTLIL has a line of a form that tilewright does not know: {line}")
            attributes = {}
        raise ToolError(f"RTLIL ends within module {module.name}")

    def _wire(self, text: str, attributes: dict[str, str]) -> None:
        words = text.split()
        way = next((word for word in words if word in ("input", "output")), "")
        name = words[-1]
        self._module.wires[name] = Wire(name, int(words[1]), "signed" in words, way, attributes)

    def _cell(self, text: str, attributes: dict[str, str]) -> None:
        kind, name = text.split()
        cell = Cell(kind.removeprefix("\\"), name.removeprefix("\\"), {}, {}, attributes)
        for line in self._lines:
            word, _, rest = line.strip().partition(" ")
            if word == "parameter":
                _add_pair(cell.parameters, re.sub(r"^(?:signed|real) ", "", rest))
            elif word == "connect":
                pin, _, value = rest.partition(" ")
                cell.pins[pin.removeprefix("\\")] = self._spec(value)
            else:
                break
        self._module.cells.append(cell)

    def _statements(self) -> list[Statement]:
        """Read statements up to the ``end`` of a process."""
        top: list[Statement] = []
        open_: list[list[Statement]] = [top]
        switches: list[Switch] = []
        for line in self._lines:
            word, _, rest = line.strip().partition(" ")
            if word == "assign":
                left, right = self._pair(rest)
                if left:
                    (target,) = left
                    assert isinstance(target, Slice)
                    open_[-1].append(Assign(target, right))
            elif word == "switch":
                switches.append(Switch(self._spec(rest), []))
                open_[-1].append(switches[-1])
                open_.append([])
            elif word == "case":
                open_[-1] = []
                patterns = tuple(p.partition("'")[2] for p in rest.split(", ")) if rest else ()
                switches[-1].cases.append((patterns, open_[-1]))
            elif word == "end":
                if not switches:
                    return top
                switch = switches.pop()
                open_.pop()
                if not switch.test:  # of nothing: its first case is what always happens
                    open_[-1].pop()
                    open_[-1] += switch.cases[0][1] if switch.cases else []
        raise ToolError(f"RTLIL ends within a process of module {self._module.name}")

    def _pair(self, text: str) -> tuple[Spec, Spec]:
        """Return the two values of a line."""
        if text.startswith("{"):
            end = text.index("}") + 1
        else:
            found = re.match(r"\S+(?: \[\d+(?::\d+)?\])?", text)
            assert found
            end = found.end()
        return self._spec(text[:end]), self._spec(text[end + 1 :])

    def _spec(self, text: str) -> Spec:
        known = self._specs.get(text)
        if known is None:
            known = self._specs[text] = self._parse(text)
        return known

    def _parse(self, text: str) -> Spec:
        chunks: list[Bits | Slice] = []
        for token in _TOKEN.finditer(text):
            width, bits, name, high, low, number = token.groups()
            if width is not None:
                if bits:
                    chunks.append(Bits(bits))
            elif name is not None:
                if self._module.wires[name].width:
                    chunks.append(Slice(name, 0, self._module.wires[name].width))
            elif high is not None:
                first = int(low if low is not None else high)
                whole = chunks.pop()
                assert isinstance(whole, Slice)
                chunks.append(Slice(whole.wire, first, int(high) - first + 1))
            elif number is not None:
                chunks.append(Bits(f"{int(number):b}"))
        return tuple(chunks)
