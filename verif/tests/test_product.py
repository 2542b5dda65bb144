"""One product on the engine: what its study says, and the waves of its streams."""

import dataclasses
import json

import numpy as np
import pytest

from tilewright.gen.errors import ToolError
from tilewright.sw.engine import Engine
from tilewright.sw.report.product import main as study
from tilewright.sw.report.vcd import read_vcd
from tilewright.sw.runtime.record import record_tile
from tilewright.sw.runtime.simulated import SimulatedEngine
from tilewright.verif.tests.test_engine import ENGINES

STUDIED = [
    f"datapath.{name}={value}" if name in ("rows", "cols") else f"{name}={value}"
    for name, value in ENGINES["ws"].items()
]


def test_waves_show_every_stream_at_work(tmp_path):
    """While results of a product leave, the operands of the one after the next one load."""
    hardware = SimulatedEngine(Engine("systolic", **ENGINES["ws"]).config)
    record_tile(hardware, tmp_path / "tile.vcd")
    traces = {trace.name: trace for trace in read_vcd(tmp_path / "tile.vcd", lambda name: True)}
    cycles = range(9, traces["engine.clk"].times[-1], 10)
    together = 0
    for stream in ("s_axis_cmd", "s_axis_w", "s_axis_x", "m_axis_y"):
        valid, ready = (traces[f"engine.{stream}_t{part}"] for part in ("valid", "ready"))
        moves = np.array([valid.at(t) == ready.at(t) == 1 for t in cycles])
        assert moves.sum() > 20
        together = together + np.convolve(moves, np.ones(96), "valid").astype(bool)
    assert max(together) == 4


def test_a_product_is_studied(tmp_path, capsys):
    """The engine's streams are drawn, and the product's own cycles are told."""
    study("systolic", m=5, k=9, n=4, set_=STUDIED, output=tmp_path, json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["equal"]
    assert found["cycles"] == found["predicted_cycles"] > found["first_result"] > 0
    assert found["utilisation"] == pytest.approx(5 * 9 * 4 / (4 * 3 * found["cycles"]))
    picture = (tmp_path / "product.svg").read_text()
    assert "xmlns=" in picture, "it is a file of its own"
    assert all(stream in picture for stream in ("commands", "weights", "activations", "results"))
    with pytest.raises(ToolError, match="waves of 1,000,000 products are too long"):
        study("systolic", m=100, k=100, n=100, output=tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda result: dataclasses.replace(result, lanes=result.lanes ^ 1),
        lambda result: dataclasses.replace(result, cycles=result.cycles + 1),
    ],
)
def test_a_study_tells_that_the_rtl_does_anything_else(change, tmp_path, monkeypatch):
    run = SimulatedEngine.run
    monkeypatch.setattr(SimulatedEngine, "run", lambda *asked: change(run(*asked)))
    with pytest.raises(ToolError, match="the RTL does anything else than the models say"):
        study("systolic", m=2, k=3, n=2, set_=STUDIED, output=tmp_path)
