"""Files inside packages of Debian, which apt-get fetches."""

import io
import subprocess
import tarfile
from pathlib import Path

__all__ = ["download", "member"]

_HEADER = 60
"""Bytes before each member of an ar archive: name, times and modes, size, and two marks."""


def member(package: bytes, path: str) -> bytes:
    """Return the file ``path``, without a leading slash, of a ``.deb``.

    Raises
    ------
    KeyError
        There is no such file.
    ValueError
        The package is not readable.
    """
    at = len(b"!<arch>\n")
    if package[:at] != b"!<arch>\n":
        raise ValueError("not an archive of ar")
    while at + _HEADER <= len(package):
        name = package[at : at + 16].decode("ascii").strip().rstrip("/")
        size = int(package[at + 48 : at + 58])
        at += _HEADER
        if name.startswith("data.tar"):
            try:
                with tarfile.open(fileobj=io.BytesIO(package[at : at + size])) as files:
                    found = files.extractfile(f"./{path}")
                    if found is not None:
                        return found.read()
            except tarfile.TarError as error:
                raise ValueError(str(error)) from None
            break
        at += size + size % 2
    raise KeyError(path)


def download(wanted: str, folder: Path, seconds: int) -> Path:
    """Let apt-get fetch ``package=version`` into ``folder`` and return the file.

    Raises
    ------
    OSError
        There is no apt-get, or it fails; the message says why.
    """
    try:
        done = subprocess.run(
            ["apt-get", "download", "-q", wanted],
            cwd=folder, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise OSError(f"downloading took over {seconds} s") from None
    found = sorted(folder.glob("*.deb"))
    if done.returncode or not found:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise OSError(lines[-1].removeprefix("E: ") if lines else "apt-get gave no package")
    return found[0]
