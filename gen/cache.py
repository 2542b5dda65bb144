"""Where things are kept that can be made or fetched again."""

import functools
import os
import tempfile
from pathlib import Path

from .files import check_writable

__all__ = ["cache_folder", "writable_cache"]


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
