"""`tilewright prove UNIT`."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Json, OutputFolder, UnitName

__all__ = ["command"]


def command(
    unit: UnitName,
    only: Annotated[
        str, typer.Option("--only", help="Only proofs whose names begin so.", metavar="NAME")
    ] = "",
    output: OutputFolder = Path("build/formal"),
    json: Json = False,
) -> None:
    """Prove a unit's properties: its streams, its arithmetic at small widths, no overflow."""
    from ...hw.config import ConfigError
    from ...verif.formal.unit import unit_tasks
    from .output import print_json, say, show

    tasks = unit_tasks(unit)
    chosen = [task for task in tasks if task.name.startswith(only)]
    if not chosen:
        names = ", ".join(task.name for task in tasks)
        raise ConfigError(f"{unit} has no proof whose name begins with {only!r} (proofs: {names})")
    proofs, tell = [], say if json else show
    for number, task in enumerate(chosen, 1):
        proofs.append(task.run(output / unit))
        tell(f"{number} of {len(chosen)}  {proofs[-1]}")
    if json:
        print_json(
            [
                {
                    "unit": unit,
                    "name": proof.name,
                    "mode": proof.mode,
                    "depth": proof.depth,
                    "passed": proof.passed,
                    "reason": proof.reason,
                    "seconds": round(proof.seconds, 2),
                    "trace": str(proof.trace) if proof.trace else None,
                }
                for proof in proofs
            ]
        )
    failed = sum(not proof.passed for proof in proofs)
    if failed:
        say(f"{failed} of {len(proofs)} proofs failed")
        raise typer.Exit(1)
