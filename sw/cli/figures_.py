"""`tilewright figures`."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Json

__all__ = ["command"]

_FOLDER = Path("docs/measured")
_PAGES = ("README.md", "docs/**/*.md", "examples/**/*.md")


def command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Measure these entries anew.")
    ] = None,
    render: Annotated[
        bool, typer.Option("--render", help="Write the figures into README and docs.")
    ] = False,
    json: Json = False,
) -> None:
    """List the measured figures of README and docs, and whether the hardware changed since.

    To be called in the folder of the source. With names, their commands are run, and the pages are
    written anew. Ends with an error where a page says anything else than what was measured.
    """
    from ...gen.files import write_all
    from ...hw.config import ConfigError, check_choice
    from ..report import measured
    from .output import print_json, print_table, say

    entries = measured.read_entries(_FOLDER)
    if not entries:
        raise ConfigError(f"there are no entries in {_FOLDER}; call this in the source's folder")
    for name in names or ():
        check_choice("name", name, tuple(entries))
    for name in names or ():
        entries[name] = measured.make(entries[name], say)
        measured.write_entry(_FOLDER, name, entries[name])
    pages = {path: path.read_text("utf-8") for form in _PAGES for path in sorted(Path().glob(form))}
    rendered = {path: measured.render(text, entries) for path, text in pages.items()}
    changed = {str(path): text for path, text in rendered.items() if text != pages[path]}
    if names or render:
        write_all(Path(), changed)
        changed = {}
    rows = [
        (name, entry.kind, entry.date, entry.commit, "yes" if entry.is_stale() else "no",
         entry.about)
        for name, entry in entries.items()
    ]  # fmt: skip
    titles = ("entry", "kind", "date", "commit", "hardware changed since", "what")
    if json:
        print_json([dict(zip(titles, row, strict=True)) for row in rows])
    else:
        print_table(titles, rows)
    if changed:
        raise ConfigError(
            f"{', '.join(changed)}: figures differ from what was measured; call with --render"
        )
