"""`tilewright zoo`."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Json

__all__ = ["command"]


def command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Fetch this file into the cache.")
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option("--from", help="Take it from this wheel or file.", metavar="FILE"),
    ] = None,
    json: Json = False,
) -> None:
    """List the public data that examples use, or fetch and check one file of it."""
    from ...hw.config import ConfigError
    from ..zoo import fetch, items
    from .output import print_json, print_table, show

    if name is None and path is not None:
        raise ConfigError(f"--from {path} needs the NAME of the file that it holds")
    if name is None:
        rows = items().values()
        if json:
            print_json([vars(item) for item in rows])
        else:
            print_table(
                ("name", "package", "bytes", "licence", "content"),
                [(i.name, f"{i.package} {i.version}", i.bytes, i.licence, i.about) for i in rows],
            )
        return
    content = fetch(name, path=path)
    if json:
        print_json({"name": name, "bytes": len(content), "sha256": items()[name].sha256})
    else:
        show(f"{name}: {len(content):,} bytes, checked")
