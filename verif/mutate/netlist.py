"""Mutants of a netlist: which ones, and all of them in one design."""

import random
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...gen.files import read_json
from ...gen.tools import ToolError
from .examine import Verdict, examine, yosys

__all__ = ["SELECT", "Mutant", "Netlist"]

SELECT = "mutsel"
"""Input that chooses a mutant by number; 0 is the unit as it was."""

_MODES = {
    "inv": "inverted",
    "const0": "stuck at 0",
    "const1": "stuck at 1",
    "cnot0": "inverted while bit {control} is 0",
    "cnot1": "inverted while bit {control} is 1",
}


_DEFINITE = (
    "techmap -map +/pmux2mux.v",
    "opt_expr -mux_undef -mux_bool",
    "opt_merge",
    "opt_muxtree",
    "opt_reduce",
    "opt_expr -mux_undef",
    "opt_dff",
    "opt_clean",
)


@dataclass(frozen=True)
class Mutant:
    """One change of one bit of one cell.

    Attributes
    ----------
    number : int
        Value of the select input.
    mode, module, cell, port, bit
        What is changed, and where.
    wire : str
        The named signal that it is, or the nearest that it leads to.
    options : str
        For Yosys' ``mutate``.
    """

    number: int
    mode: str
    module: str
    cell: str
    port: str
    bit: int
    wire: str
    options: str

    def __str__(self) -> str:
        where = f"{self.port}[{self.bit}] of {self.cell} in {self.module}"
        return f"{self.number}: {where} {self.mode}{f' near {self.wire}' if self.wire else ''}"


class Netlist:
    """A synthesised design, and the mutants of it that were drawn.

    Parameters
    ----------
    rtlil, top : str
        The design.
    folder : Path
        Made if missing; files in it are replaced.
    count, seed : int
        How many mutants, and which.
    parts : sequence of str
        Mutate only these modules, each with all that is in it, while they work in the whole:
        submodules by the end of their names. By default all is mutated.
    """

    def __init__(
        self,
        rtlil: str,
        top: str,
        folder: Path,
        *,
        count: int,
        seed: int,
        parts: Sequence[str] = (),
    ):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "unit.il").write_text(rtlil, encoding="utf-8")
        found = re.findall(r"^module \\(\S+)", rtlil, re.MULTILINE)
        chosen = []
        for part in parts:
            named = [name for name in found if name.endswith(f"_{part}")]
            if len(named) != 1:
                raise ToolError(f"{top} has {len(named)} modules called {part}, not one")
            chosen += named
        chosen = chosen or [top]
        yosys(
            folder,
            "read_rtlil unit.il",
            f"hierarchy -top {top}",
            f"setattr -mod -set keep_hierarchy 1 {' '.join(chosen)}",
            "flatten",
            f"synth -flatten -noalumacc -nofsm -top {top} -run begin:fine",
            # What is constant, undefined or unused is no place for a mutant.
            *_DEFINITE,
            *(("splitcells", "opt_hier") if parts else ()),
            "opt_clean -purge",
            "write_rtlil netlist.il",
            "write_json netlist.json",
        )
        modules = read_json(folder / "netlist.json")["modules"]
        sizes = [len(modules[name]["cells"]) for name in chosen]
        self.mutants: list[Mutant] = []
        for i, name in enumerate(chosen):
            end = round(count * sum(sizes[: i + 1]) / max(1, sum(sizes)))
            rng = random.Random(f"{seed}:{name}")
            self.mutants += _draw(name, modules[name], len(self.mutants), end, rng)
        if not self.mutants:
            raise ToolError(f"{top} has nothing to mutate")
        width = len(self.mutants).bit_length()
        cells = re.findall(
            r"^  cell \\(\S+) (\S+)$", (folder / "netlist.il").read_text(), re.MULTILINE
        )
        yosys(
            folder,
            "read_rtlil netlist.il",
            *(
                f"mutate -ctrl {SELECT} {width} {mutant.number} -module {mutant.module} "
                f"{mutant.options}"
                for mutant in self.mutants
            ),
            f"cd {top}",
            *((f"add -input {SELECT} {width}",) if parts else ()),
            *(f"connect -port {cell} {SELECT} {SELECT}" for kind, cell in cells if kind in chosen),
            "cd",
            "setattr -mod -unset keep_hierarchy",
            "flatten",
            # Words whose bits are driven one by one would look like feedback.
            "splitnets -driver",
            "opt_clean",
            "write_rtlil all.il",
        )

    @property
    def everything(self) -> str:
        """RTLIL of the design with all mutants, chosen by the input `SELECT`."""
        return (self._folder / "all.il").read_text()

    def examine(
        self, mutant: Mutant, *, depth: int = 20, seconds: int = 60, allowed: str = "1"
    ) -> Verdict:
        """Tell whether a mutant can be told apart from the sound module by its outputs.

        See `tilewright.verif.mutate.examine`.
        """
        folder = self._folder / f"mutant{mutant.number}"
        netlist = self._folder / "netlist.il"
        return examine(netlist, mutant.module, mutant.options, folder, depth, seconds, allowed)


