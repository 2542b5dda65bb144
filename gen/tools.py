"""Finding and running the outside tools that every room above `hw` may need."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .cache import cache_variables
from .errors import ToolError
from .files import check_room

__all__ = ["ToolError", "find_tool", "run_tool", "started", "stop_tool"]

_COLD = "Preparing to run"
"""What a YoWASP tool says before it translates itself, which it does once."""
_QUIET_SECONDS = 20
_TIDY_SECONDS = 2
_RUNNING: set[tuple[int, subprocess.Popen]] = set()
"""The tools that run, each with its thread."""
_STOPPED: set[int] = set()
"""Threads that are to run no more tools."""


class _Stopped(BaseException):
    """What a thread's tools make is not wanted any more."""


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
    phases: Mapping[str, str] | None = None,
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
        Told each new phase, and now and then that it is still at work.
    phases : mapping, optional
        How a line begins with which a phase of the program does, and what messages call the phase.

    Raises
    ------
    ToolError
        The program cannot be started or fails; the message carries its own first error.
    OSError
        The disk is full, whether the program noticed or not.
    """
    lines: list[str] = []
    phase = ""
    with started(
        command, folder, what, env=env, text=True, encoding="utf-8", errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process, _heartbeat(what, say):  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(_COLD):
                name = Path(command[0]).name
                print(f"first start of {name}: translating it takes 1 to 2 minutes, only once",
                      file=sys.stderr, flush=True)  # fmt: skip
                continue
            lines.append(line)
            begun = next((name for start, name in (phases or {}).items()
                          if line.startswith(start)), phase)  # fmt: skip
            if say is not None and begun != phase:
                say(f"{what}: {begun}")
            phase = begun
    check_room(folder)
    if process.returncode:
        raise ToolError(f"{what} failed: {_said(lines, folder / log if log else None)}")
    return "".join(lines)


@contextmanager
def started(
    command: Sequence[str],
    folder: Path,
    what: str,
    *,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[subprocess.Popen]:
    """Start a program in ``folder``, and wait for its end at the end of the block.

    Where the block fails, the program is ended, and with it all that it has started.

    Parameters
    ----------
    command, folder, what, env
        As in `run_tool`.
    **options
        Of `subprocess.Popen`.

    Raises
    ------
    ToolError
        The program cannot be started.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            process_group=0,
            **options,
            env={**(env or os.environ), **cache_variables(Path("build"), folder.parent, folder)},
        )
    except OSError as error:
        raise ToolError(f"{what} cannot be started: {error}") from None
    running = (threading.get_ident(), process)
    _RUNNING.add(running)
    try:
        if running[0] not in _STOPPED:
            yield process
            process.wait()
        if running[0] in _STOPPED:
            raise _Stopped
    except BaseException:
        _end(process)
        raise
    finally:
        _RUNNING.discard(running)
        if process.stdout is not None:
            process.stdout.close()


def _end(process: subprocess.Popen) -> None:
    """End a program and all that it has started, which may tidy up first."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_TIDY_SECONDS)


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


def stop_tool(thread: threading.Thread) -> None:
    """Make a thread end: kill the tools that it runs, and let it start no other."""
    assert thread.ident is not None
    _STOPPED.add(thread.ident)
    for number, process in tuple(_RUNNING):
        if number == thread.ident:
            _end(process)
    thread.join()
    _STOPPED.discard(thread.ident)
