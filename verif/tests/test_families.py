"""A family is one class; no code looks for what an object may have, and none names a family."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

import tilewright
from tilewright.gen.configuration import configure
from tilewright.gen.registry import families, load
from tilewright.hw.config import UnitConfig
from tilewright.hw.engine.config import DatapathConfig, DatapathTiming
from tilewright.sw.families.base import Family, family_of
from tilewright.sw.families.operand import Values

ROOT = Path(tilewright.__path__[0])
FILES = [
    path for room in ("hw", "gen", "sw", "fpga", "verif")
    for path in sorted((ROOT / room).rglob("*.py")) if "tests" not in path.parts
]  # fmt: skip
PROBES = {
    "gen/files.py": "inspect.signature",  # the parameter in which a tool writes
    "sw/importers/onnx/onnx_file.py": "hasattr",  # values of another library
    "sw/importers/tflite/tflite_graph.py": "getattr",  # handlers by operator
    "sw/runtime/compiled.py": "getattr",  # an object whose making failed
    "verif/formal/unit.py": "hasattr",  # what a module of proofs has
    "verif/mutate/unit.py": "getattr",  # what a judge says besides
}
"""What asks objects that are no configurations."""
GENERAL = (
    "hw/engine", "sw/cycles.py", "sw/engine.py", "sw/explore.py", "sw/families/base.py",
    "sw/families/operand.py", "sw/job.py", "sw/lower", "sw/report", "sw/runtime",
    "fpga/board.py", "fpga/estimate.py", "fpga/fit.py", "fpga/flow.py", "fpga/measure.py",
    "verif/datapaths.py", "verif/mutate/datapath.py", "verif/simulate",
    "verif/testbench/datapath.py", "verif/testbench/engine.py",
    "verif/testbench/engine_programs.py",
)  # fmt: skip
"""Code for any family."""
DOCS = {"inspect.cleandoc", "inspect.getdoc"}


def probes(tree):
    """Yield the calls that ask an object what it has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name == "hasattr" or (name == "getattr" and len(node.args) > 2):
                yield name
            elif name.startswith("inspect.") and name not in DOCS:
                yield name
        elif isinstance(node, ast.ImportFrom) and node.module == "inspect":
            yield "from inspect"


def named(tree):
    """Yield the families that are named, by a string or by an import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in families():
            yield node.value
        elif isinstance(node, ast.ImportFrom) and node.module and node.level:
            parts = node.module.split(".")
            yield from (
                name
                for room, name in zip(parts, parts[1:], strict=False)
                if room in ("hw", "families", "golden") and name in families()
            )


def test_no_code_asks_objects_what_they_have():
    found = {
        path.relative_to(ROOT).as_posix(): set(probes(ast.parse(path.read_text("utf-8"))))
        for path in FILES
    }
    assert {name: calls for name, calls in found.items() if calls} == {
        name: {call} for name, call in PROBES.items()
    }


@pytest.mark.parametrize("text", [
    'hasattr(config, "family")', 'getattr(d, "multipliers", 0)', "inspect.signature(pack)",
    "from inspect import signature",
])  # fmt: skip
def test_probes_are_seen(text):
    assert list(probes(ast.parse(text)))


@pytest.mark.parametrize("name", GENERAL)
def test_general_code_names_no_family(name):
    paths = [path for path in FILES if path.is_relative_to(ROOT / name)]
    assert paths
    assert {path: set(named(ast.parse(path.read_text("utf-8")))) for path in paths} == {
        path: set() for path in paths
    }


@pytest.mark.parametrize(
    "text", ['if d.family == "term": pass', "from ..hw.nm.config import NmConfig"]
)
def test_names_of_families_are_seen(text):
    assert list(named(ast.parse(text)))


@pytest.mark.parametrize("name", families())
def test_a_family_is_what_its_row_says(name):
    row = families()[name]
    config = configure(name, preset="tiny")
    family = family_of(config)
    assert type(family) is load(row.family)
    assert isinstance(family, Family)
    assert family.name == config.family == name
    assert isinstance(config, DatapathConfig | UnitConfig)
    assert isinstance(family.timing(), DatapathTiming)
    assert family.timing() is not family.timing()
    made = config.build()
    made._MustUse__used = True
    assert type(made) is load(row.component)
    assert family.cost.lut4_equivalents > 0
    assert family.cost.multipliers == config.multipliers


@pytest.mark.parametrize("name", families())
def test_a_subclass_overrides_what_there_is(name):
    """A misspelt method would be one that nobody calls."""
    kind = load(families()[name].family)
    own = {key for key, value in vars(kind).items() if inspect.isfunction(value)}
    assert {key for key in own if not key.startswith("_")} <= set(dir(Family))


@pytest.mark.parametrize("name", families())
@pytest.mark.parametrize("preset", ["default", "tiny"])
def test_tiles_come_back(name, preset):
    config = configure(name, preset=preset)
    family = family_of(config)
    tile = family.operands()[1].random(np.random.default_rng(3), (config.act_lanes, config.cols))
    tile[family.tile().k :] = 0
    beats = family.pack(tile)
    assert len(beats) == config.weight_beats
    assert all(type(beat) is int and 0 <= beat < 1 << config.weight_beat_bits for beat in beats)
    held = family.unpack(beats)
    assert family.pack(held) == beats
    assert family.lossy or (held == tile).all()


def test_values_say_their_format():
    with pytest.raises(ValueError, match=r"w must lie in -2\.\.1 \(2 bits, signed\), but holds 0"):
        Values.of(2, True).check("w", np.array([0, 2]))
    with pytest.raises(ValueError, match=r"w must lie in -1\.\.1, but holds -2\.\.1"):
        Values(-1, 1).check("w", np.array([-2, 1]))
    assert set(Values(-1, 1).random(np.random.default_rng(1), (50,))) == {-1, 0, 1}
