"""The rooms import each other only in the directions that DESIGN.md allows."""

import ast
import re
from pathlib import Path

import pytest

import tilewright
from tilewright.gen.registry import UNITS, load

ROOMS = ("hw", "gen", "sw", "verif", "fpga")
ALLOWED = {
    "hw": {"hw"},
    "gen": {"gen", "hw"},
    "sw": {"sw", "gen", "hw", "verif.golden"},
    "fpga": {"fpga", "gen", "hw", "sw"},
    "verif.golden": {"hw", "sw", "verif.golden"},
    "verif": {*ROOMS, "verif.golden"},
}
"""What a room may import; golden models have a test of their own besides."""
GOLDEN_READS = {
    "sw.families.packed_chain", "sw.llm.decoder", "sw.llm.scaling", "sw.llm.stored",
    "sw.lower.program",
}  # fmt: skip
"""Modules beyond configurations that golden models read: numbers, parameters, programs."""
REGISTRY = ("gen/registry.py", "gen/skeleton.py")
"""Where import strings stand, and the row of the registry that a new family gets."""
FIELDS = {
    "config": "hw", "component": "hw", "golden": "verif.golden", "testbench": "verif",
    "formal": "verif", "family": "sw",
}  # fmt: skip
ROOT = Path(tilewright.__path__[0])
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def room_of(parts) -> str:
    return "verif.golden" if tuple(parts[:2]) == ("verif", "golden") else parts[0]


def imports(path: Path, tree: ast.AST):
    """Yield (line, absolute module below the package or None, is relative) of every import."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, False
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                yield node.lineno, node.module, False
                continue
            base = package[: len(package) - node.level + 1]
            stem = [*base, *(node.module or "").split(".")] if node.module else list(base)
            for alias in node.names:
                yield node.lineno, ".".join(["tilewright", *stem, alias.name]), True


def strings(tree: ast.AST):
    """Yield (line, text) of strings that name a module of a room, as `load` reads it.

    Text of an f-string is what stands before its first value.
    """
    parts = {id(p) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for p in n.values}
    for node in ast.walk(tree):
        is_whole = isinstance(node, ast.Constant) and id(node) not in parts
        text = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
        if not (is_whole or isinstance(node, ast.JoinedStr)) or not isinstance(text, ast.Constant):
            continue
        if re.match(rf"({'|'.join(ROOMS)})\.[\w.]*(:\w+)?$", str(text.value)):
            yield node.lineno, text.value


def faults(path: Path, text: str):
    """Yield what is wrong with the imports of a file."""
    parts = path.relative_to(ROOT).parts
    room, tree = room_of(parts), ast.parse(text)
    in_tests = parts[:2] in (("verif", "tests"), ("verif", "testbench"))
    command_line = parts[:2] == ("sw", "cli")
    allowed = {*ROOMS, "verif.golden"} if command_line else ALLOWED[room]
    for line, module, relative in imports(path, tree):
        where = f"{'/'.join(parts)}:{line} imports {module}"
        top = module.split(".")
        if top[0] in ROOMS:
            yield f"{where} without its package"
        if room == "hw" and module in ("__future__.annotations", "__future__"):
            yield f"{where}; Amaranth's members cannot be read with it"
        if room == "hw" and top[0] in ("numpy", "onnx", "cocotb"):
            yield where
        if top[0] != "tilewright" or len(top) < 2:
            continue
        if not relative and not in_tests:
            yield f"{where} absolutely"
        if top[1] in ROOMS and room_of(top[1:]) not in allowed:
            yield f"{where}, which {room} may not"
    if in_tests or "/".join(parts) in REGISTRY:
        return
    for line, module in strings(tree):
        yield f"{'/'.join(parts)}:{line} names {module}; an import is an import"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_in_the_allowed_directions(path):
    assert not list(faults(path, path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hw/engine/core.py", "from ...gen import registry"),
        ("hw/engine/core.py", "import numpy"),
        ("gen/verilog.py", "from ..sw import engine"),
        ("sw/engine.py", "from ..verif.simulate.runner import run_unit"),
        ("sw/engine.py", "from ..fpga.board import build"),
        ("sw/engine.py", "from tilewright.hw import config"),
        ("sw/engine.py", 'load("verif.golden.systolic:systolic")'),
        ("sw/engine.py", 'load(f"sw.families.{family}")'),
        ("fpga/flow.py", "from ..verif.golden import systolic"),
        ("verif/golden/systolic.py", "from ..simulate import runner"),
        ("verif/tests/test_x.py", "from sw import engine"),
    ],
)
def test_wrong_imports_are_seen(name, text):
    assert list(faults(ROOT / name, text))


def importers(text: str) -> int:
    """Return how often a file imports what a variable says."""
    calls = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call))
    return sum(ast.unparse(n.func).split(".")[-1] in ("import_module", "__import__") for n in calls)


def test_only_the_registry_imports_modules_of_ours_by_name():
    found = {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        if "tests" not in path.parts and importers(path.read_text(encoding="utf-8"))
    }
    # Besides it: commands by what was typed, and other packages' boards.
    assert found == {"gen/registry.py", "sw/cli/__init__.py", "fpga/board.py"}
    assert importers("importlib.import_module(f'..{module}', __name__)") == 1


@pytest.mark.parametrize("unit", UNITS)
def test_the_registry_names_what_is_there(unit):
    row = UNITS[unit]
    for field, room in FIELDS.items():
        if text := getattr(row, field):
            assert load(text) is not None
            assert room_of(text.split(".")) == room, f"{field} of {unit} is {text}"
    for text in row.tables.values():
        assert load(text) is not None
        assert room_of(text.split(".")) in ALLOWED["gen"], text
    if row.mutation:
        assert load(row.mutation.judge) is not None
        assert room_of(row.mutation.judge.split(".")) == "verif"


@pytest.mark.parametrize("unit", UNITS)
def test_configurations_do_without_amaranth(unit):
    """Every room reads them, the small ones too."""
    path = ROOT.joinpath(*UNITS[unit].config.partition(":")[0].split(".")).with_suffix(".py")
    for line, module, _ in imports(path, ast.parse(path.read_text(encoding="utf-8"))):
        assert module.split(".")[0] != "amaranth", f"{name_of(path)}:{line}"


def test_golden_models_import_number_formats_only():
    golden = [path for path in FILES if path.is_relative_to(ROOT / "verif" / "golden")]
    assert golden
    for path in golden:
        for line, module, _ in imports(path, ast.parse(path.read_text(encoding="utf-8"))):
            top = module.split(".")
            assert top[0] not in ("amaranth", "cocotb"), f"{name_of(path)}:{line}"
            if top[0] == "tilewright" and top[1] != "verif":
                assert (
                    "config" in module
                    or top[-2] == "commands"
                    or (".".join(top[1:-1]) in GOLDEN_READS)
                ), f"{name_of(path)}:{line} imports {module}"
