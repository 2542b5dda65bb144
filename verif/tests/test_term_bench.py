"""The bench of the term-revealing arrays on their emitted Verilog."""

import json
import shutil

import pytest

from tilewright.gen.configuration import configure
from tilewright.verif.simulate.runner import run_unit
from tilewright.verif.testbench.cover import merge

TESTS = 1 + 16 + 5 + 1 + 2 + 1


@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")
@pytest.mark.parametrize("preset", ["tiny", pytest.param("tmac", marks=pytest.mark.slow)])
def test_bench_on_icarus(tmp_path, preset):
    result = run_unit("term", configure("term", preset=preset), tmp_path)
    assert result.ok, result
    assert len(result.passed) == TESTS
    cover = merge(tmp_path)
    assert cover.missing() == [], json.dumps(cover.hits)
