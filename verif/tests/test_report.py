"""The report is one file, complete, and refuses broken input with one sentence."""

import json
import re
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from tilewright.gen.errors import ToolError
from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.job import JobResult, LayerResult
from tilewright.sw.report import ReportData, layer_rows, results_rows, write_report
from tilewright.sw.report.data import headlines
from tilewright.sw.report.floorplan import read_floorplan
from tilewright.sw.report.record import RECORD, WAVEFORM, BuildRecord, read_record, write_record
from tilewright.sw.report.vcd import read_vcd
from tilewright.verif.tests.test_cli import called

RESULT = JobResult(
    images=1000, float_accuracy=0.9871, golden_accuracy=0.9862, rtl_accuracy=0.9853, equal=True,
    cycles=7_654_321, predicted_cycles=7_654_321, batch=20, utilisation=0.4321, seconds=12.34,
    layers=(
        LayerResult(name="conv<1>", op="Conv", shape=(576, 25, 6), macs=86_400, cycles=1234.5,
                    utilisation=0.486),
        LayerResult(name="pool", op="MaxPool", shape=(144, 4, 6), macs=0, cycles=0.0,
                    utilisation=0.0),
        LayerResult(name="fc", op="Gemm", shape=(1, 400, 120), macs=48_000, cycles=987.6,
                    utilisation=0.3375),
    ),
)  # fmt: skip
ENGINE = EngineConfig(datapath=SystolicConfig(rows=12, cols=12))


@dataclass
class Build:
    """What the report reads of a build."""

    board: str = "ULX3S-85F"
    mhz: float = 140.0
    fmax: float = 151.7
    area: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(lut4_equivalents=7111, ff=6222, dsp=148, bram=33)
    )
    used: dict = field(default_factory=lambda: {"TRELLIS_COMB": 7333, "MULT18X18D": 148})
    available: dict = field(
        default_factory=lambda: {"TRELLIS_COMB": 83640, "MULT18X18D": 156, "DP16KD": 208}
    )


def floorplan(path):
    cells = {
        "core.datapath.array.row_0.pe_0.p_LUT4_Z": ("TRELLIS_COMB", "X10/Y20/SLICEA.LUT0"),
        "core.datapath.array.row_0.pe_0.mult": ("MULT18X18D", "X12/Y22/MULT18_0"),
        "core.act_buffer.bank_0": ("DP16KD", "X3/Y25/EBR0"),
        "unplaced": ("LUT4", ""),
    }
    made = {
        name: {"type": kind, "attributes": {"NEXTPNR_BEL": bel} if bel else {}}
        for name, (kind, bel) in cells.items()
    }
    path.write_text(json.dumps({"modules": {"top": {"cells": made}}}))
    return path


def waveform(path, *, result=True):
    lines = ["$timescale 1ns $end", "$scope module engine $end"]
    names = {"!": "clk", "a": "s_axis_cmd_tvalid", "b": "m_axis_y_tvalid", "c": "m_axis_y_tdata"}
    lines += [f"$var wire {64 if key == 'c' else 1} {key} {n} $end" for key, n in names.items()]
    lines += ["$upscope $end", "$enddefinitions $end", "#0", "$dumpvars", "0!", "0a", "xb", "bx c"]
    lines += ["$end"]
    for cycle in range(20):
        lines += [f"#{10 * cycle + 5}", "1!"]
        lines += ["1a", "0b"] if cycle == 3 else []
        lines += ["1b", "b10111010 c"] if cycle == 9 and result else []
        lines += [f"#{10 * cycle + 10}", "0!"]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    data = ReportData(
        name="lenet5", engine=ENGINE, result=RESULT, build=Build(),
        critical=("1.25 routing a > b",), floorplan=floorplan(folder / "routed.json"),
        waveform=waveform(folder / "dump.vcd"),
    )  # fmt: skip
    path = write_report(folder / "new" / "report.html", data)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def test_page_needs_no_network(page):
    assert not re.search(r"https?:|//\w+\.\w+|@import|<link|<script|<iframe", page)
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith(("#", "data:")) for source in sources)
    assert not re.search(r"url\((?!#|&quot;#)", page)


