"""The manifest says what a module is, here one whose description was written by hand."""

import json
from types import SimpleNamespace

import pytest
import yaml
from amaranth.hdl import signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from tilewright import __version__
from tilewright.gen.configuration import configure
from tilewright.gen.fusesoc import core_file
from tilewright.gen.manifest import bit_fields, manifest
from tilewright.gen.registry import UNITS
from tilewright.hw.bus.axi_stream import AxiStreamTop
from tilewright.hw.lib.component import Component

INNER = data.StructLayout({"low": 3, "high": signed(5)})
BEAT = data.StructLayout({"last": 1, "head": INNER, "many": data.ArrayLayout(signed(4), 3)})
FIELDS = [
    {"name": "last", "lsb": 0, "width": 1, "signed": False},
    {"name": "head.low", "lsb": 1, "width": 3, "signed": False},
    {"name": "head.high", "lsb": 4, "width": 5, "signed": True},
    {"name": "many", "lsb": 9, "width": 12, "elements": 3, "stride": 4, "signed": True},
]


class Top(AxiStreamTop):
    """A module that does nothing.

    Latency
        Three cycles.
    Throughput
        One a cycle.
    Numerics
        None.
    Reference
        None.
    """

    def __init__(self):
        self.axi_streams = (
            SimpleNamespace(name="s_axis_x", role="sink", signals=("tdata", "tvalid"),
                            payload=BEAT, last="end of a packet", keep_bytes=2),
            SimpleNamespace(name="m_axis_y", role="source", signals=("tdata",),
                            payload=signed(9), last="", keep_bytes=0),
        )  # fmt: skip
        self.inner = self
        Component.__init__(self, {
            "s_axis_x_tdata": In(24), "s_axis_x_tvalid": In(1), "s_axi_awaddr": In(8),
            "plain": Out(signed(7)), "enable": In(1), "record": Out(INNER), "other_tdata": Out(8),
        })  # fmt: skip
        self._MustUse__silence = True


@pytest.fixture(scope="module")
def said():
    return json.loads(manifest("requantise", "mine", configure("requantise"), Top()))


def test_clock_and_reset(said):
    assert (said["name"], said["unit"]) == ("mine", "requantise")
    assert said["clock"] == {"port": "clk", "edge": "rising"}
    assert said["reset"]["port"] == "rst"
    assert (said["reset"]["active"], said["reset"]["synchronous"]) == ("high", True)
    assert said["behaviour"]["latency"] == "Three cycles."


def test_what_is_known_of_the_unit(said):
    config, row = configure("requantise"), UNITS["requantise"]
    assert said["latency"] == config.latency > 0
    assert (said["maturity"], said["cycles"]) == (row.maturity, row.cycles)
    assert (said["version"], said["summary"]) == (__version__, "A module that does nothing.")
    assert said["configuration"]["acc_width"] == config.acc_width
    assert said["derived"]["latency"] == config.latency


def test_ports(said):
    ports = {port.pop("name"): port for port in said["ports"]}
    assert ports == {
        "clk": {"direction": "input", "width": 1, "role": "clock"},
        "rst": {"direction": "input", "width": 1, "role": "synchronous reset"},
        "s_axis_x_tdata": {"direction": "input", "width": 24, "role": "tdata of s_axis_x"},
        "s_axis_x_tvalid": {"direction": "input", "width": 1, "role": "tvalid of s_axis_x"},
        "s_axi_awaddr": {"direction": "input", "width": 8, "role": "AXI4-Lite awaddr"},
        "plain": {"direction": "output", "width": 7},
        "enable": {"direction": "input", "width": 1},
        "record": {"direction": "output", "width": 8, "layout": [
            {"name": "low", "lsb": 0, "width": 3, "signed": False},
            {"name": "high", "lsb": 3, "width": 5, "signed": True},
        ]},
        "other_tdata": {"direction": "output", "width": 8},
    }  # fmt: skip


def test_streams(said):
    x, y = said["streams"]["s_axis_x"], said["streams"]["m_axis_y"]
    assert (x["role"], x["signals"], x["tdata_bits"]) == ("sink", ["tdata", "tvalid"], 21)
    assert x["tdata"] == FIELDS
    assert (x["tlast"], x["bytes_per_lane"]) == ("end of a packet", 2)
    assert (y["role"], y["tdata_bits"]) == ("source", 9)
    assert y["tdata"] == [{"name": "value", "lsb": 0, "width": 9, "signed": True}]
    assert "tlast" not in y
    assert "bytes_per_lane" not in y


def test_arrays_of_records_say_what_an_element_is():
    (field,) = bit_fields(data.ArrayLayout(INNER, 2), "pair", 10)
    assert (field["lsb"], field["width"], field["elements"], field["stride"]) == (10, 16, 2, 8)
    assert [part["lsb"] for part in field["element"]] == [0, 3]
    assert bit_fields(0) == []


def test_the_core_of_a_design():
    """What FuseSoC is told: the module that is top, plain Verilog, the area that we quote."""
    text = core_file("mine", 'Says "no" to C:\\x')
    core = yaml.safe_load(text)
    assert text.startswith("CAPI=2:\n")
    assert core["name"].startswith("::mine:")
    assert core["description"] == 'Says "no" to C:\\x'
    assert core["filesets"]["rtl"] == {"files": ["mine.v"], "file_type": "verilogSource-2005"}
    targets = core["targets"]
    assert {target["toplevel"] for target in targets.values()} == {"mine"}
    assert {name: target.get("flow") for name, target in targets.items()} == {
        "default": None, "lint": "lint", "sim": "sim", "ecp5": "trellis",
    }  # fmt: skip
    assert targets["sim"]["flow_options"]["iverilog_options"] == ["-g2005"]
    assert targets["lint"]["flow_options"]["tool"] == "verilator"
    assert targets["ecp5"]["flow_options"] == {
        "pnr": "none", "yosys_synth_options": ["-nowidelut"]
    }  # fmt: skip
