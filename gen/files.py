"""Writing several files so that either all of them appear or none."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["write_all"]


def write_all(directory: Path, files: Mapping[str, str]) -> list[Path]:
    """Write ``files`` (name to text) into ``directory``, which is made if missing.

    The texts go to temporary files first, and are renamed only once all are on the disk.

    Raises
    ------
    OSError
        Nothing was left behind.
    """
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    written: list[tuple[str, Path]] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            handle, temporary = tempfile.mkstemp(dir=directory, prefix=f".{name}.")
            written.append((temporary, directory / name))
            with open(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(temporary, 0o666 & ~_umask())
        for temporary, path in written:
            os.replace(temporary, path)
    except BaseException:
        for temporary, _ in written:
            Path(temporary).unlink(missing_ok=True)
        for path in made:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        raise
    return [path for _, path in written]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
