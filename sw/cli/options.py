"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ConfigFile", "Json", "OutputFolder", "Preset", "Settings", "UnitName"]

UnitName = Annotated[str, typer.Argument(metavar="UNIT", help="Name of a unit, see `list`.")]
Preset = Annotated[
    str | None, typer.Option("--preset", "-p", help="Start from this preset.", metavar="NAME")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML file with the fields.", metavar="FILE")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Set one field; may be repeated.", metavar="KEY=VALUE"),
]
OutputFolder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder to write to.", metavar="DIR")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result to stdout as JSON.")]
