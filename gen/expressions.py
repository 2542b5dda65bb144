"""Values of RTLIL as Verilog expressions.

Verilog widens operands to their context and takes an expression for signed only where all of its
operands are. An operator is written inside another only where neither changes its value; elsewhere
its result gets a wire of its own.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

from .errors import ToolError
from .rtlil import Bits, Cell, Module, Slice, Spec, width_of

__all__ = ["OPERATORS", "Expressions", "Naming", "literal"]

_MODULAR = {"$add": "+", "$sub": "-", "$mul": "*"}
_BITWISE = {"$and": "&", "$or": "|", "$xor": "^"}
_COMPARE = {"$eq": "==", "$ne": "!=", "$lt": "<", "$le": "<=", "$gt": ">", "$ge": ">="}
_REDUCE = {"$reduce_and": "&", "$reduce_or": "|", "$reduce_xor": "^", "$reduce_bool": "|"}
_DIVIDE = {"$divfloor": "/", "$modfloor": "%"}
OPERATORS = {
    *_MODULAR, *_BITWISE, *_COMPARE, *_REDUCE, *_DIVIDE, "$not", "$neg", "$mux", "$shl", "$shr",
    "$sshr", "$shift",
}  # fmt: skip
_WORDS = {
    "$add": "plus", "$sub": "minus", "$mul": "times", "$eq": "is", "$ne": "is_not",
    "$lt": "below", "$le": "up_to", "$gt": "above", "$ge": "from", "$and": "and", "$or": "or",
    "$xor": "xor", "$not": "not", "$neg": "negated", "$reduce_and": "all", "$reduce_or": "any",
    "$reduce_bool": "any", "$reduce_xor": "parity", "$mux": "choice", "$shl": "shifted",
    "$shr": "shifted", "$sshr": "shifted", "$shift": "shifted", "$divfloor": "quotient",
    "$modfloor": "remainder",
}  # fmt: skip
_REPEATED_LENGTH = 40
_NAME_LENGTH = 32


def literal(bits: str) -> str:
    """Return a sized constant: in decimals if it is small, else in hexadecimals."""
    if not bits:
        return "1'b0"
    if "x" in bits:
        return f"{len(bits)}'b{bits}"
    value = int(bits, 2)
    if len(bits) == 1:
        return f"1'b{bits}"
    return f"{len(bits)}'d{value}" if value < 1000 else f"{len(bits)}'h{value:x}"


def _signed_literal(bits: str) -> str:
    if not bits:
        return "1'sd0"
    value = int(bits, 2) - (int(bits[0]) << len(bits))
    return f"-{len(bits) + 1}'sd{-value}" if value < 0 else f"{len(bits)}'sd{value}"


@dataclass
class Naming:
    """Identifiers of a module.

    Attributes
    ----------
    wires : dict
        Wire to identifier.
    parts : dict
        Bits of a wire that have a name of their own, to the wire that carries it.
    states : dict
        Wire to the names of its values, for state machines.
    """

    wires: dict[str, str] = field(default_factory=dict)
    parts: dict[Slice, str] = field(default_factory=dict)
    states: dict[str, dict[int, str]] = field(default_factory=dict)


class Expressions:
    """Writes values of one module.

    Parameters
    ----------
    module : Module
        The module.
    naming : Naming
        Its identifiers; wires that operators drive get theirs here when they are needed.
    drivers : dict
        Unnamed wires to the operators that drive them.
    uses : Counter
        How often each wire is read.
    unique : callable
        Makes an identifier from a proposal.
    """

    def __init__(
        self, module: Module, naming: Naming, drivers: dict[str, Cell], uses: Counter, unique
    ):
        self._module = module
        self._naming = naming
        self._drivers = drivers
        self._uses = uses
        self._unique = unique
        self.needed: list[str] = []
        self.parts: dict[str, Slice] = {}
        self.place = ""

    def assigned(self, spec: Spec) -> str:
        """Return the right side of an assignment to as many bits as ``spec`` has."""
        cell = self._inner(spec)
        if cell:
            text = self._operator(cell, width_of(spec), "top")
            if text is not None:
                return text
        return self.alone(spec)

    def bare(self, spec: Spec, target: Slice | None = None) -> str:
        """Return `assigned` without brackets around it; a state of ``target`` by its name."""
        if target and all(isinstance(chunk, Bits) for chunk in spec):
            bits = "".join(chunk.text for chunk in spec if isinstance(chunk, Bits))
            if "x" not in bits and (state := self.state((target,), int(bits, 2))):
                return state
        return _bare(self.assigned(spec))

    def operator(self, cell: Cell) -> str:
        """Return the right side of an assignment to all bits of an operator's result."""
        width = cell.parameters.get("Y_WIDTH") or cell.parameters["WIDTH"]
        text = self._operator(cell, int(width), "top")
        if text is None:
            raise ToolError(f"{cell.kind} of this form cannot be written in Verilog")
        return _bare(text)

    def alone(self, spec: Spec) -> str:
        """Return an expression that has its value and its width wherever it stands."""
        cell = self._inner(spec)
        if cell:
            text = self._operator(cell, width_of(spec), "alone")
            if text is not None:
                return text
        if not spec:
            return "1'b0"
        if len(spec) == 1:
            return self._chunk(spec[0])
        return self._joined(spec)

    def condition(self, spec: Spec) -> str:
        """Return a value as it stands between brackets or behind a comma."""
        return _bare(self.alone(spec))

    def index(self, spec: Spec) -> str:
        """Return an address of a memory: no sum, as some simulators keep its carry.

        An address that Verilog took for signed would name no word where it is negative.
        """
        cell = self._inner(spec)
        if cell and cell.kind not in _MODULAR:
            text, signed = self.condition(spec), cell.parameters.get("A_SIGNED", "0") != "0"
        else:
            text = self._chunk(spec[0]) if cell else self.condition(spec)
            signed = self._is_signed(spec)
        return f"$unsigned({text})" if signed else text

    def identifier(self, wire: str) -> str:
        """Return the name of a wire that has one."""
        return self._naming.wires[wire]

    def target(self, bits: Slice) -> str:
        """Return what is assigned to."""
        return self._bits(self._naming.wires[bits.wire], bits)

    def state(self, spec: Spec, value: int) -> str:
        """Return the name of a state if ``spec`` is the register of a state machine, else empty."""
        if len(spec) != 1 or not isinstance(spec[0], Slice):
            return ""
        if spec[0].width != self._module.wires[spec[0].wire].width:
            return ""
        return self._naming.states.get(spec[0].wire, {}).get(value, "")

    def _joined(self, spec: Spec) -> str:
        texts: list[tuple[str, int]] = []
        for chunk in spec:
            text = self.alone((chunk,))
            if texts and texts[-1][0] == text and chunk.width == 1 and isinstance(chunk, Slice):
                texts[-1] = text, texts[-1][1] + 1
            else:
                texts.append((text, 1))
        parts = [
            f"{{{count}{{{_bare(text)}}}}}" if count > 1 else _bare(text) for text, count in texts
        ]
        return parts[0] if len(parts) == 1 else "{" + ", ".join(parts) + "}"

    def _chunk(self, chunk: Bits | Slice) -> str:
        if isinstance(chunk, Bits):
            return literal(chunk.text)
        part = self._naming.parts.get(chunk)
        if part is not None:
            self.parts[part] = chunk
            return self._naming.wires[part]
        return self._bits(self._name(chunk.wire), chunk)

    def _bits(self, name: str, bits: Slice) -> str:
        if bits.width == self._module.wires[bits.wire].width:
            return name
        if bits.width == 1:
            return f"{name}[{bits.low}]"
        return f"{name}[{bits.low + bits.width - 1}:{bits.low}]"

    def _name(self, wire: str) -> str:
        if wire not in self._naming.wires:
            cell = self._drivers.get(wire)
            if cell is None:
                raise ToolError(f"a wire of module {self._module.name} has no driver: {wire}")
            self._naming.wires[wire] = self._unique(self._proposal(cell))
            self.needed.append(wire)
        return self._naming.wires[wire]

    def _proposal(self, cell: Cell) -> str:
        """Return a name for an operator's result that says what it is, or for whom."""
        word = _WORDS[cell.kind]
        pins = [cell.pins[pin] for pin in "AB" if pin in cell.pins]
        names = []
        for spec in pins:
            padded = len(spec) == 2 and isinstance(spec[0], Bits)
            bits = spec[-1] if padded else spec[0] if spec else None
            if isinstance(bits, Slice) and bits.wire in self._naming.wires:
                names.append(re.sub(r"\W+", "_", self._chunk(bits)).strip("_"))
            elif isinstance(bits, Bits) and len(spec) == 1 and "x" not in bits.text:
                names.append(str(int(bits.text, 2)))
        if cell.kind != "$mux" and len(names) == len(pins) and not names[0].isdigit():
            if len(names) == 1:
                names = [word, names[0]] if cell.kind in ("$not", "$neg") else [names[0], word]
            elif cell.kind.startswith("$sh") or cell.kind == "$sshr":
                names = [names[0], word]
            else:
                names.insert(1, word)
            if len(name := "_".join(names)) <= _NAME_LENGTH:
                return name
        return f"{self.place or 'value'}_{word}"

    def _inner(self, spec: Spec) -> Cell | None:
        """Return the operator whose result these bits are, if it can be written in their place."""
        if len(spec) != 1 or not isinstance(spec[0], Slice):
            return None
        bits = spec[0]
        cell = self._drivers.get(bits.wire)
        if cell is None or bits.low or bits.wire in self._naming.wires:
            return None
        if bits.width < self._module.wires[bits.wire].width and cell.kind not in _MODULAR:
            return None
        if self._uses[bits.wire] == 1:
            return cell
        if bits.width == 1 and self._uses[bits.wire] <= 4 and self._is_short(cell):
            return cell
        return None

    def _is_short(self, cell: Cell) -> bool:
        """Tell whether a condition may be repeated: it reads what has a name and is not long."""
        for pin, spec in cell.pins.items():
            if pin == "Y":
                continue
            for chunk in spec:
                if isinstance(chunk, Slice) and (
                    chunk.wire in self._drivers or self._module.wires[chunk.wire].width > 64
                ):
                    return False
        if cell.kind == "$mux":
            return False
        text = self._operator(cell, 1, "alone")
        return text is not None and len(text) <= _REPEATED_LENGTH

    def _operator(self, cell: Cell, width: int, place: str) -> str | None:
        """Return an operator for ``width`` bits of its result, or None where it cannot stand.

        ``place`` is "top" for a right side, "inner" where only the low bits count and the context
        may be wider, "alone" where the context has no width.
        """
        kind, pins = cell.kind, cell.pins
        if kind in _COMPARE:
            return self._comparison(cell)
        if kind in _REDUCE:
            if all(isinstance(chunk, Bits) for chunk in pins["A"]):
                ones = "".join(chunk.text for chunk in pins["A"] if isinstance(chunk, Bits))
                if kind != "$reduce_xor":
                    return f"1'b{int('0' not in ones if kind == '$reduce_and' else '1' in ones)}"
            operand = self._nested(pins["A"], width_of(pins["A"]), "alone")
            if width_of(pins["A"]) == 1:  # of a signed wire it is not extended with its sign
                return self._leaf(pins["A"], False) if self._is_signed(pins["A"]) else operand
            return f"({_REDUCE[kind]}{_primary(operand)})"
        if kind in _BITWISE or kind == "$mux":
            if place == "alone" and width != width_of(pins["A"]):
                return None
            inner = "alone" if place == "alone" else "inner"
            a, b = (self._nested(pins[pin], width, inner) for pin in "AB")
            neutral, final = ("1'b0", "1'b1") if kind == "$or" else ("1'b1", "1'b0")
            if kind in ("$or", "$and") and neutral in (a, b):
                return b if a == neutral else a
            if kind in ("$or", "$and") and final in (a, b):
                return final
            if kind == "$mux":
                return f"({self._nested(pins['S'], 1, 'alone')} ? {b} : {a})"
            return f"({a} {_BITWISE[kind]} {b})"
        if kind == "$not":
            if place == "alone" and width != width_of(pins["A"]):
                return None
            inner = "alone" if place == "alone" else "inner"
            operand = self._nested(pins["A"], width, inner)
            return _inverted(operand) if width_of(pins["A"]) == 1 else f"~{_primary(operand)}"
        if kind in _MODULAR or kind == "$neg":
            return self._arithmetic(cell, width, place)
        if kind in _DIVIDE:
            if cell.parameters["A_SIGNED"] != "0":
                return None
            a, b = (self._leaf(pins[pin], False) for pin in "AB")
            fits = place != "alone" or max(width_of(pins["A"]), width_of(pins["B"])) == width
            return f"({a} {_DIVIDE[kind]} {b})" if fits else None
        return self._shift(cell, width, place)

    def _arithmetic(self, cell: Cell, width: int, place: str) -> str | None:
        operands = [cell.pins[pin] for pin in "AB" if pin in cell.pins]
        widths = [width_of(spec) for spec in operands]
        extends = cell.parameters["A_SIGNED"] != "0" and min(widths) < width
        if (extends and place != "top") or (place == "alone" and max(widths) != width):
            return None
        texts = []
        for spec in operands:
            if extends:
                texts.append(self._leaf(spec, True))
            elif width_of(spec) < width:
                texts.append(self._leaf(spec, False))
            else:
                texts.append(self._nested(spec, width, "alone" if place == "alone" else "inner"))
        if cell.kind == "$neg":
            return f"(-{_primary(texts[0])})"
        return f"({texts[0]} {_MODULAR[cell.kind]} {texts[1]})"

    def _shift(self, cell: Cell, width: int, place: str) -> str | None:
        a, by = cell.pins["A"], self._nested(cell.pins["B"], 0, "alone")
        signed = cell.parameters["A_SIGNED"] != "0"
        if cell.kind == "$sshr":
            return f"({self._leaf(a, True)} >>> {by})" if place == "top" else None
        if place == "alone" and width_of(a) != width:
            return None
        if cell.kind == "$shl":
            if signed and width_of(a) < width:
                return f"({self._leaf(a, True)} << {by})" if place == "top" else None
            return f"({self._leaf(a, False)} << {by})"
        if signed and width_of(a) < width:
            return None
        return f"({self._leaf(a, False)} >> {by})"

    def _comparison(self, cell: Cell) -> str:
        a, b = cell.pins["A"], cell.pins["B"]
        equality = cell.kind in ("$eq", "$ne")
        signed = cell.parameters["A_SIGNED"] != "0"
        if equality and not signed and all(isinstance(chunk, Bits) for chunk in b):
            value = int("0" + "".join(chunk.text for chunk in b if isinstance(chunk, Bits)), 2)
            state = self.state(a, value)
            if state:
                return f"({self._chunk(a[0])} {_COMPARE[cell.kind]} {state})"
            if width_of(a) == 1 and value < 2:
                operand = self._nested(a, 1, "alone")
                return operand if bool(value) == (cell.kind == "$eq") else _inverted(operand)
        same = width_of(a) == width_of(b)
        if signed and not (equality and same):
            left, right = self._leaf(a, True), self._leaf(b, True)
        elif same and equality:
            left, right = self._nested(a, 0, "alone"), self._nested(b, 0, "alone")
        else:
            most = max(width_of(a), width_of(b))
            left, right = (self._leaf(_widened(spec, most), False, same) for spec in (a, b))
        return f"({left} {_COMPARE[cell.kind]} {right})"

    def _nested(self, spec: Spec, width: int, place: str) -> str:
        """Return an operand of which the low ``width`` bits count, all if 0."""
        cell = self._inner(spec)
        if cell and place == "inner":
            text = self._operator(cell, width, "inner")
            if text is not None:
                return text
        return self.alone(spec)

    def _leaf(self, spec: Spec, signed: bool, inner: bool = False) -> str:
        """Return an operand that Verilog extends with its sign, or with zeros."""
        if all(isinstance(chunk, Bits) for chunk in spec):
            bits = "".join(chunk.text for chunk in spec if isinstance(chunk, Bits))
            return _signed_literal(bits) if signed else literal(bits)
        if signed:
            if self._is_signed(spec):
                return self._chunk(spec[0])
            return f"$signed({_bare(self.alone(spec))})"
        if self._is_signed(spec):
            return f"$unsigned({self._chunk(spec[0])})"
        cell = self._inner(spec)
        if cell and not inner and width_of(spec) > 1:
            # alone it has its width, but not in a wider context
            return self._chunk(spec[0])
        return self.alone(spec)

    def _is_signed(self, spec: Spec) -> bool:
        """Tell whether an operand is a whole wire that is declared as signed."""
        if len(spec) != 1 or not isinstance(spec[0], Slice):
            return False
        part = self._naming.parts.get(spec[0])
        if part is not None:
            return self._module.wires[part].signed
        wire = self._module.wires[spec[0].wire]
        return wire.signed and wire.width == spec[0].width