def _draw(
    name: str, module: dict[str, Any], first: int, end: int, rng: random.Random
) -> list[Mutant]:
    """Draw mutants: a cell, a port of it, a bit, a mode, each evenly; none twice.

    A synchronous design has but one clock, and a wrong one is no mistake that people make: clocks
    stay. So do bits that are constant as the mutant would have them, and constants of memories.
    """
    cells = [
        (cell, content["type"].startswith("$mem"), ports)
        for cell, content in module["cells"].items()
        if (ports := [(p, b) for p, b in content["connections"].items() if b and p[-3:] != "CLK"])
    ]
    nearest = _names(module)
    found: dict[str, Mutant] = {}
    for _ in range(50 * (end - first)):
        if len(found) == end - first or not cells:
            break
        cell, is_memory, ports = rng.choice(cells)
        port, bits = rng.choice(ports)
        bit, control = rng.randrange(len(bits)), rng.randrange(len(bits))
        mode = rng.choice(list(_MODES))
        same = {"const0": "0", "const1": "1"}.get(mode) == bits[bit]
        fixed = bits[bit] == "x" or (is_memory and isinstance(bits[bit], str))
        alone = bit == control or isinstance(bits[control], str)
        if same or fixed or (mode.startswith("cnot") and alone):
            continue
        options = f"-mode {mode} -cell {cell} -port {port} -portbit {bit}"
        if mode.startswith("cnot"):
            options += f" -ctrlbit {control}"
        text = _MODES[mode].format(control=control)
        wire = nearest(bits[bit], module["cells"][cell])
        mutant = Mutant(first + len(found) + 1, text, name, cell, port, bit, wire, options)
        found.setdefault(options, mutant)
    return list(found.values())


def _names(module: dict[str, Any]) -> Callable[[Any, dict[str, Any]], str]:
    """Return what names the place of a bit: its signal, or the first that its cell leads to."""
    names = {
        bit: f"{wire}[{at}]" if len(net["bits"]) > 1 else wire
        for wire, net in module["netnames"].items()
        for at, bit in enumerate(net["bits"])
        if not net["hide_name"]
    }
    readers: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for cell in module["cells"].values():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    readers[bit].append(cell)

    def nearest(bit: Any, cell: dict[str, Any]) -> str:
        left, seen = deque([bit, *_outputs(cell)]), set()
        while left:
            bit = left.popleft()
            if bit in names:
                return names[bit]
            if bit not in seen and not isinstance(bit, str):
                seen.add(bit)
                left.extend(after for reader in readers[bit] for after in _outputs(reader))
        return ""

    return nearest


def _outputs(cell: dict[str, Any]) -> Iterator[Any]:
    ways = cell["port_directions"]
    return (bit for port, bits in cell["connections"].items() if ways[port] == "output"
            for bit in bits)  # fmt: skip
