"""The rooms import each other only in the directions that DESIGN.md allows."""

import ast
from pathlib import Path

import pytest

import tilewright
from tilewright.gen.registry import UNITS

ROOMS = ("hw", "gen", "sw", "verif", "fpga")
ALLOWED = {
    "hw": {"hw"},
    "gen": {"gen", "hw"},
    "sw": {"sw", "gen", "hw"},
    "fpga": {"fpga", "gen", "hw", "sw"},
    "verif": set(ROOMS),
}
ROOT = Path(tilewright.__path__[0])
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


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


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_in_the_allowed_directions(path):
    parts = path.relative_to(ROOT).parts
    room = parts[0]
    in_tests = parts[:2] in (("verif", "tests"), ("verif", "testbench"))
    command_line = parts[:2] == ("sw", "cli")
    for line, module, relative in imports(path, ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{'/'.join(parts)}:{line} imports {module}"
        top = module.split(".")
        if top[0] in ROOMS:
            pytest.fail(f"{where} without its package")
        if top[0] == "__future__" and room == "hw":
            assert module != "__future__", f"{where}; Amaranth's members cannot be read with it"
        if room == "hw":
            assert top[0] not in ("numpy", "onnx", "cocotb"), where
        if top[0] != "tilewright" or len(top) < 2:
            continue
        assert relative or in_tests, f"{where} absolutely"
        if top[1] in ROOMS and not command_line:
            assert top[1] in ALLOWED[room], f"{where}, which {room} may not"


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
            if top[0] == "tilewright":
                assert top[1] in ("sw", "verif") or "config" in module or top[-2] == "commands", (
                    f"{name_of(path)}:{line} imports {module}"
                )
