"""`tilewright report`."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Json

__all__ = ["command"]


def command(
    run: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder that `run` wrote to.")
    ] = Path("build/run"),
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The page; report.html in DIR by default.", metavar="FILE"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make the HTML report of a run again, from the record that it left."""
    from ..report.html import write_report
    from ..report.record import read_record
    from .output import print_json, show

    path = write_report(output or run / "report.html", read_record(run))
    if json:
        print_json({"report": str(path), "bytes": path.stat().st_size})
    else:
        show(f"{path}  {path.stat().st_size:,} bytes")
