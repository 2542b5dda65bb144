"""What the README shows is what there is."""

import re
import subprocess
from pathlib import Path

from tilewright.gen.configuration import configure
from tilewright.gen.generate import generate_files
from tilewright.gen.registry import UNITS
from tilewright.sw.cli import COMMANDS, GROUPS

README = Path("README.md").read_text(encoding="utf-8")


def test_the_instantiation_is_complete(tmp_path):
    """Every port of the engine is connected, to a wire of the width that stands beside it."""
    block = re.search(r"```verilog\n(.*?)```", README, re.S)[1]
    wires = re.findall(r"\((\w+)\),? *(?://.*?\[(\d+):0\])?", block)
    declared = [f"  wire [{high or 0}:0] {name};" for name, high in wires]
    files = generate_files(
        "engine", configure("engine", settings=("datapath.rows=8", "datapath.cols=8")), "engine"
    )
    (tmp_path / "engine.v").write_text(files["engine.v"])
    text = "\n".join(["module top;", *declared, block, "endmodule"])
    (tmp_path / "top.v").write_text(text)
    command = ["iverilog", "-g2005", "-Wall", "-Wno-timescale", "-t", "null", "-s", "top"]
    done = subprocess.run(
        [*command, "top.v", "engine.v"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("top.v")]
    assert told == []
    ports = re.search(r"^module engine \((.*?)^\);", files["engine.v"], re.M | re.S)[1]
    there = re.findall(r"(\w+),?$", ports, re.M)
    assert sorted(re.findall(r"\.(\w+) +\(", block)) == sorted(there)


def test_commands_exist():
    shown = re.findall(r"(?:bin/|`)tilewright (\w+)[ `]", README)
    assert len(shown) > 8
    assert set(shown) - {*COMMANDS, *GROUPS} == set()


def test_families_and_files_exist():
    for path in re.findall(r"\]\((docs/[\w/.]+|LICENSE)\)", README):
        assert Path(path).exists(), path
    named = set(re.findall(r"^\| `(\w+)`", README, re.M))
    assert named - set(UNITS) == set()
