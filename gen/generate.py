"""One configuration in, a folder of files out: Verilog, manifest, FuseSoC core, TOML."""

import re
from pathlib import Path
from typing import Any

from .. import __version__  # pyright: ignore[reportMissingImports] # through .dev
from ..hw.config import ConfigError
from .configuration import dump
from .files import write_all
from .keywords import KEYWORDS
from .registry import find_unit, load

__all__ = ["generate", "generate_files", "module_name"]


def module_name(unit: str) -> str:
    """Return what a unit's top module is called if nothing else is asked for: as the unit is."""
    return f"{unit}_array" if unit in KEYWORDS else unit


def generate_files(unit: str, config: Any, name: str) -> dict[str, str]:
    """Return file name to text for module ``name``; the same bytes for the same arguments."""
    from .fusesoc import core_file
    from .manifest import manifest
    from .verilog import emit, summary, top_of

    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or name in KEYWORDS:
        raise ConfigError(f"name must be a Verilog identifier that is not a keyword, not {name!r}")
    top = top_of(load(find_unit(unit).component)(config))
    settings = dump(config, unit)
    header = f"tilewright {__version__}, unit {unit}\n\nConfiguration\n" + "".join(
        f"  {line}\n" if line else "\n" for line in settings.splitlines()[1:]
    )
    files = {
        f"{name}.json": manifest(unit, name, config, top),
        f"{name}.core": core_file(name, summary(top)),
        f"{name}.toml": settings,
    }
    return {f"{name}.v": emit(top, name, header=header).verilog, **files}


def generate(unit: str, config: Any, directory: Path, name: str | None = None) -> list[Path]:
    """Write the files of one configuration into ``directory``: all of them or none.

    Raises
    ------
    ConfigError
        The name cannot be a module's name.
    OSError
        The folder cannot be written.
    """
    name = module_name(unit) if name is None else name
    return write_all(directory, generate_files(unit, config, name))
