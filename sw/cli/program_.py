"""`tilewright program BITSTREAM`."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Json

__all__ = ["command"]


def command(
    bitstream: Annotated[
        Path, typer.Argument(metavar="BITSTREAM", help="The file, or the folder of a run.")
    ],
    board: Annotated[
        str, typer.Option("--board", "-b", metavar="BOARD", help="The board on the desk.")
    ] = "ulx3s-85f",
    flash: Annotated[bool, typer.Option("--flash", help="Into the flash memory, to stay.")] = False,
    json: Json = False,
) -> None:
    """Load a bitstream into a board, with openFPGALoader."""
    from ...fpga.board import find_board
    from ...fpga.program import find_bitstream, program
    from .output import print_json, show

    find_board(board)
    file = find_bitstream(bitstream)
    program(file, board, flash=flash)
    if json:
        print_json({"bitstream": str(file), "board": board, "flash": flash})
    else:
        show(f"{board} holds {file}")
