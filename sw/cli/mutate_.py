"""`tilewright mutate UNIT`."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Json, OutputFolder, UnitName

__all__ = ["command"]


def command(
    unit: UnitName,
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", help="How many mutants, 200 if not said.", min=1),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Which mutants.", min=0)] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", "-p", help="Mutate this one, not the row's.", metavar="NAME"),
    ] = None,
    examine: Annotated[
        bool,
        typer.Option("--examine/--no-examine", help="Find out what is the matter with survivors."),
    ] = True,
    output: OutputFolder = Path("build/mutate"),
    json: Json = False,
) -> None:
    """Make one-bit mistakes in a unit's netlist and see whether its judge notices.

    Mutants that are proved equivalent to the unit do not count. Exit code 0 means that enough of
    the others were killed, and that no survivor that was examined is one of them.
    """
    from ...gen.registry import find_unit
    from ...verif.mutate.unit import mutate_unit
    from .output import print_json, print_table, progress_bar, say, show

    with progress_bar(f"mutants of {unit}") as move:
        found = mutate_unit(
            unit,
            count,
            seed,
            preset=preset,
            examine=examine,
            folder=output / f"{unit}-{preset}" if preset else output / unit,
            progress=move,
        )
    mutation = find_unit(unit).mutation
    assert mutation is not None, "mutate_unit refuses such a unit"
    enough = found.score >= mutation.threshold
    if json:
        print_json(
            {
                "unit": unit,
                "preset": preset or mutation.preset,
                "parts": list(mutation.parts),
                "seed": mutation.seed if seed is None else seed,
                "mutants": found.total,
                "killed": len(found.killed),
                "equivalent": found.equivalent,
                "open": found.open,
                "share": found.share,
                "score": found.score,
                "threshold": mutation.threshold,
                "survivors": [
                    {"mutant": str(mutant), "verdict": verdict and str(verdict)}
                    for mutant, verdict in found.survived.items()
                ],
            }
        )
    else:
        rows = [(str(m), str(v or "not examined")) for m, v in found.survived.items()]
        if rows:
            print_table(("survivor", "verdict"), rows)
        show(str(found).splitlines()[0])
    if not enough:
        say(f"{found.score:.1%} of the mutants are killed, {mutation.threshold:.0%} must be")
    if not enough or (examine and found.open):
        raise typer.Exit(1)
