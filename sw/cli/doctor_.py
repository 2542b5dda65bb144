"""`tilewright doctor`."""

from typing import Annotated

import typer

from .options import Json

__all__ = ["command"]


def command(
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Start the WebAssembly tools once; the first is slow.")
    ] = False,
    json: Json = False,
) -> None:
    """Print each tool that tilewright uses, its version, and how to get it."""
    from .. import tools
    from .output import print_json, print_table, say

    if prepare:
        tools.prepare(say)
    found = tools.survey()
    if json:
        print_json([vars(tool) for tool in found])
    else:
        print_table(
            ("tool", "version", "used for", "how to get it"),
            [
                (t.name, t.version or "missing", t.purpose, "" if t.version else t.get)
                for t in found
            ],
        )
    missing = [tool.name for tool in found if tool.required and not tool.version]
    if missing:
        say(f"\nneeded for the main job and missing: {', '.join(missing)}")
        raise typer.Exit(1)
