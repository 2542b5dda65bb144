"""`tilewright doctor`."""

import typer

from .options import Json

__all__ = ["command"]


def command(json: Json = False) -> None:
    """Print each tool that tilewright uses, its version, and how to get it."""
    from ..tools import survey
    from .output import print_json, print_table, say

    found = survey()
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
