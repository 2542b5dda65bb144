"""What is too large for a part is refused before its synthesis, and what fits is not."""

import pytest

from tilewright.fpga import flow, measure
from tilewright.fpga.fit import check_fit, check_size, count_cells
from tilewright.fpga.flow import Part
from tilewright.gen import verilog
from tilewright.gen.configuration import configure
from tilewright.gen.registry import UNITS, families, load
from tilewright.hw.config import ConfigError
from tilewright.verif.tests.test_cli import called, simple

HELD = """
module \\leaf
  memory width 9 size 100 \\words
  cell $dff $1
    parameter \\WIDTH 7
    parameter \\CLK_POLARITY 1
    connect \\D \\d
  end
  cell $mul $2
    parameter \\A_WIDTH 8
    connect \\A \\a
    connect \\B \\b
  end
  cell $mul $3
    connect \\A \\a
    connect \\B 8'00000101
  end
end
module \\middle
  cell \\leaf \\one
  end
  cell \\leaf \\two
    connect \\clk \\clk
  end
  cell \\MULT18X18D \\product
    connect \\CLK0 \\clk
  end
  cell \\EHXPLLL \\pll
  end
  cell $sdffe $4
    parameter \\WIDTH 2
  end
end
module \\top
  cell \\middle \\a
  end
  cell \\middle \\b
  end
  cell \\leaf \\c
  end
end
module \\unused
  cell \\middle \\a
  end
end
"""


def test_cells_are_counted_through_the_hierarchy():
    counts = {name: count_cells(HELD, name) for name in ("leaf", "middle", "top")}
    assert counts["leaf"] == {"registers": 7, "multipliers": 1, "memory": 900}
    assert counts["middle"] == {"registers": 16, "multipliers": 3, "memory": 1800}
    assert [counts["top"][kind] for kind in ("registers", "multipliers", "memory")] == [39, 7, 4500]


def sized(registers=1, multipliers=0, memory=1):
    """Return a design of so many cells."""
    products = "".join(
        f"  cell \\MULT18X18D \\p{i}\n    connect \\A0 \\a\n  end\n" for i in range(multipliers)
    )
    return (
        f"module \\top\n  memory width 1 size {memory} \\m\n{products}"
        f"  cell $dff $1\n    parameter \\WIDTH {registers}\n  end\nend\n"
    )


@pytest.mark.parametrize(("cells", "said"), [
    ({"multipliers": 157}, "needs 157 DSPs, but a part has 156"),
    ({"registers": 125_462}, "needs about 83,641 flip-flops, but a part has 83,640"),
    ({"memory": 4_726_017}, "needs 4,726,017 bits of memory, but a part has 4,726,016"),
    ({"multipliers": 156, "registers": 125_461, "memory": 4_726_016}, ""),
])  # fmt: skip
def test_designs_larger_than_the_part_are_refused(cells, said, tmp_path, monkeypatch):
    if not said:
        check_size(sized(**cells), "top", Part(), "a part")
        return
    with pytest.raises(ConfigError, match=said):
        check_size(sized(**cells), "top", Part(), "a part")
    monkeypatch.setattr(measure, "synthesise", None)
    with pytest.raises(ConfigError, match=said.partition(",")[0]):
        measure.measure(sized(**cells), "top", tmp_path)
    assert not any(tmp_path.iterdir())


AT_ONCE = {
    "systolic": ("rows=40 cols=40", "needs 1,600 DSPs, but ulx3s-85f has 156"),
    "packed": ("rows=20 cols=20", "needs 400 DSPs"),
    "nm": ("rows=16 cols=10", "needs 160 DSPs"),
    "packed_chain": ("outputs=120", "DSPs, but"),
    "serial": ("rows=256 cols=256", "needs at least 262,144 flip-flops"),
    "kv": ("heads=64 slots=4096", "needs 6,291,456 bits of memory"),
    "kv_storage": ("rows=65536", "bits of memory, but ulx3s-85f has 4,726,016"),
    "engine": ("datapath.rows=13 datapath.cols=12 datapath.fabric=ecp5", "needs 158 DSPs"),
}


@pytest.mark.parametrize("unit", AT_ONCE)
def test_what_cannot_fit_is_said_at_once(unit, tmp_path, monkeypatch, capsys):
    fields, sentence = AT_ONCE[unit]
    monkeypatch.setattr(verilog, "emit", None)
    arguments = [word for field in fields.split() for word in ("-s", field)]
    target = tmp_path / "out"
    command = ["build", unit, *arguments, "--board", "ulx3s-85f", "-o", str(target)]
    code, printed, told = called(monkeypatch, capsys, *command)
    assert (code, printed) == (1, "")
    assert sentence in simple(told)
    assert not target.exists()


@pytest.mark.parametrize("unit", UNITS)
def test_what_cannot_fit_is_said_before_synthesis(unit, quick, tmp_path, monkeypatch, capsys):
    """A part that is too small for any preset."""
    small = {"DSPs": 999, "flip-flops": 1, "block RAMs": 999, "LUT4-equivalents": 99_999}
    monkeypatch.setattr(measure, "synthesise", None)
    monkeypatch.setattr(flow, "_CAPACITY", {"85k": small})
    preset = "tiny" if "tiny" in UNITS[unit].presets else "default"
    command = ["build", unit, "-p", preset, "-o", str(tmp_path / "out")]
    code, printed, told = called(monkeypatch, capsys, *command)
    assert (code, printed) == (1, "")
    assert "flip-flops, but the ECP5-85F has 1;" in simple(told)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def quick(monkeypatch):
    """Emit RTLIL only."""
    monkeypatch.setattr(verilog, "write_module", lambda *arguments: "")


def counted(name, config):
    return count_cells(verilog.emit(load(UNITS[name].component)(config), "top").rtlil, "top")


LEAST = {
    "systolic": "rows=12 cols=12 pe=lut",
    "serial": "rows=12 cols=12 pe=tables vectors=1",
    "packed": "rows=12 cols=12 alpha=1 pe=lut",
    "nm": "rows=12 cols=12 n=1 m=1 pe=bit_mac vectors=1",
    "term": "group=4 groups=4 cols=12 budget=1",
}


@pytest.mark.parametrize("name", families())
def test_every_cell_has_the_registers_that_are_counted_on(name, quick):
    """The least cells that there are: two bits, nothing in flight beside them; else a preset."""
    least = ["x_bits=2", "w_bits=2", *LEAST[name].split()] if name in LEAST else ()
    config = configure(name, settings=least)
    check_fit(config, Part(), "a part")
    cells = counted(name, config)
    assert cells["registers"] >= config.registers > 0
    if not least:
        return
    assert cells["multipliers"] == config.multipliers == 0


@pytest.mark.parametrize(("name", "preset"), [
    (name, preset) for name in ("systolic", "packed", "nm", "packed_chain", "kv", "kv_storage")
    for preset in UNITS[name].presets if preset not in ("default", "wide")
])  # fmt: skip
def test_configurations_count_their_multipliers_and_memory(name, preset, quick):
    config = configure(name, preset=preset)
    cells = counted(name, config)
    assert cells["multipliers"] == config.multipliers
    held = config.memory_bits
    assert held <= cells["memory"]
    assert held > cells["memory"] / 8 or name != "kv_storage" or config.memory == "wishbone"