def test_page_has_every_number(page):
    for title, value in results_rows(RESULT, Build()):
        assert f'<td>{title}</td><td class="n">{value}</td>' in page
    for row in layer_rows(RESULT):
        for cell in row:
            assert cell.replace("<", "&lt;").replace(">", "&gt;") in page
    for text in ("98.71%", "98.62%", "98.53%", "7,654,321", "43.2%", "7,111", "6,222", "148", "33"):
        assert text in page
    assert "18,290" in page  # images per second at 140 MHz
    assert "19,819" in page  # and at 151.7 MHz
    assert "1.25 routing a &gt; b" in page
    assert "datapath.rows" in page


def test_headlines_come_first(page):
    first = page[: page.index("<h2>")]
    figures = re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", first)
    assert [value for _, value in figures] == [
        "98.53%", "yes", "7,654", "43.2%", "151.7 MHz", "18,290", "7,111", "148",
    ]  # fmt: skip
    assert "systolic, 12 lanes to 12 columns, W8A8, ULX3S-85F" in first
    assert "bad" not in first.partition("</style>")[2]


@pytest.mark.parametrize("change", [{"equal": False}, {"predicted_cycles": 1}])
def test_headlines_say_what_is_wrong(change):
    found = headlines(replace(RESULT, **change), Build(mhz=152.0))
    assert [(value, good) for value, _, good in found if not good] == [
        ("NO", False), ("151.7 MHz", False),
    ]  # fmt: skip
    assert len(headlines(RESULT)) == 4
    assert all(good for *_, good in headlines(RESULT, Build(mhz=151.7)))


def test_tables_fit_narrow_screens(page):
    """There a row of many columns becomes a list, each cell behind its column's title."""
    assert "@media (max-width: 44rem)" in page
    assert ".rows td::before { content: attr(data-title)" in page
    (table,) = re.findall(r'<table class="rows">(.*?)</table>', page, re.S)
    titles = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", table)
    for row in re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.S):
        assert re.findall(r'<td[^>]* data-title="(.*?)">', row) == titles
    assert set(re.findall(r"<table([^>]*)>", page)) == {' class="rows"', ' class="facts"'}


def test_figures_of_luts_are_explained(page):
    assert "LUT4-equivalents in the table count the netlist after synthesis" in page
    assert "LUT4 sites count what was placed" in page
    assert "LUTs are LUT4 sites" in page


def test_page_has_every_picture(page):
    titles = re.findall(r"<h2>(.*?)</h2>\n<figure>\n<svg", page)
    assert titles == ["Layers", "Roofline", "Resources", "Floorplan", "Waveform"]
    assert "7,333 of 83,640, 9%" in page
    assert "peak 144 MACs per cycle" in page
    assert "datapath: 2" in page
    assert ">ba<" in re.sub(r"\s", "", page)


def test_without_build_there_is_less(tmp_path):
    data = ReportData(name="x", engine=ENGINE, result=RESULT)
    page = write_report(tmp_path / "r.html", data).read_text(encoding="utf-8")
    assert "<h2>Resources" not in page
    assert "<h2>Roofline" in page
    assert len(results_rows(RESULT)) == len(results_rows(RESULT, Build())) - 10


def test_same_data_same_bytes(tmp_path):
    data = ReportData(name="x", engine=ENGINE, result=RESULT, build=Build())
    first = write_report(tmp_path / "a.html", data).read_bytes()
    assert write_report(tmp_path / "b.html", data).read_bytes() == first


@pytest.mark.parametrize(
    "text",
    ["", "hello", "$var wire 1 ! clk $end", "$enddefinitions $end\n#0\n?!", "\N{SNOWMAN}",
     "$scope module t $end $var wire 1 ! clk $end $enddefinitions $end #x"],
)  # fmt: skip
def test_broken_waveform_is_refused(tmp_path, text):
    path = tmp_path / "dump.vcd"
    path.write_text(text, encoding="utf-8")
    data = ReportData(name="x", engine=ENGINE, result=RESULT, waveform=path)
    with pytest.raises(ToolError, match=r"^the waveform .*dump\.vcd is not a valid VCD file$"):
        write_report(tmp_path / "r.html", data)
    assert not (tmp_path / "r.html").exists()


