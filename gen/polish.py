"""The Verilog that Yosys writes, made fit for reading.

Nothing here changes what the text means. Names are replaced one for one, nets that nobody reads
are left out, a register's next value is written where the register is, declarations move into the
port list, and equal initial words of a memory become a loop.
"""

import re
import textwrap
from collections import Counter, defaultdict

from .errors import ToolError
from .keywords import KEYWORDS

__all__ = ["polish"]

_ESCAPED = re.compile(r"\\(\S+) ?")
_WORD = re.compile(r"(?<![.'\w])[A-Za-z_]\w*")  # neither a pin of an instance nor a constant
_MODULE = re.compile(r"^module .*?^endmodule\n?", re.MULTILINE | re.DOTALL)
_HEADER = re.compile(r"module (\S+?) ?\((.*?)\);\n", re.DOTALL)
_ATTRIBUTE = re.compile(r" *\(\* (?:full_case|parallel_case|init|enum_\w+)(?: = [^*]*)? \*\)\n?")
_ZERO = re.compile(r"\b(\d+)'h0+\b")
_MEMORY = re.compile(r"  initial begin\n((?:    \S+\[\d+\] = \S+;\n)+)  end\n")
_WIRE = re.compile(r"^  wire ((?:signed )?(?:\[\S+\] )?)(\w+);\n", re.MULTILINE)
_REG = re.compile(r"^  reg ((?:signed )?(?:\[\S+\] )?)(\w+)(?: = [^;]+)?;\n", re.MULTILINE)
_ASSIGN = re.compile(r"^  assign (\w+) = (.*);\n", re.MULTILINE)
_FLOP = re.compile(r"^  always @\((posedge \w+)\)\n    (\w+) <= (\w+);\n", re.MULTILINE)
_BLOCK = re.compile(r"^  always @\* begin\n    if \(\w+\) begin end\n(.*?)^  end\n", re.M | re.S)
_COPIES = re.compile(r"(?:^  always @\*\n    \w+(?:\[\S+\])? = [^;\n]*;\n)+", re.MULTILINE)
_START = re.compile(r"^  reg (\w+) = 0;\n", re.MULTILINE)
_TARGET = re.compile(r"^\s+(\w+)(?:\[\S+\])? = ", re.MULTILINE)
_SINGLE = re.compile(r" begin\n\s+(\w+(?:\[\S+\])? <?= [^;\n]*;)\n\s+end$", re.MULTILINE)
_INSTANCE = re.compile(r"^  (\w+) (?:#\(.*?\) )?\w+ \(\n(.*?)^  \);\n", re.MULTILINE | re.DOTALL)
_BIT = r"(?:\w+|\w+\[\d+\])"
_INLINE = re.compile(
    rf"! [^?]+|[&|^] [^?]+|[^?]+ (?:==|!=|<|<=|>|>=) [^?]+|({_BIT}) [&|^] ({_BIT})|~ ({_BIT})"
)
_LONGEST_LINE = 96
_KINDS = (
    (" ? ", "choice"),
    (" * ", "product"),
    (" + ", "sum"),
    (" - ", "difference"),
    (" << ", "shifted"),
    (" >>", "shifted"),
)
_ANONYMOUS = re.compile(r"\b_(?:unnamed_\d+|\d+_)\b")
_ARM = re.compile(r"^( +[^ \n][^:\n]*:)\n +((?:\w+(?:\[\S+\])? <?= [^;\n]*)?;)$", re.MULTILINE)


def polish(verilog: str, ports: list[str], comments: dict[str, str]) -> str:
    """Return the text with plain names, ANSI port lists and one comment per module.

    Parameters
    ----------
    verilog : str
        What ``write_verilog -norename`` printed.
    ports : list of str
        Ports of the top module in the order wanted; other ports follow by name.
    comments : dict
        Module name to one line of comment.
    """
    text, odd = _plain_names(_ZERO.sub(r"\1'h0", _ATTRIBUTE.sub("", verilog)))
    modules = [_Module(match[0], odd) for match in _MODULE.finditer(text)]
    renamed = {module.name: module.port_names for module in modules}
    rank = {name: index for index, name in enumerate(ports)}
    return "\n".join(
        _comment(comments.get(module.name, "")) + module.finish(renamed, rank)
        for module in modules
    )


def _comment(text: str) -> str:
    return "".join(f"// {line}\n" for line in textwrap.wrap(text, 97))


