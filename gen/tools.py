"""Finding and running the outside tools that every room above `hw` may need."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import ToolError

__all__ = ["ToolError", "find_tool", "run_tool", "stop_tools"]

_COLD = "Preparing to run"
"""What a YoWASP tool says before it translates itself, which it does once."""
_QUIET_SECONDS = 20
_RUNNING: dict[int, subprocess.Popen] = {}
"""The tool that each thread runs."""


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
    command: Sequence[str],
    folder: Path,
    what: str,
    *,
    env: Mapping[str, str] | None = None,
    log: str | None = None,
    say: Callable[[str], None] | None = None,
) -> str:
    """Run a program in ``folder`` and return all that it printed.

    The first start of a WebAssembly tool takes a minute or two, which is announced on stderr.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    folder : Path
        Where it runs.
    what : str
        What messages call it.
    env : mapping, optional
        Its environment.
    log : str, optional
        File in ``folder`` that it writes errors to, where it does not print them.
    say : callable, optional
        Told now and then that it is still at work.

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
    _RUNNING[threading.get_ident()] = process
    try:
        assert process.stdout is not None
        with _heartbeat(what, say):
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
        del _RUNNING[threading.get_ident()]
        process.stdout.close()
        process.wait()
    if process.returncode:
        raise ToolError(f"{what} failed: {_said(lines, folder / log if log else None)}")
    return "".join(lines)


def _said(lines: list[str], log: Path | None) -> str:
    """Return a failed tool's own first error, or else its last words."""
    if log is not None and log.exists():
        lines = lines + log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = next((s for s in lines if re.search(r"\berror\b", s, re.IGNORECASE)), "")
    said = said.strip() or (lines[-1].strip() if lines else "it said nothing")
    return f"{said} (log: {log})" if log else said


@contextmanager
def _heartbeat(what: str, say: Callable[[str], None] | None) -> Iterator[None]:
    if say is None:
        yield
        return
    start, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(_QUIET_SECONDS):
            say(f"{what} is still at work ({time.monotonic() - start:.0f} s)")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def stop_tools() -> None:
    """Kill the tools that other threads run; they see a `ToolError`."""
    for process in list(_RUNNING.values()):
        process.kill()
