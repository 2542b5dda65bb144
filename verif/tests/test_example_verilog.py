"""The plain Verilog testbench of the examples drives a generated engine."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tilewright.gen.configuration import configure
from tilewright.gen.generate import generate

BENCH = Path(__file__).parents[2] / "examples" / "verilog" / "engine_tb.v"

needs_icarus = pytest.mark.skipif(
    shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    generate("engine", configure("engine", preset="tiny"), folder, name="engine")
    return folder


def run(folder, bench):
    program = folder / "tb.vvp"
    subprocess.run(
        ["iverilog", "-g2005", "-o", program, bench, folder / "engine.v"], check=True, timeout=120
    )
    done = subprocess.run(["vvp", program], check=True, capture_output=True, text=True, timeout=120)
    return done.stdout


@needs_icarus
def test_passes(folder):
    lines = run(folder, BENCH).splitlines()
    assert sum(" expected " in line for line in lines) == 9
    assert lines[-1].startswith("PASS: 9 results equal")


@needs_icarus
def test_a_wrong_order_of_weights_fails(folder):
    text = BENCH.read_text()
    wrong = text.replace("k = tile * ROWS + row;", "k = tile * ROWS + ROWS - 1 - row;")
    assert wrong != text
    bench = folder / "wrong_tb.v"
    bench.write_text(wrong)
    assert "FAIL" in run(folder, bench)


def test_the_manifest_says_what_the_bench_relies_on(folder):
    found = json.loads((folder / "engine.json").read_text())
    bench = BENCH.read_text()
    for port in found["ports"]:
        assert f".{port['name']}(" in bench
    w = found["operands"]["w"]
    assert (w["tile_rows"], w["tile_columns"], w["beats_per_tile"], w["width"]) == (2, 2, 2, 8)
    assert w["order"].startswith("column 0 in the least significant bits; beat j holds row")
    assert found["operands"]["x"]["elements"] == 2
    registers = {r["name"]: r["address"] for r in found["registers"]["registers"]}
    assert f"ERRORS = 8'd{registers['errors']};" in bench