def _plain_names(text: str) -> tuple[str, set[str]]:
    """Replace escaped names by plain ones; also return those that Amaranth had to number."""
    taken = set(_WORD.findall(_ESCAPED.sub("", text))) | KEYWORDS
    names: dict[str, str] = {}
    odd = set()
    for name in sorted(set(_ESCAPED.findall(text))):
        if name.startswith("$"):
            names[name] = f"_unnamed_{len(names)}"
            continue
        names[name] = _unique(re.sub(r"\W+", "_", name).strip("_") or "net", taken)
        if "$" in name:
            odd.add(names[name])
    return _ESCAPED.sub(lambda match: names[match[1]], text), odd


def _unique(name: str, taken: set[str]) -> str:
    base, number = name, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name


class _Module:
    """The text of one module while it is being rewritten."""

    def __init__(self, text: str, odd: set[str]):
        header = _there(_HEADER.match(text))
        self.name = header[1]
        self._ports = [port.strip() for port in header[2].split(",") if port.strip()]
        self._body = text[header.end() :]
        self._loop_memories()
        self._merge_registers()
        self._join_copies()
        self.port_names = self._rename(odd)
        self._drop_unused()
        self._inline_conditions()
        self._name_the_rest()
        self._body = self._body.replace("/* empty */;", ";")
        self._body = _ARM.sub(r"\1 \2", _SINGLE.sub(r" \1", self._body))

    def _loop_memories(self) -> None:
        def loop(match: re.Match[str]) -> str:
            words = [line.split(" = ") for line in match[1].splitlines()]
            memory, values = words[0][0].split("[")[0].strip(), {value for _, value in words}
            if len(values) > 1 or len(words) < 3:
                return match[0]
            return (
                f"  initial begin : {memory}_init\n    integer i;\n"
                f"    for (i = 0; i < {len(words)}; i = i + 1) {memory}[i] = {values.pop()}\n"
                "  end\n"
            )

        self._body = _MEMORY.sub(loop, self._body)

    def _merge_registers(self) -> None:
        """Write ``always @* next = ...; always @(posedge clk) q <= next;`` as one clocked block."""
        flops = {m[3]: m for m in _FLOP.finditer(self._body) if _ANONYMOUS.fullmatch(m[3])}
        uses = Counter(_WORD.findall(self._body))
        merged = {}

        def merge(match: re.Match[str]) -> str:
            targets = _TARGET.findall(match[1])
            source = targets[0] if targets else ""
            # besides the assignments, only its declaration and the register may name it
            if set(targets) != {source} or uses[source] != len(targets) + 2 or source not in flops:
                return match[0]
            edge, register = flops[source][1], flops[source][2]
            merged[source] = flops[source][0]
            body = re.sub(
                rf"^(\s+){source}\b(.*?) = ", rf"\1{register}\2 <= ", match[1], flags=re.M
            )
            body = re.sub(rf"\A    {register} <= {register};\n", "", body)
            reset = re.search(
                rf"^    if \(rst\) begin\n      ({register} <= [^;]*;)\n    end\n\Z", body, re.M
            )
            if reset and body.startswith(f"    {register} <= ") and body.count(" <= ") == 2:
                value = body[: reset.start()].strip()
                return f"  always @({edge})\n    if (rst) {reset[1]}\n    else {value}\n"
            if body.count("\n") == 1:
                return f"  always @({edge})\n{body}"
            return f"  always @({edge}) begin\n{body}  end\n"

        self._body = _BLOCK.sub(merge, self._body)
        for source, flop in merged.items():
            self._body = self._body.replace(flop, "", 1)
            self._body = re.sub(rf"^  reg (?:\[\S+\] )?{source};\n", "", self._body, flags=re.M)

    def _join_copies(self) -> None:
        """Write ``always @* part = value;`` in blocks that run at the start, as all others do.

        Without that event a part stays undefined where its value is a constant or never changes.
        """
        start = _START.search(self._body)

        def join(match: re.Match[str]) -> str:
            blocks: dict[str, list[str]] = {}
            for line in match[0].splitlines(True)[1::2]:
                target, _, source = line.partition(" = ")
                name = target.strip().split("[")[0]
                # a block that reads what it writes later would see the old value
                own = re.search(rf"\b{name}\b", source) is not None
                blocks.setdefault(line if own else name, []).append(line)
            event = f"    if ({_there(start)[1]}) begin end\n"
            return "".join(
                f"  always @* begin\n{event}{''.join(lines)}  end\n" for lines in blocks.values()
            )

        self._body = _COPIES.sub(join, self._body)

    def _replace(self, names: dict[str, str]) -> None:
        if names:
            self._body = _WORD.sub(lambda match: names.get(match[0], match[0]), self._body)

    def _rename(self, odd: set[str]) -> dict[str, str]:
        """Give unnamed nets, and numbered ports, the name of a net that only repeats them."""
        registers = {match[2]: match[1] for match in _REG.finditer(self._body)}
        widths = registers | {match[2]: match[1] for match in _WIRE.finditer(self._body)}
        uses = Counter(_WORD.findall(self._body))
        aliases = defaultdict(list)
        assigns = _ASSIGN.findall(self._body)
        for target, source in assigns:
            aliases[source].append(target)
        names: dict[str, str] = {}
        ports: dict[str, str] = {}

        def better(name: str) -> str | None:
            return next(
                (
                    alias
                    for alias in aliases[name]
                    if alias not in odd
                    and alias not in self._ports
                    and not _ANONYMOUS.fullmatch(alias)
                    and alias not in names
                    and uses[alias] == 2
                    and widths.get(alias) == widths.get(name)
                ),
                None,
            )

        driver = dict(assigns)
        for port in self._ports:
            if port in odd and (name := better(port) or better(driver.get(port, ""))):
                names[name], names[port] = f"{name}_alias", name
                ports[port] = name
        for name in list(aliases):
            if not _ANONYMOUS.fullmatch(name):
                continue
            if found := better(name):
                names[found], names[name] = f"{found}_alias", found
            elif name in registers and aliases[name][0] in self._ports:
                port = aliases[name][0]
                names[name] = f"{ports.get(port, port)}_q"
        gone = set()
        for name, source in assigns:  # one unnamed net for another
            if _ANONYMOUS.fullmatch(name) and name not in names:
                while _ANONYMOUS.fullmatch(driver.get(source, "")):
                    source = driver[source]
                if re.fullmatch(r"\w+", source) and widths.get(source) == widths.get(name):
                    gone.add(f"  wire {widths[name]}{name};\n")
                    gone.add(f"  assign {name} = {driver[name]};\n")
                    names[name] = names.get(source, source)
        self._body = "".join(line for line in self._body.splitlines(True) if line not in gone)
        self._replace(names)
        self._ports = [ports.get(port, port) for port in self._ports]
        return ports

    def _drop_unused(self) -> None:
        """Leave out nets that nobody reads, and leave their instances' outputs open."""
        wires = {m[2]: m[0] for m in _WIRE.finditer(self._body) if m[2] not in self._ports}
        assigns = {m[1]: m for m in _ASSIGN.finditer(self._body)}
        uses = Counter(_WORD.findall(self._body))
        gone: set[str] = set()
        queue = [name for name in assigns if name in wires and uses[name] == 2]
        while queue:
            name = queue.pop()
            gone |= {wires[name], assigns[name][0]}
            for word in _WORD.findall(assigns[name][2]):
                uses[word] -= 1
                if uses[word] == 2 and word in assigns and word in wires:
                    queue.append(word)
        self._body = "".join(line for line in self._body.splitlines(True) if line not in gone)
        uses = Counter(_WORD.findall(self._body))
        for match in (*_WIRE.finditer(self._body), *_REG.finditer(self._body)):
            if uses[match[2]] == 1:
                self._body = self._body.replace(match[0], "", 1)
        for name, line in wires.items():
            pin = re.search(rf"\.\w+\(({name})\)", self._body) if uses[name] == 2 else None
            if pin:
                start, end = pin.span(1)
                self._body = (self._body[:start] + self._body[end:]).replace(line, "", 1)

    def _inline_conditions(self) -> None:
        """Write unnamed one-bit conditions where they are used, if only once and on a short line.

        Such an expression has one bit in every context, so that moving it changes no width.
        """
        bits = {m[2] for m in _WIRE.finditer(self._body) if not m[1]}
        single = bits | {m[2] for m in _REG.finditer(self._body) if not m[1]}
        single |= set(re.findall(r"^  (?:input|output) (\w+);\n", self._body, re.MULTILINE))
        uses = Counter(_WORD.findall(self._body))
        wanted = {}
        for match in _ASSIGN.finditer(self._body):
            form = _INLINE.fullmatch(match[2])
            if not form or not _ANONYMOUS.fullmatch(match[1]) or uses[match[1]] != 3:
                continue
            operands = [atom for atom in form.groups() if atom]
            if match[1] in bits and all("[" in atom or atom in single for atom in operands):
                wanted[match[1]] = re.sub(r"^[~!] ", "!", match[2])
        lines = self._body.splitlines(True)
        own = {
            found[1]: index
            for index, line in enumerate(lines)
            if (found := re.match(r"  assign (\w+) = ", line)) and found[1] in wanted
        }
        waiting: list[str] = []  # their single use was no place for them, so that they stay nets
        gone = set()

        def inline(line: str, place: int, allowed: bool) -> str:
            while found := _ANONYMOUS.search(line, place):
                name, place = found[0], found.end()
                if name not in wanted:
                    continue
                start, end = found.span()
                alone = line[start - 4 : start] == "if (" and line[end] == ")"
                text = wanted[name] if alone else f"({wanted[name]})"
                longer = re.sub(r"\(!\(!([^()]+)\)\)", r"(|\1)", line[:start] + text + line[end:])
                if allowed and len(longer.rstrip()) <= _LONGEST_LINE:
                    gone.add(name)
                    line, place = longer, start
                else:
                    waiting.append(name)
            return line

        for index, line in enumerate(lines):
            if own.get(line.removeprefix("  assign ").split(" ")[0]) != index:
                if not line.startswith(("  wire ", "  reg ")):
                    lines[index] = inline(line, 0, not re.match(r" +\.", line))
        while waiting:
            index = own[waiting.pop()]
            lines[index] = inline(lines[index], lines[index].index(" = "), True)
        self._body = "".join(
            line
            for line in lines
            if not (found := re.match(r"  (?:assign|wire) (\w+)(?: =|;)", line))
            or found[1] not in gone
        )

    def _name_the_rest(self) -> None:
        taken = set(_WORD.findall(self._body))
        drivers = dict(_ASSIGN.findall(self._body))
        names: dict[str, str] = {}
        for _, register, source in _FLOP.findall(self._body):
            if _ANONYMOUS.fullmatch(source):
                names[source] = _unique(f"{register}_next", taken)
        reads = re.findall(r"^    (?:if .*\n +)?(_\d+_) <= (\w+)\[", self._body, re.MULTILINE)
        for register, memory in reads:
            names[register] = _unique(f"{memory}_q", taken)
        start = re.findall(r"^    if \((\w+)\) begin end$", self._body, re.MULTILINE)
        names.update((name, "at_start") for name in start)
        counts: Counter[str] = Counter()
        for name in dict.fromkeys(_ANONYMOUS.findall(self._body)):
            if name not in names:
                source = drivers.get(name, "")
                kind = next((kind for sign, kind in _KINDS if sign in source), "net")
                kind = "state" if f" {name} <= " in self._body else kind
                counts[kind] += 1
                names[name] = _unique(f"{kind}_{counts[kind]}", taken)
        self._replace(names)
        # unlike an initial value, this makes an event, so that ``always @*`` runs once at the start
        self._body = self._body.replace(
            "  reg at_start = 0;\n", "  reg at_start;\n  initial at_start <= 1'b0;\n"
        )

    def finish(self, renamed: dict[str, dict[str, str]], rank: dict[str, int]) -> str:
        """Return the text, ports of other modules' instances under their new names."""

        def connect(match: re.Match[str]) -> str:
            ports = renamed.get(match[1], {})
            return re.sub(
                r"^    \.(\w+)\(", lambda m: f"    .{ports.get(m[1], m[1])}(", match[0], flags=re.M
            )

        body = _INSTANCE.sub(connect, self._body)
        lines = []
        for port in sorted(self._ports, key=lambda port: _order(port, rank)):
            pattern = rf"^  (input|output|inout) (?:\[\S+\] )?{port};\n"
            ways = _there(re.search(pattern, body, re.MULTILINE))
            body = body.replace(ways[0], "", 1)
            pattern = rf"^  (wire|reg) (\[\S+\] )?{port}( = [^;]+)?;\n"
            sort = _there(re.search(pattern, body, re.MULTILINE))
            body = body.replace(sort[0], "", 1)
            lines.append(f"  {ways[1]:6} {sort[1]:4} {sort[2] or ''}{port}{sort[3] or ''}")
        return f"module {self.name} (\n" + ",\n".join(lines) + f"\n);\n{body}"


def _there(match: re.Match[str] | None) -> re.Match[str]:
    """Return a match that Yosys' way of writing makes certain."""
    if match is None:
        raise ToolError("Yosys wrote Verilog of a form that tilewright does not know")
    return match


def _order(port: str, rank: dict[str, int]) -> tuple[int, int, str]:
    return {"clk": 0, "rst": 1}.get(port, 2), rank.get(port, len(rank)), port
