"""Loading a bitstream into a board with openFPGALoader."""

import json
from pathlib import Path

from ..gen.tools import find_tool, run_tool
from ..hw.config import ConfigError
from .board import RECORD, find_board

__all__ = ["find_bitstream", "program"]

_PREAMBLE = bytes.fromhex("ffffbdb3")
_VERIFY_ID = b"\xe2\x00\x00\x00"


def find_bitstream(path: Path) -> Path:
    """Return ``path``, or the bitstream of the build in that folder or in its folder ``board``.

    Raises
    ------
    ConfigError
        There is none.
    """
    if not path.is_dir():
        if not path.exists():
            raise ConfigError(f"there is no bitstream {path}")
        return path
    for folder in (path, path / "board"):
        try:
            found = folder / json.loads((folder / RECORD).read_text())["build"]["bitstream"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if found.is_file():
            return found
    raise ConfigError(
        f"there is no finished build in {path}; `tilewright run JOB --board B` makes one"
    )


def program(bitstream: Path, board: str, *, flash: bool = False) -> str:
    """Load a bitstream into the part of a board, or into its flash memory; return what was said.

    Parameters
    ----------
    bitstream : Path
        The file.
    board : str
        A key of `BOARDS`.
    flash : bool
        Whether it stays there when the power goes.

    Raises
    ------
    ConfigError
        The board is unknown, or the file is no bitstream for its part.
    ToolError
        openFPGALoader is missing, or found no board.
    """
    row = find_board(board)
    content = bitstream.read_bytes()
    at = content.find(_PREAMBLE)
    if at < 0:
        raise ConfigError(f"{bitstream} is no bitstream for an ECP5")
    told = content.find(_VERIFY_ID, at)
    part = content[told + 4 : told + 8] if told >= 0 else b""
    if part != row.idcode.to_bytes(4, "big"):
        raise ConfigError(
            f"{bitstream} is made for the part 0x{part.hex() or '?'}, but {board} has "
            f"0x{row.idcode:08x}"
        )
    loader = find_tool(
        "openFPGALoader",
        "install it with: apt-get install openfpgaloader (boards are reached over USB)",
    )
    command = [loader, "--board", row.loader, *(["--write-flash"] if flash else [])]
    return run_tool([*command, str(bitstream.resolve())], bitstream.parent, "openFPGALoader")
