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
        str | None,
        typer.Option(
            "--sim",
            metavar="SIM",
            help="icarus (if not said) or verilator: its cocotb bench; compiled: many more beats, "
            "no unknowns.",
        ),
    ] = None,
    level: Annotated[
        str,
        typer.Option(
            "--level",
            metavar="LEVEL",
            help="rtl; netlist: after synthesis for the ECP5; bitstream: unpacked and compared.",
        ),
    ] = "rtl",
    seed: Annotated[int, typer.Option("--seed", help="Of all random decisions.", min=0)] = 1,
    waves: Annotated[bool, typer.Option("--waves", help="Keep waves of every test.")] = False,
    output: OutputFolder = Path("build/verify"),
    json: Json = False,
) -> None:
    """Check a unit by simulation, as it is emitted or as synthesis makes it."""
    from ...gen.configuration import configure
    from ...verif.simulate.level import verify_unit
    from .output import print_json, say, show

    chosen = configure(unit, preset=preset, file=config, settings=set_ or ())
    found = verify_unit(
        unit,
        chosen,
        output / f"{unit}-{sim or 'icarus'}-{level}",
        sim=sim,
        level=level,
        seed=seed,
        waves=waves,
        say=say,
    )
    if json:
        said = {"unit": unit, "simulator": found.simulator, "level": level, "seed": seed}
        print_json(said | {"ok": found.ok} | found.details)
    else:
        show(found.text)
    if not found.ok:
        raise typer.Exit(1)
