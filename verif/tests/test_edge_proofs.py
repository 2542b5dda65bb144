"""The requantiser: proofs, and the bench on its Verilog."""

from dataclasses import replace
from pathlib import Path

import pytest

from tilewright.gen.registry import UNITS
from tilewright.gen.verilog import emit
from tilewright.hw.engine.requantise import Requantise
from tilewright.hw.engine.requantise_config import RequantiseConfig
from tilewright.verif.formal import requantise
from tilewright.verif.formal.requantise import LaneSpec
from tilewright.verif.formal.runner import prove
from tilewright.verif.simulate.runner import run_unit
from tilewright.verif.tests.test_systolic_primitives import models

TASKS = requantise.tasks()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_proved(task):
    proof = task.run(Path("build/formal/edge"))
    assert proof.passed, proof


class OtherRounding(LaneSpec):
    """Holds a lane to the formula of the other rounding."""

    def __init__(self):
        config = RequantiseConfig(acc_width=8, out_bits=2)
        super().__init__(config)
        self._formula_config = replace(config, rounding="half_away")


def test_the_proof_tells_roundings_apart():
    depth = RequantiseConfig(acc_width=8, out_bits=2).latency + 1
    proof = prove(OtherRounding(), depth, folder=Path("build/formal/edge/other_rounding"))
    assert not proof.passed
    assert "requantise.py" in proof.reason


@pytest.mark.parametrize("preset", UNITS["requantise"].presets)
def test_bench_on_icarus(preset):
    config = RequantiseConfig(**UNITS["requantise"].presets[preset])
    verilog = emit(Requantise(config), "requantise").verilog
    if config.fabric == "ecp5":
        verilog += models()
    folder = Path("build/sim/requantise") / preset
    result = run_unit("requantise", config, folder, verilog=verilog)
    assert result.ok, result
    assert len(result.passed) == 17
