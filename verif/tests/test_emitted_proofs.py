"""The emitted Verilog is proved to compute what Amaranth's own conversion computes."""

import re
from pathlib import Path

import pytest
from amaranth.back import rtlil

from tilewright.gen.configuration import configure
from tilewright.gen.registry import UNITS, load
from tilewright.gen.verilog import emit, top_of
from tilewright.verif.formal.runner import Proof, prove_rtlil

PROVED = ("systolic", "serial", "packed", "requantise")
"""Those whose search ends within seconds; test_verilog compares the others in random cycles."""

_PREPARED = ("proc", "flatten", "async2sync", "memory_map", "opt_clean")


def same(unit: str, change=lambda verilog: verilog) -> Proof:
    """Compare all outputs of the two in every state that they can reach together."""
    preset = "tiny" if "tiny" in UNITS[unit].presets else "default"

    def component():
        return load(UNITS[unit].component)(configure(unit, preset=preset))

    verilog = change(emit(component(), "emitted").verilog)
    assert not re.search(r"^  (MULT18X18D|CCU2C|DP16KD|TRELLIS_\w+) ", verilog, re.M)
    escaped = verilog.replace("{", "{{").replace("}", "}}")
    script = (
        "read_rtlil design.il", "hierarchy -top own", *_PREPARED, "design -stash own",
        f"read_verilog <<verilog\n{escaped}\nverilog", "hierarchy -check -top emitted", *_PREPARED,
        "design -stash emitted", "design -copy-from own own", "design -copy-from emitted emitted",
        "miter -equiv -flatten -make_assert own emitted miter", "hierarchy -top miter",
        "chformal -lower", "opt -full", "prep -top miter",
    )  # fmt: skip
    own = rtlil.convert(top_of(component()), "own", emit_src=False)
    return prove_rtlil(
        own, "miter", 12, "reach", folder=Path("build/test/emitted") / unit, name=unit,
        script=script, seconds=100,
    )  # fmt: skip


@pytest.mark.parametrize("unit", PROVED)
def test_units_are_emitted_as_they_are(unit):
    proof = same(unit)
    assert proof.passed, proof


def test_another_operator_is_noticed():
    proof = same("systolic", lambda verilog: verilog.replace(" & ", " | ", 1))
    assert not proof.passed