def _widened(spec: Spec, width: int) -> Spec:
    """Return a constant with zeros before it; another value as it is."""
    if all(isinstance(chunk, Bits) for chunk in spec):
        bits = "".join(chunk.text for chunk in spec if isinstance(chunk, Bits))
        return (Bits(bits.rjust(width, "0")),)
    return spec


def _inverted(text: str) -> str:
    if text in ("1'b0", "1'b1"):
        return "1'b1" if text == "1'b0" else "1'b0"
    return text[1:] if text.startswith("!") else f"!{text}"


def _primary(text: str) -> str:
    """Return an operand that may stand behind a unary operator, as no other operator may."""
    return f"({text})" if text[0] in "~!&|^-" else text


def _bare(text: str) -> str:
    """Leave out the brackets around a whole expression."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for index, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if not depth and index < len(text) - 1:
            return text
    return text[1:-1]


def range_text(width: int) -> str:
    """Return the bounds of a vector, nothing for a single bit."""
    return f"[{width - 1}:0] " if width > 1 else ""


def attributes_text(attributes: dict[str, str]) -> str:
    """Return attributes as they stand before a declaration, without those of tools."""
    kept = [
        f"{name} = {parameter_text(value)}"
        for name, value in attributes.items()
        if name not in ("init", "src", "top", "generator") and not name.startswith("enum_")
    ]
    return f"(* {', '.join(kept)} *) " if kept else ""


def parameter_text(value: str) -> str:
    """Return a parameter or an attribute: a constant, a number or a string."""
    width, sign, bits = value.partition("'")
    return literal(bits) if sign and width.isdigit() else value
