"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "BoardClock", "ConfigFile", "Datapaths", "Images", "JobPath", "Json", "OutputFolder", "Preset",
    "Settings", "UnitName",
]  # fmt: skip

UnitName = Annotated[str, typer.Argument(metavar="UNIT", help="Name of a unit, see `list`.")]
JobPath = Annotated[
    Path, typer.Argument(metavar="JOB", help="Folder with a job.toml, or such a file.")
]
Datapaths = Annotated[
    list[str] | None,
    typer.Option(
        "--datapath",
        "-d",
        metavar="UNIT",
        help="A family to try; may be repeated. All with an engine beside the job by default.",
    ),
]
Images = Annotated[
    int | None, typer.Option("--images", help="How many test images; all by default.", min=1)
]
BoardClock = Annotated[
    int | None,
    typer.Option("--mhz", help="Clock of the engine on the board, 50 if not said.", min=1),
]
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
