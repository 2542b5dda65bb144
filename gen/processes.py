"""Processes of RTLIL as Verilog statements, those with equal conditions as one block."""

import textwrap
from dataclasses import dataclass, field

from .expressions import Expressions
from .rtlil import Assign, Bits, Slice, Spec, Statement, Switch

__all__ = [
    "Block", "blocks", "choice", "render", "retarget", "split_reset",
    "wrapped",
]  # fmt: skip

_LINE = 100


@dataclass
class Block:
    """Registers or combinational signals that one ``always`` assigns.

    Attributes
    ----------
    targets : list of str
        Wires.
    body : list of Statement
        What assigns them.
    resets : list of Assign
        Their values after reset.
    """

    targets: list[str]
    body: list[Statement]
    resets: list[Assign] = field(default_factory=list)


def retarget(body: list[Statement], wire: str) -> list[Statement]:
    """Return statements that assign another wire."""
    result: list[Statement] = []
    for statement in body:
        if isinstance(statement, Assign):
            bits = statement.target
            result.append(Assign(Slice(wire, bits.low, bits.width), statement.value))
        else:
            cases = [(patterns, retarget(inner, wire)) for patterns, inner in statement.cases]
            result.append(Switch(statement.test, cases))
    return result


def split_reset(body: list[Statement], reset: str) -> tuple[list[Statement], list[Assign]]:
    """Split off what a process does last, if that is a reset of everything that it assigns."""
    last = body[-1] if body else None
    if (
        isinstance(last, Switch)
        and last.test == (Slice(reset, 0, 1),)
        and len(last.cases) == 1
        and last.cases[0][0] == ("1",)
        and all(isinstance(s, Assign) and _is_constant(s.value) for s in last.cases[0][1])
    ):
        return body[:-1], [s for s in last.cases[0][1] if isinstance(s, Assign)]
    return body, []


