"""What commands print: results to stdout, as text or JSON; progress and mistakes to stderr."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["heading", "print_json", "print_table", "progress_bar", "say", "show"]


def say(text: str = "") -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


def show(text: str = "") -> None:
    """Print a line of the result."""
    print(text)


def heading(text: str) -> str:
    """Return the text in bold where the terminal shows it and NO_COLOR is not set."""
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        return f"\033[1m{text}\033[0m"
    return text


def print_json(document: Any) -> None:
    """Print a document for programs."""
    print(json.dumps(document, indent=2))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under titles; numbers stand to the right, the last column is not padded."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(title), *(len(row[i]) for row in cells)]) for i, title in enumerate(titles)]
    right = [
        bool(rows) and all(isinstance(row[i], int | float | None) for row in rows)
        for i in range(len(titles))
    ]
    show(heading(_line(titles, widths, right)))
    for row in cells:
        show(_line(row, widths, right))


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(row, widths, right, strict=True)
    )
    return "  ".join(padded).rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal, and yield what moves it: ``move(done, total)``.

    Where stderr is no terminal, each tenth is one line.
    """
    if not sys.stderr.isatty():
        tenths = 0

        def report(done: int, total: int) -> None:
            nonlocal tenths
            if total and done * 10 // total > tenths:
                tenths = done * 10 // total
                say(f"{title}: {done} of {total}")

        yield report
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
