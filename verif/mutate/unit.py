"""Mutants of a unit of the registry."""

from collections.abc import Callable
from pathlib import Path

from ...gen.configuration import configure
from ...gen.registry import UNITS, find_unit, load
from ...gen.verilog import emit
from ...hw.config import ConfigError
from .report import MutationReport, mutants

__all__ = ["mutate_unit"]


def mutate_unit(
    name: str,
    count: int | None = None,
    seed: int | None = None,
    *,
    preset: str | None = None,
    examine: bool = True,
    folder: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> MutationReport:
    """Make mutants of a unit as its row in the registry says, and judge them.

    Parameters
    ----------
    name : str
        Unit.
    count, seed : int, optional
        In place of the row's.
    preset : str, optional
        In place of the row's preset and settings.
    examine, folder, progress
        As in `mutants`.

    Raises
    ------
    ConfigError
        There is no such unit or preset, or no judge of its mutants.
    ToolError
        The judge rejects the unit itself, or a tool fails.
    """
    row = find_unit(name)
    if row.mutation is None:
        judged = ", ".join(unit for unit, other in UNITS.items() if other.mutation)
        raise ConfigError(f"unit {name!r} has no judge of its mutants (units that have: {judged})")
    settings = () if preset else row.mutation.settings
    config = configure(name, preset=preset or row.mutation.preset, settings=settings)
    rtlil = emit(load(row.component)(config), name).rtlil
    judge = load(row.mutation.judge)(config)
    return mutants(
        rtlil,
        name,
        judge,
        row.mutation.mutants if count is None else count,
        row.mutation.seed if seed is None else seed,
        parts=row.mutation.parts,
        folder=folder,
        examine=examine,
        allowed=getattr(judge, "allowed", "1"),
        progress=progress,
    )
