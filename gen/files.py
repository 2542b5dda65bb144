"""Files that are there whole or not at all, and folders that failed work leaves as they were."""

import errno
import functools
import inspect
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from .errors import ToolError

__all__ = [
    "check_room", "check_writable", "missing_folders", "naming", "read_json", "remove_empty",
    "undone_on_failure", "whole_or_nothing", "write_all", "write_file",
]  # fmt: skip

P = ParamSpec("P")
R = TypeVar("R")

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where there is no room: the disk, a quota, or the limit of a file's size."""
_ROOM = 1 << 16
"""Bytes that must be free after a tool's work, or some of its files may lack their ends."""


def write_all(directory: Path, files: Mapping[str, str | bytes]) -> list[Path]:
    """Write ``files`` (relative path to content) below ``directory``; folders are made if missing.

    The contents go to temporary files first, and are renamed only once all are on the disk.

    Raises
    ------
    OSError
        Nothing was left behind; the error names the file.
    """
    made: list[Path] = []
    written: list[tuple[str, Path]] = []
    try:
        for name, content in files.items():
            path = directory / name
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            _make(path.parent, made)
            with naming(path):
                handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
                written.append((temporary, path))
                with open(handle, "wb") as file:
                    file.write(content.encode() if isinstance(content, str) else content)
                os.chmod(temporary, 0o666 & ~_umask())
        for temporary, path in written:
            os.replace(temporary, path)
    except BaseException:
        for temporary, _ in written:
            Path(temporary).unlink(missing_ok=True)
        remove_empty(made)
        raise
    return [path for _, path in written]


def write_file(path: Path, content: str | bytes) -> Path:
    """Write one file as `write_all` does; return its path."""
    return write_all(path.parent, {path.name: content})[0]


@contextmanager
def undone_on_failure(*folders: Path) -> Iterator[None]:
    """Remove the files that the block made or changed in ``folders`` where it fails.

    Meant for folders that tools write to, which nobody else does meanwhile. A `ToolError` leaves
    them: it names the log that tells more. An `OSError` that the disk is full names a folder.
    """
    missing: list[Path] = []
    for folder in folders:
        missing += missing_folders(folder)
    before = {folder: _files(folder) for folder in folders}
    try:
        with naming(*folders[:1]):
            yield
    except ToolError:
        raise
    except BaseException:
        for folder in folders:
            _restore(folder, before[folder])
        remove_empty(missing)
        raise


def whole_or_nothing(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function's parameter ``folder``, where its tools write, be undone where it fails."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def whole(*args: P.args, **kwargs: P.kwargs) -> R:
        folder = signature.bind(*args, **kwargs).arguments.get("folder")
        with undone_on_failure(*[folder] if folder else []):
            return function(*args, **kwargs)

    return whole


def read_json(path: Path) -> Any:
    """Return the JSON that a tool wrote; raise `ToolError` where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ToolError(f"{path} is damaged, as it is no JSON: {error}") from None


def check_writable(folder: Path) -> None:
    """Raise `OSError` if ``folder`` cannot be made or written to; make nothing."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def check_room(folder: Path) -> None:
    """Raise `OSError` if the disk of ``folder`` is full.

    Tools that find it so often end well, and leave a file without its end.
    """
    with naming(folder), tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        left = _ROOM
        while left:
            left -= file.write(bytes(left))
    limit = _size_limit()
    if limit is not None:
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_size >= limit:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))


def _size_limit() -> int | None:
    """Return the most bytes that a file may have (``ulimit -f``), None where there is no limit."""
    try:
        import resource
    except ImportError:  # not a system like Unix
        return None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


@contextmanager
def naming(*paths: Path) -> Iterator[None]:
    """Let errors of writing, which know no file, name the first of ``paths``."""
    try:
        yield
    except OSError as error:
        if paths and error.errno in FULL and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(paths[0])) from None
        raise


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder and remember it and every parent that was missing, outermost first."""
    made += missing_folders(folder)
    folder.mkdir(parents=True, exist_ok=True)


def missing_folders(folder: Path) -> list[Path]:
    """Return those of a folder and its parents that are not there, outermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()][::-1]


def remove_empty(made: list[Path]) -> None:
    """Remove those of the folders, innermost last, in which there is nothing."""
    for path in reversed(made):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


_Mark = tuple[int, int, int] | None
"""What tells a changed file from the same one; None of a folder."""


def _files(folder: Path) -> dict[Path, _Mark]:
    """Return what is below a folder, whatever holds something before what it holds."""
    found: dict[Path, _Mark] = {}
    for where, folders, names in os.walk(folder):
        for path in (Path(where, name) for name in (*folders, *names)):
            with suppress(FileNotFoundError):
                status = path.lstat()
                mark = (status.st_mtime_ns, status.st_size, status.st_ino)
                found[path] = None if stat.S_ISDIR(status.st_mode) else mark
    return found


def _restore(folder: Path, before: Mapping[Path, _Mark]) -> None:
    """Remove what is new or changed below a folder."""
    now = _files(folder)
    for path in reversed(now):
        if path not in before or before[path] != now[path]:
            with suppress(OSError):
                path.rmdir() if now[path] is None else path.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
