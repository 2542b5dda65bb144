"""Mutation testing: whether a judge notices that one bit of a unit's netlist is wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...gen.files import whole_or_nothing
from ...gen.tools import ToolError
from ...sw.runtime.compiled import CompiledUnit, compile_unit
from .examine import Verdict
from .netlist import SELECT, Mutant, Netlist

__all__ = ["Judge", "MutationReport", "mutants"]

Judge = Callable[[CompiledUnit], bool]
"""Drives a unit, fresh from reset, and returns whether it did what it should.

An `AssertionError`, broken stream rules among them, counts as no. It must end on any unit: bound
every `CompiledUnit.run` by ``quiet`` or ``most``.
"""


@dataclass(frozen=True)
class MutationReport:
    """Which mutants a judge noticed.

    Attributes
    ----------
    killed : tuple of Mutant
        Those it did.
    survived : dict of Mutant to Verdict
        Those it did not, and what is known of them; None where nobody looked.
    """

    killed: tuple[Mutant, ...]
    survived: dict[Mutant, Verdict | None]

    @property
    def total(self) -> int:
        """All mutants."""
        return len(self.killed) + len(self.survived)

    @property
    def share(self) -> float:
        """Share of mutants killed."""
        return len(self.killed) / max(1, self.total)

    @property
    def equivalent(self) -> int:
        """How many survivors are proved equivalent."""
        return sum(v is not None and v.kind == "equivalent" for v in self.survived.values())

    @property
    def open(self) -> int:
        """How many survivors are not: told apart, undecided or not examined."""
        return len(self.survived) - self.equivalent

    @property
    def score(self) -> float:
        """Share of mutants killed, those that are equivalent not counted."""
        return len(self.killed) / max(1, self.total - self.equivalent)

    def __str__(self) -> str:
        counts = f"{len(self.killed)} of {self.total} mutants killed"
        counts += f", {self.equivalent} proved equivalent, {self.open} open"
        lines = [f"{counts}, score {self.score:.1%}"]
        lines += [f"survived {m}; {v or 'not examined'}" for m, v in self.survived.items()]
        return "\n".join(lines)


@whole_or_nothing
def mutants(
    rtlil: str,
    top: str,
    judge: Judge,
    count: int = 200,
    seed: int = 1,
    *,
    parts: Sequence[str] = (),
    folder: Path | None = None,
    examine: bool = True,
    depth: int = 20,
    allowed: str = "1",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> MutationReport:
    """Make ``count`` mutants of a design, and let ``judge`` look at each.

    All are in one compiled design, chosen by an input, so that it is compiled only once.

    Parameters
    ----------
    rtlil, top : str
        The design.
    judge : callable
        See `Judge`.
    count, seed : int
        How many, drawn evenly over cells and modes, and which.
    parts : sequence of str
        The modules that are mutated, by the end of their names; all by default.
    folder : Path, optional
        ``build/mutate/TOP`` by default.
    examine : bool
        Try to prove survivors equivalent, or to find what tells them apart.
    depth : int
        Cycles to search for a difference.
    allowed : str
        In Verilog, what users promise of the inputs: differences without it do not count.
    progress : callable
        Called with mutants judged and mutants in all.

    Raises
    ------
    ToolError
        The judge rejects the unit itself, or a tool fails.
    """
    folder = folder or Path("build/mutate") / top
    netlist = Netlist(rtlil, top, folder, count=count, seed=seed, parts=parts)
    unit = compile_unit(netlist.everything, top)
    if not _accepts(judge, unit):
        raise ToolError(f"the judge of {top} rejects the unit itself, without any mutation")
    killed: list[Mutant] = []
    survivors: list[Mutant] = []
    for done, mutant in enumerate(netlist.mutants, 1):
        accepted = _accepts(judge, unit.another(**{SELECT: mutant.number}))
        (survivors if accepted else killed).append(mutant)
        progress(done, len(netlist.mutants))
    verdicts = {
        mutant: netlist.examine(mutant, depth=depth, allowed=allowed) if examine else None
        for mutant in survivors
    }
    return MutationReport(tuple(killed), verdicts)


def _accepts(judge: Judge, unit: CompiledUnit) -> bool:
    try:
        return bool(judge(unit))
    except AssertionError:
        return False