def wrapped(line: str) -> str:
    """Break a long line at spaces."""
    if len(line) <= _LINE:
        return line
    indent = " " * (len(line) - len(line.lstrip()))
    return "\n".join(
        textwrap.wrap(
            line,
            _LINE,
            subsequent_indent=f"{indent}    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _is_constant(spec: Spec) -> bool:
    return all(isinstance(chunk, Bits) for chunk in spec)


def blocks(parts: list[Block], reads) -> list[Block]:
    """Join those that test the same at their top level.

    ``reads(body)`` gives the wires that a block must not assign since it reads them: none for
    registers, which change after the block.
    """
    joined: list[tuple[Block, set[object]]] = []
    for part in parts:
        tests = {_key(s) for s in part.body if isinstance(s, Switch)}
        plain = not tests
        for block, known in joined:
            if bool(block.resets) != bool(part.resets):
                continue
            if not (tests & known if tests else plain and not known):
                continue
            targets = {*block.targets, *part.targets}
            if targets & (reads(block.body) | reads(part.body)):
                continue
            block.body = _merged(block.body, part.body)
            block.targets += part.targets
            block.resets += part.resets
            known |= tests
            break
        else:
            joined.append((Block(list(part.targets), part.body, list(part.resets)), tests))
    return [block for block, _ in joined]


def _key(switch: Switch) -> object:
    return switch.test, tuple(patterns for patterns, _ in switch.cases)


def _merged(first: list[Statement], second: list[Statement]) -> list[Statement]:
    """Return the statements of two lists that assign different wires, each list in its order."""
    result = list(first)
    place = 0
    for statement in second:
        if isinstance(statement, Switch):
            key = _key(statement)
            for index in range(place, len(result)):
                other = result[index]
                if isinstance(other, Switch) and _key(other) == key:
                    cases = [
                        (patterns, _merged(mine, theirs))
                        for (patterns, mine), (_, theirs) in zip(
                            other.cases, statement.cases, strict=True
                        )
                    ]
                    result[index] = Switch(other.test, cases)
                    place = index + 1
                    break
            else:
                result.append(statement)
                place = len(result)
        else:
            while place < len(result) and isinstance(result[place], Assign):
                place += 1
            result.insert(place, statement)
            place += 1
    return result


def choice(body: list[Statement], write: Expressions, room: int) -> str | None:
    """Return a process as one conditional expression, if it is so simple and short."""
    if not body or not isinstance(body[0], Assign):
        return None
    value, width = body[0].value, body[0].target.width
    if len(body) == 1:
        return write.assigned(value)
    if len(body) > 2 or not isinstance(body[1], Switch):
        return None
    tests = _branches(body[1])
    if tests is None or len(tests) > 2:
        return None
    text = ""
    for test, inner in tests:
        if not inner:
            inner = [body[0]]
        if len(inner) > 1 or not isinstance(inner[0], Assign) or inner[0].target.width != width:
            return None
        if test is None:
            value = inner[0].value
            break
        text += f"{write.alone(test)} ? {write.alone(inner[0].value)} : "
    text += write.alone(value)
    return text if len(text) <= room else None


def _branches(switch: Switch) -> list[tuple[Spec | None, list[Statement]]] | None:
    """Return a switch as tests of single bits in their order, None for all the rest."""
    bits: list[Spec] = [
        (Slice(c.wire, c.low + i, 1),) if isinstance(c, Slice) else (Bits(c.text[-1 - i]),)
        for c in reversed(switch.test)
        for i in range(c.width)
    ]
    result: list[tuple[Spec | None, list[Statement]]] = []
    for patterns, inner in switch.cases:
        if not patterns:
            result.append((None, inner))
            break
        if len(patterns) != 1:
            return None
        pattern = patterns[0][::-1]
        fixed = [index for index, sign in enumerate(pattern) if sign != "-"]
        if len(fixed) != 1:
            return None
        if pattern[fixed[0]] == "0":
            if len(bits) > 1 or not result or result[0][0] is None:
                return None
            result.append((None, inner))  # of a single bit, that is the rest
            break
        result.append((bits[fixed[0]], inner))
    return result


def render(body: list[Statement], write: Expressions, sign: str, indent: str) -> list[str]:
    """Return the lines of statements; ``sign`` assigns."""
    lines: list[str] = []
    for statement in body:
        if isinstance(statement, Assign):
            target = write.target(statement.target)
            write.place = write.identifier(statement.target.wire)
            lines += wrapped(
                f"{indent}{target} {sign} {write.bare(statement.value, statement.target)};"
            ).split("\n")
        else:
            lines += _render_switch(statement, write, sign, indent)
    return lines


def _is_empty(body: list[Statement]) -> bool:
    return all(
        isinstance(s, Switch) and all(_is_empty(inner) for _, inner in s.cases) for s in body
    )


def _render_switch(switch: Switch, write: Expressions, sign: str, indent: str) -> list[str]:
    branches = _branches(switch)
    if branches is not None:
        return _render_branches(branches, write, sign, indent)
    cases = [(patterns, inner) for patterns, inner in switch.cases]
    while cases and _is_empty(cases[-1][1]):
        cases.pop()
    if not cases:
        return []
    word = "casez" if any("-" in p for patterns, _ in cases for p in patterns) else "case"
    lines = [f"{indent}{word} ({write.condition(switch.test)})"]
    for patterns, inner in cases:
        label = ", ".join(_label(pattern, switch.test, write) for pattern in patterns) or "default"
        lines += _body(f"{indent}  {label}:", inner, write, sign, indent + "  ")
    return [*lines, f"{indent}endcase"]


def _label(pattern: str, test: Spec, write: Expressions) -> str:
    if "-" in pattern:
        return f"{len(pattern)}'b{pattern.replace('-', '?')}"
    value = int(pattern, 2)
    return write.state(test, value) or f"{len(pattern)}'d{value}"


def _body(
    head: str, inner: list[Statement], write: Expressions, sign: str, indent: str
) -> list[str]:
    """Return a branch: on the line of its head if it is one short assignment."""
    lines = render(inner, write, sign, indent + "  ")
    if not lines:
        return [f"{head} ;"]
    if len(lines) == 1 and isinstance(inner[0], Assign):  # an ``else`` would be another's
        if len(one := f"{head} {lines[0].strip()}") <= _LINE:
            return [one]
        return [head, *lines]
    return [f"{head} begin", *lines, f"{indent}end"]


def _render_branches(branches, write: Expressions, sign: str, indent: str) -> list[str]:
    while branches and _is_empty(branches[-1][1]):
        branches = branches[:-1]
    lines: list[str] = []
    for index, (test, inner) in enumerate(branches):
        if test is None:
            head = "else"
        else:
            head = f"if ({write.condition(test)})"
            head = f"else {head}" if index else head
        if index == 0 and test is None:
            return render(inner, write, sign, indent)
        if index and lines[-1] == f"{indent}end":
            lines[-1] = f"{indent}end {head}"
            new = _body(f"{indent}end {head}", inner, write, sign, indent)
            lines = lines[:-1] + new
        else:
            lines += _body(f"{indent}{head}", inner, write, sign, indent)
    return lines
