"""Writing several files so that either all of them appear or none."""

import errno
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["check_writable", "write_all"]


def write_all(directory: Path, files: Mapping[str, str]) -> list[Path]:
    """Write ``files`` (relative path to text) below ``directory``; folders are made if missing.

    The texts go to temporary files first, and are renamed only once all are on the disk.

    Raises
    ------
    OSError
        Nothing was left behind.
    """
    made: list[Path] = []
    written: list[tuple[str, Path]] = []
    try:
        for name, text in files.items():
            path = directory / name
            _make(path.parent, made)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            written.append((temporary, path))
            with open(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(temporary, 0o666 & ~_umask())
        for temporary, path in written:
            os.replace(temporary, path)
    except BaseException:
        for temporary, _ in written:
            Path(temporary).unlink(missing_ok=True)
        for path in reversed(made):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise
    return [path for _, path in written]


def check_writable(folder: Path) -> None:
    """Raise `OSError` if ``folder`` cannot be made or written to; make nothing."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder and remember it and every parent that was missing, outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    made += reversed(missing)
    folder.mkdir(parents=True, exist_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