def test_waveform_without_the_engine_is_refused(tmp_path):
    path = tmp_path / "dump.vcd"
    path.write_text("$scope module t $end\n$upscope $end\n$enddefinitions $end\n#0\n")
    with pytest.raises(ToolError, match=r"has no signal clk$"):
        write_report(
            tmp_path / "r.html",
            ReportData(name="x", engine=ENGINE, result=RESULT, waveform=path),
        )
    with pytest.raises(ToolError, match=r"shows no result$"):
        write_report(
            tmp_path / "r.html",
            ReportData(
                name="x", engine=ENGINE, result=RESULT, waveform=waveform(path, result=False)
            ),
        )
    with pytest.raises(ToolError, match=r"cannot be read: No such file"):
        read_vcd(tmp_path / "none.vcd", bool)


def test_waveform_values(tmp_path):
    traces = {t.name: t for t in read_vcd(waveform(tmp_path / "d.vcd"), lambda name: True)}
    valid, data = traces["engine.m_axis_y_tvalid"], traces["engine.m_axis_y_tdata"]
    assert [valid.at(time) for time in (0, 34, 35, 95)] == [None, None, 0, 1]
    assert (data.width, data.at(94), data.at(95)) == (64, None, 0xBA)


def test_floorplan_of_cells(tmp_path):
    cells = read_floorplan(floorplan(tmp_path / "routed.json"))
    assert [(c.x, c.y, c.kind, c.part) for c in cells] == [
        (10, 20, "LUTs", "datapath"),
        (12, 22, "DSPs", "datapath"),
        (3, 25, "block RAMs", "buffers and readers"),
    ]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"modules": {"a": {"cells": {"b": {}}}}}'])
def test_broken_floorplan_is_refused(tmp_path, text):
    path = tmp_path / "routed.json"
    path.write_text(text)
    with pytest.raises(ToolError, match=r"^the floorplan .* is not a design written by nextpnr$"):
        read_floorplan(path)
    path.write_text('{"modules": {}}')
    with pytest.raises(ToolError, match=r"has no placed cells$"):
        read_floorplan(path)


def test_missing_package_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("tilewright.sw.report.html.find_spec", lambda name: None)
    data = ReportData(name="x", engine=ENGINE, result=RESULT)
    with pytest.raises(ToolError, match=r"^reports need jinja2: pip install '.*\[report\]'$"):
        write_report(tmp_path / "r.html", data)
    assert list(tmp_path.iterdir()) == []


def recorded(folder, *, built=True):
    """Leave the record of a run in ``folder``."""
    folder.mkdir(exist_ok=True)
    build = Build()
    build.bitstream, build.placement = folder / "board" / "engine.bit", folder / "placed.json"
    build.identical, build.critical = True, ["0.50 logic a > b"]
    floorplan(build.placement)
    waveform(folder / WAVEFORM)
    record = BuildRecord.of(build, folder) if built else None
    write_record(folder, "lenet5", ENGINE, RESULT, record)
    return record


def test_a_record_gives_back_what_was_measured(tmp_path):
    record = recorded(tmp_path)
    assert record.bitstream == "board/engine.bit"
    found = read_record(tmp_path)
    assert (found.name, found.engine, found.result) == ("lenet5", ENGINE, RESULT)
    assert found.build == record
    assert results_rows(found.result, found.build) == results_rows(RESULT, Build())
    assert (found.floorplan, found.waveform) == (tmp_path / "placed.json", tmp_path / WAVEFORM)


def test_a_report_from_a_record(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    recorded(folder)
    code, printed, _ = called(monkeypatch, capsys, "report", str(folder), "--json")
    assert code == 0
    page = (folder / "report.html").read_text()
    assert json.loads(printed)["bytes"] == len(page.encode())
    assert page.count("<svg") == 5
    recorded_only = tmp_path / "plain.html"
    recorded(folder, built=False)
    (folder / WAVEFORM).unlink()
    code, _, _ = called(monkeypatch, capsys, "report", str(folder), "-o", str(recorded_only))
    assert code == 0
    assert recorded_only.read_text().count("<svg") == 2


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"name": 1, "result": {}, "build": null}'])
def test_no_report_without_a_record(text, tmp_path, monkeypatch, capsys):
    if text is not None:
        (tmp_path / RECORD).write_text(text)
    code, _, told = called(monkeypatch, capsys, "report", str(tmp_path))
    assert code == 1
    assert told.count("\n") == 1
    assert "run.json" in told
    assert not (tmp_path / "report.html").exists()
