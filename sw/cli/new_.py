"""`tilewright new NAME`."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new family.")],
) -> None:
    """Start a datapath family in this checkout: one that multiplies inside the engine at once."""
    from ...gen.scaffold import scaffold
    from .output import say, show

    for path in scaffold(name, Path()):
        show(str(path))
    say(f"\n{name} multiplies inside the engine: tilewright verify {name}; make it yours from here")
