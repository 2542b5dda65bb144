"""`tilewright generate UNIT`."""

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
    output: OutputFolder = Path("build/rtl"),
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the top module.", metavar="NAME")
    ] = None,
    json: Json = False,
) -> None:
    """Write Verilog, manifest, FuseSoC core and configuration of one unit."""
    from ...gen.configuration import configure
    from ...gen.generate import generate
    from ...gen.progress import waiting
    from .output import print_json, show

    chosen = configure(unit, preset=preset, file=config, settings=set_ or ())
    with waiting(f"writing the Verilog of {unit}"):
        paths = generate(unit, chosen, output, name)
    if json:
        print_json({path.suffix[1:]: str(path) for path in paths})
    else:
        for path in paths:
            show(f"{path}  {path.stat().st_size:,} bytes")
