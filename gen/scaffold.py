"""The files of a new family, which multiplies inside the engine at once, and its row."""

import keyword
import re
from pathlib import Path

from ..hw.config import ConfigError
from .files import write_all
from .registry import UNITS
from .skeleton import FILES, ROW

__all__ = ["scaffold"]

_MARK = "UNITS: dict[str, Unit] = {\n"


def scaffold(name: str, root: Path) -> list[Path]:
    """Write the files of family ``name`` into the checkout at ``root``, and its row.

    Raises
    ------
    ConfigError
        The name is taken or cannot be a module's, or ``root`` is no checkout. Nothing was written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{,23}", name) or keyword.iskeyword(name):
        raise ConfigError(
            f"a family's name is a lower-case Python identifier of at most 24 letters, not {name!r}"
        )
    registry = root / "gen" / "registry.py"
    if not registry.is_file() or not (root / "hw").is_dir():
        raise ConfigError(f"{root.resolve()} is no checkout: it has no gen/registry.py")
    names = {"@name@": name, "@Class@": "".join(part.capitalize() for part in name.split("_"))}
    imports = ["from ...hw.arith.delay import delay, registered"]
    for part in ("array", "config"):
        imports.append(f"from ...hw.{name}.{part} import {names['@Class@']}{part.capitalize()}")
    names["@imports@"] = "\n".join(sorted(imports))

    def fill(text: str) -> str:
        return re.sub(r"@\w+@", lambda match: names[match[0]], text)

    files = {fill(path): fill(text) for path, text in FILES.items()}
    taken = [path for path in (*files, f"hw/{name}.py") if (root / path).exists()]
    if name in UNITS or taken:
        raise ConfigError(f"there is a unit {name!r} already ({taken[0] if taken else 'its row'})")
    table = registry.read_text(encoding="utf-8")
    if table.count(_MARK) != 1:
        raise ConfigError(f"{registry} has no line {_MARK.strip()!r} to put the row after")
    table = table.replace(_MARK, _MARK + fill(ROW))
    return write_all(root, {**files, "gen/registry.py": table})
