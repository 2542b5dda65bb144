"""`tilewright verify UNIT`."""

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigFile, Json, OutputFolder, Preset, Settings, UnitName

__all__ = ["command"]


def command(
    unit: UnitName,
    preset: Preset = None,
    config: ConfigFile = None,
    set_: Settings = None,
    sim: Annotated[
        str, typer.Option("--sim", help="icarus or verilator.", metavar="SIM")
    ] = "icarus",
    seed: Annotated[int, typer.Option("--seed", help="Of all random decisions.", min=0)] = 1,
    waves: Annotated[bool, typer.Option("--waves", help="Keep waves of every test.")] = False,
    output: OutputFolder = Path("build/verify"),
    json: Json = False,
) -> None:
    """Run a unit's cocotb bench on its emitted Verilog."""
    from ...gen.configuration import configure
    from ...verif.simulate.runner import run_unit
    from .output import print_json, say

    chosen = configure(unit, preset=preset, file=config, settings=set_ or ())
    found = run_unit(
        unit, chosen, output / f"{unit}-{sim}", simulator=sim, seed=seed, waves=waves
    )
    if json:
        print_json(
            {
                "unit": unit, "simulator": sim, "seed": seed, "passed": list(found.passed),
                "failed": dict(zip(found.failed, found.errors, strict=True)),
                "log": str(found.log), "waves": str(found.waves) if found.waves else None,
            }
        )
    else:
        say(str(found))
    if not found.ok:
        raise typer.Exit(1)
