"""How the commands of cocotb's runners are run."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cocotb_tools.runner import Icarus

from ...gen.files import check_room
from ...gen.tools import ToolError, started

__all__ = ["PlainCommands", "PlainIcarus"]


class PlainCommands:
    """For runners whose tools break at a blank or a quotation mark in the path of their files.

    Such files lie below the parent of the folder that commands run in, and are named from there. A
    command that is stopped takes all that it started with it.
    """

    env: dict[str, str]

    def _execute_cmds(self, cmds: Sequence[Sequence[str]], cwd: Any, stdout: Any = None) -> None:
        work = Path(cwd).resolve()
        for command in cmds:
            plain = [_plain(part, work) for part in command]
            with started(
                plain, work, plain[0], env=self.env, stdout=stdout, stderr=subprocess.STDOUT
            ) as process:
                pass
            check_room(work)
            if process.returncode:
                raise ToolError(f"{plain[0]} ended with code {process.returncode}")


class PlainIcarus(PlainCommands, Icarus):
    """Icarus, whatever the path."""

    def _create_iverilog_dump_file(self) -> None:
        super()._create_iverilog_dump_file()
        path, place = self.iverilog_dump_file, f'$dumpfile("{self.hdl_toplevel}.fst")'
        path.write_text(re.sub(r'\$dumpfile\(".*"\)', place, path.read_text()))


def _plain(part: str, work: Path) -> str:
    """Return an argument with the paths of files in ``work`` and beside it as seen from there."""
    part = part.replace(f"{work}{os.sep}", f".{os.sep}")
    return "." if part == str(work) else part.replace(f"{work.parent}{os.sep}", f"..{os.sep}")
