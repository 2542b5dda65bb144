"""A line on the terminal for who waits."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["waiting"]

_PATIENCE = 1.0
"""Seconds before the line appears, and between its changes."""


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on a terminal that ``what`` goes on and for how long; the line is gone at its end.

    Where stderr is no terminal, nothing is printed.
    """
    stream = sys.stderr
    if stream is None or not stream.isatty():
        yield
        return
    start, done, width = time.monotonic(), threading.Event(), 0

    def tell() -> None:
        nonlocal width
        while not done.wait(_PATIENCE):
            text = f"{what} ({time.monotonic() - start:.0f} s)"
            width = max(width, len(text))
            print(f"\r{text:{width}}", end="", file=stream, flush=True)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if width:
            print(f"\r{'':{width}}\r", end="", file=stream, flush=True)
