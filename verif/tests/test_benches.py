"""Tables of the benches: each number against an answer worked out by hand.

Figures of the arrays are those that the documentation has from whole runs.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.fpga import (
    bench,
    bench_frame,
    bench_kv,
    bench_serial,
    bench_sparse,
    gates,
)
from tilewright.fpga.flow import Area
from tilewright.fpga.measure import Measurement
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.verif.tests.test_figures import routed_at, unemitted


def measured(area, clocks):
    """Return what replaces `measure`: an array's area, and a slowest clock for each seed."""

    def replaced(rtlil, top, folder, *, seeds, **options):
        runs = zip(seeds, clocks, strict=True)
        return Measurement(area, {seed: routed_at(400.0, mhz, 300.0) for seed, mhz in runs})

    return replaced


@pytest.fixture
def quiet(monkeypatch):
    """Leave elaboration out of benchmarks."""
    for module in (bench, bench_kv, bench_serial, bench_sparse, gates):
        monkeypatch.setattr(module, "emit", unemitted)


@pytest.mark.parametrize(
    ("case", "area", "clocks", "macs", "rate"),
    [
        ("lut", Area(26, 2816, 0, 9135, 0, 0), (213.0, 272.0, 253.0), 64, 2.86),
        ("plane", Area(1490, 448, 152, 8957, 0, 0), (252.0, 240.0, 252.0), 64, 4.89),
        ("plane_16", Area(2634, 896, 304, 18193, 0, 0), (226.0, 193.0, 233.0), 128, 4.63),
        ("plane_s3", Area(2013, 480, 152, 9765, 0, 0), (149.0, 157.0, 147.0), 64, 2.45),
        ("tmac", Area(3889, 203, 464, 11112, 0, 0), (160.0, 161.0, 160.0), 13.84, 0.31),
        ("dsp", Area(100, 50, 0, 7000, 64, 0), (200.0, 210.0, 220.0), 64, 67.2),
    ],
)
def test_throughput_of_the_arrays(quiet, monkeypatch, capsys, case, area, clocks, macs, rate):
    """Against the tables of docs/units/term.md and docs/units/systolic.md."""
    monkeypatch.setattr(bench, "measure", measured(area, clocks))
    bench.main([case], seeds=3, json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["macs_per_cycle"] == macs
    assert row["gmacs_per_klut"] == pytest.approx(rate, abs=0.011)
    assert row["mhz"] == sorted(clocks)[1]
    assert row["mhz_by_seed"] == {str(seed): mhz for seed, mhz in enumerate(clocks, 1)}
    cells = ("lut4", "ccu2c", "dpr16x4", "ff", "dsp")
    assert {cell: row[cell] for cell in cells} == {cell: getattr(area, cell) for cell in cells}
    assert row["lut4_equivalents"] == area.lut4_equivalents
    per_mac = area.lut4_equivalents / row["macs_per_cycle"]
    assert row["lut4_equivalents_per_mac"] == pytest.approx(per_mac, rel=2e-3)


@pytest.mark.parametrize(
    ("case", "area", "mhz", "rows"),
    [
        ("tables", Area(222, 984, 384, 7614, 0, 0), (232.5, 223.9, 236.0),
         {"W8A8": (8, 3.31), "W8A4": (4, 6.62)}),
        ("planes", Area(4198, 688, 64, 10965, 0, 0), (210.7, 187.5, 222.1),
         {"W8A8": (64, 0.57), "W4A4": (16, 2.26), "W2A2": (4, 9.05), "W1A1": (4, 9.05)}),
        ("digits", Area(6049, 3003, 96, 17903, 0, 0), (200.0, 200.0, 200.0),
         {"W8A8": (4, 2.03)}),
    ],
)  # fmt: skip
def test_throughput_of_the_serial_arrays(quiet, monkeypatch, case, area, mhz, rows):
    """Against the table of docs/units/serial.md; digits have four planes a tile."""
    monkeypatch.setattr(bench_serial, "measure", measured(area, mhz))
    found = bench_serial.rows_of(case, Path("build"), (1, 2, 3), "static", 4.0)
    by_operands = {row.operands: row for row in found}
    for operands, (passes, rate) in rows.items():
        row = by_operands[operands]
        assert row.passes == passes
        assert row.gmacs_per_klut == pytest.approx(rate, abs=0.011)
        assert (row.mhz_low, row.mhz, row.mhz_high) == tuple(sorted(mhz))
        assert (row.lut4_equivalents, row.ff) == (area.lut4_equivalents, area.ff)


def test_digits_are_counted_tile_by_tile():
    """Weights 7 and 8 are 8 - 1 and 8; a tile has as many planes as digits anywhere in it."""
    config = replace(bench_serial.CASES["digits"], rows=2, cols=1, encoding="naf")
    weights = np.array([[7, 0], [8, 0], [1, 0]])
    ((name, digits, planes, products),) = bench_serial.digit_counts(config, [("fc", weights, 5)])
    assert (name, products) == ("fc", 6 * 5)
    assert digits == pytest.approx((2 + 1 + 1) / 6)
    # Two tiles of the first column have 2 and 1 planes, those of the second none.
    held = [config.tile_digits(bench_serial.Serial(config).pack(np.array([[a], [b]])))
            for a, b in ((7, 8), (1, 0), (0, 0), (0, 0))]  # fmt: skip
    assert held[:2] == [2, 1]
    assert planes == pytest.approx(sum(held) / 4)


@pytest.mark.parametrize(
    ("family", "gmacs", "dense"),
    [("systolic", 16.70, 16.70), ("packed", 16.70, 66.82), ("nm", 16.70, 33.41)],
)
def test_throughput_of_sparse_engines(quiet, monkeypatch, capsys, family, gmacs, dense):
    """144 products a cycle at 116 MHz; packed stand for four times as many, 2:4 for twice."""
    area = Area(10_000, 500, 200, 9000, 148, 60)
    monkeypatch.setattr(bench_sparse, "measure", measured(area, (116.0, 120.04, 99.96)))
    bench_sparse.main([family], seeds=3, ratio=4, json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["gmacs"] == pytest.approx(gmacs, abs=0.006)
    assert row["dense_gmacs"] == pytest.approx(dense, abs=0.011)
    assert (row["mhz"], row["mhz_low"], row["mhz_high"]) == (116.0, 100.0, 120.0)
    assert row["lut4_equivalents"] == 10_000 + 1000 + 1200
    assert (row["ff"], row["dsp"], row["ram"]) == (9000, 148, 60)


def test_the_published_rule_packs_four_columns_into_one():
    assert pytest.approx(4.153, abs=0.001) == bench_sparse.FACE


def test_the_frame_is_the_whole_without_the_array(monkeypatch, capsys, tmp_path):
    """Each component has cells of its own number; equal ones count where they stand."""
    config = EngineConfig(datapath=SystolicConfig(rows=1, cols=1))
    counts = {}

    def mapped(tool, arguments, folder, *, log):
        text = (folder / "apart.rtl.il").read_text()
        apart = re.findall(r"^attribute \\keep_hierarchy 1\nmodule \\(\S+)$", text, re.M)
        counts.update({name: number for number, name in enumerate(["engine", *apart], 1)})
        modules = {
            name: {"cells": {str(i): {"type": "LUT4"} for i in range(number)}}
            for name, number in counts.items()
        }
        (folder / "apart.json").write_text(json.dumps({"modules": modules}))

    whole = Area(lut4=500, ccu2c=20, dpr16x4=3, ff=90, dsp=2, bram=4)
    monkeypatch.setattr(bench_frame, "run_wasm", mapped)
    monkeypatch.setattr(bench_frame, "absorb_output_registers", lambda netlist, module: None)
    monkeypatch.setattr(bench_frame, "synthesise", lambda *args: whole)
    monkeypatch.setattr(bench_frame, "ENGINES", {"small": config})
    bench_frame.main(tmp_path, json=True)
    rows = json.loads(capsys.readouterr().out)["small"]
    assert rows.keys() > {"output", "datapath", "act_buffer", "dispatcher", "accumulator"}
    assert rows["datapath"]["lut4"] == counts["engine_systolic_array"]
    assert rows["between"]["lut4"] == 1
    assert rows["whole"]["lut4_equivalents"] == 500 + 2 * 20 + 6 * 3
    array = rows["datapath"]["lut4"]
    assert rows["frame"] == rows["whole"] | {
        "lut4": 500 - array, "lut4_equivalents": 558 - array
    }  # fmt: skip


def test_area_and_clock_of_cache_controllers(quiet, monkeypatch, capsys, tmp_path):
    small, large = Area(10, 20, 30, 40, 0, 5), Area(100, 200, 300, 400, 0, 50)
    monkeypatch.setattr(bench_kv, "synthesise", lambda *args, **options: small)
    monkeypatch.setattr(bench_kv, "measure", measured(large, (110.0, 90.04, 130.0)))
    bench_kv.main([64, 128], heads=2, route=[128], seeds=3, output=tmp_path, json=True)
    assert json.loads(capsys.readouterr().out) == [
        {"slots": 64, "lut4": 10, "ccu2c": 20, "dpr16x4": 30, "ff": 40, "bram": 5, "mhz": []},
        {"slots": 128, "lut4": 100, "ccu2c": 200, "dpr16x4": 300, "ff": 400, "bram": 50,
         "mhz": [110.0, 90.0, 130.0]},
    ]  # fmt: skip
    bench_kv.main([128], heads=2, route=[128], seeds=3, output=tmp_path)
    assert "110.0 (90.0 to 130.0)" in "".join(capsys.readouterr())


class Gates(wiring.Component):
    """A NAND, an XOR and a flip-flop."""

    a: In(1)
    b: In(1)
    nand: Out(1)
    held: Out(1)

    def elaborate(self, platform):
        m = Module()
        held = Signal(reset_less=True)
        m.d.sync += held.eq(self.a ^ self.b)
        m.d.comb += [self.nand.eq(~(self.a & self.b)), self.held.eq(held)]
        return m


def test_gate_equivalents():
    """By transistors: a NAND 4, an XOR 12, a flip-flop 16."""
    everything, logic = gates.gate_equivalents(Gates(), "gates", Path("build/test/gates"))
    assert (everything, logic) == (1 + 3 + 4, 1 + 3)


def test_products_a_cycle_of_single_units(quiet, monkeypatch, capsys):
    """Against the tables of gate equivalents in docs/units/serial.md and docs/units/term.md."""

    def counted(component, name, folder):
        unemitted(component, name)
        return 1200.0, 600.0

    monkeypatch.setattr(gates, "gate_equivalents", counted)
    gates.main(json=True)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    macs = {
        "parallel": 1, "plane": 1, "tmac": 0.216, "serial_planes": 1 / 4, "serial_digits": 4,
        "serial_tables": 2, "serial_bit_mac": 1 / 20,
    }  # fmt: skip
    assert set(rows) == set(macs)
    for name, row in rows.items():
        assert row["macs"] == pytest.approx(macs[name], abs=0.001)
        assert row["per_mac"] == pytest.approx(1200 / macs[name], rel=0.01)
        assert row["logic_per_mac"] == pytest.approx(600 / macs[name], rel=0.01)
