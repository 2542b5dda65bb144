"""Finding and running the outside tools that every room above `hw` may need."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import ToolError

__all__ = ["ToolError", "find_tool", "run_tool"]

_COLD = "Preparing to run"
"""What a YoWASP tool says before it translates itself, which it does once."""


def find_tool(name: str, hint: str) -> str:
    """Return the path of program ``name``: beside the Python interpreter, or else on PATH.

    Parameters
    ----------
    name : str
        File name, or a path.
    hint : str
        How to get it, the end of the sentence "NAME is missing; ...".

    Raises
    ------
    ToolError
        It is in neither place.
    """
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=os.pathsep.join([str(beside), os.environ.get("PATH", "")]))
    if found is None:
        raise ToolError(f"{name} is missing; {hint}")
    return found


def run_tool(
    command: Sequence[str], folder: Path, what: str, *, env: Mapping[str, str] | None = None
) -> str:
    """Run a program in ``folder`` and return all that it printed.

    The first start of a WebAssembly tool takes a minute or two, which is announced on stderr.

    Raises
    ------
    ToolError
        The program cannot be started or fails; the message carries its own first error.
    """
    lines: list[str] = []
    try:
        process = subprocess.Popen(
            command, cwd=folder, env=env, text=True, encoding="utf-8", errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        raise ToolError(f"{what} cannot be started: {error}") from None
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(_COLD):
                name = Path(command[0]).name
                print(f"first start of {name}: translating it takes 1 to 2 minutes, only once",
                      file=sys.stderr, flush=True)  # fmt: skip
            else:
                lines.append(line)
    except BaseException:
        process.kill()
        raise
    finally:
        process.stdout.close()
        process.wait()
    if process.returncode:
        said = next((s for s in lines if re.search(r"\berror\b", s, re.IGNORECASE)), "")
        said = said.strip() or (lines[-1].strip() if lines else "it said nothing")
        raise ToolError(f"{what} failed: {said}")
    return "".join(lines)
