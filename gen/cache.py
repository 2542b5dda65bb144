"""Where things are kept that can be made or fetched again."""

import functools
import os
import tempfile
from pathlib import Path

from .files import check_writable

__all__ = ["cache_folder", "cache_variables", "find_cache", "writable_cache"]

_NEEDED = ("YoWASP", "wasmtime")
"""Folders of the user's cache in which WebAssembly tools keep their translations."""


def cache_folder() -> Path:
    """Return what ``TILEWRIGHT_CACHE`` names, or else the folder in the user's cache."""
    if chosen := os.environ.get("TILEWRIGHT_CACHE"):
        return Path(chosen)
    if os.name == "nt" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "tilewright" / "cache"
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
    return Path(base) / "tilewright" if os.path.isabs(base) else _temporary()


def writable_cache() -> Path:
    """Return `cache_folder`, or a folder that ends with this process if that cannot be written.

    A folder that ``TILEWRIGHT_CACHE`` names is returned as it is: who named it wants to be told.
    """
    folder = cache_folder()
    if not os.environ.get("TILEWRIGHT_CACHE"):
        try:
            check_writable(folder)
        except OSError:
            return _temporary()
    return folder


def _temporary() -> Path:
    return Path(_kept_until_exit().name)


@functools.cache
def _kept_until_exit() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="tilewright-")


def find_cache(*folders: Path) -> Path:
    """Return where tools can keep what they need again.

    That is the user's cache, else ``cache`` in the first of ``folders`` that can be written, else a
    folder that ends with this process.
    """
    own = _own("XDG_CACHE_HOME", "~/.cache")
    if own.is_absolute() and all(_can_be_made(own / name) for name in _NEEDED):
        return own
    chosen = (folder / "cache" for folder in folders)
    return next((folder.absolute() for folder in chosen if _can_be_made(folder)), _temporary())


def cache_variables(*folders: Path) -> dict[str, str]:
    """Return the environment that makes tools use `find_cache`; empty where they do so anyway."""
    found = find_cache(*folders)
    variables = {}
    if found != _own("XDG_CACHE_HOME", "~/.cache"):
        variables = {"XDG_CACHE_HOME": str(found), "YOWASP_CACHE_DIR": str(found / "YoWASP")}
    settings = _own("XDG_CONFIG_HOME", "~/.config") / "matplotlib"
    if "MPLCONFIGDIR" not in os.environ and not _can_be_made(settings):
        variables["MPLCONFIGDIR"] = str(found / "matplotlib")
    return variables


def _own(variable: str, otherwise: str) -> Path:
    """Return the user's folder that a variable names, or else the usual one."""
    named = os.environ.get(variable, "")
    return Path(named if os.path.isabs(named) else os.path.expanduser(otherwise))


def _can_be_made(folder: Path) -> bool:
    """Tell whether something can be written where a folder is or would be; leave nothing there."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        os.rmdir(tempfile.mkdtemp(dir=there))
    except OSError:
        return False
    return True
