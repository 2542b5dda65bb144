"""Refuses to build an empty package from a checkout without symbolic links."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LinkedRooms(BuildHookInterface):
    """Looks whether the rooms of the package, which ``.dev`` links to, are there."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """End with a sentence if a link of the package has become a file."""
        package = Path(self.root, ".dev", "tilewright")
        broken = [
            name for name in ("fpga", "gen", "hw", "sw", "verif") if not (package / name).is_dir()
        ]
        if broken:
            raise SystemExit(
                f".dev/tilewright/{broken[0]} is no folder: the checkout has no symbolic links; "
                "set `git config core.symlinks true` and check the files out again "
                "(on Windows in developer mode)"
            )
