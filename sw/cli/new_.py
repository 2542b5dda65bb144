"""`tilewright new UNIT`."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="Name of the new unit.")],
) -> None:
    """Start a unit in this checkout: its files, a failing testbench and its row."""
    from ...gen.scaffold import scaffold
    from .output import say, show

    for path in scaffold(unit, Path()):
        show(str(path))
    say(f"\n{unit} elaborates and passes numbers on; verif/testbench/{unit}.py fails until written")
