"""Tables and pictures of reports: every number against one worked out by hand."""

import json
from dataclasses import replace

import pytest

from tilewright.hw.engine.config import EngineConfig
from tilewright.hw.systolic.config import SystolicConfig
from tilewright.sw.job import LayerResult
from tilewright.sw.report import (
    ReportData,
    comparison,
    figures,
    images_per_second,
    layer_rows,
    results_rows,
)
from tilewright.sw.report.comparison import COMPARISON_TITLES, Compared, comparison_rows
from tilewright.sw.report.floorplan import Placed, read_floorplan
from tilewright.sw.report.labels import place_labels
from tilewright.sw.report.record import CellRecord
from tilewright.sw.report.vcd import Trace
from tilewright.sw.report.waveform import busiest, draw_transfers, draw_waveform
from tilewright.verif.tests.test_report import RESULT, Build, floorplan, waveform

BUILD = Build(
    mhz=160.0, fmax=151.75,
    area=CellRecord(lut4_equivalents=11_893, ff=18_927, dsp=152, bram=100),
    used={"TRELLIS_COMB": 20_910, "TRELLIS_RAMW": 0, "DP16KD": 52},
    available={"TRELLIS_COMB": 83_640, "TRELLIS_RAMW": 10_455, "DP16KD": 208},
)  # fmt: skip


def test_every_row_of_the_results():
    # 1,000 images in 7,654,321 cycles: 7,654.3 each; at 151.75 MHz 19,825.4 a second.
    rows = dict(results_rows(replace(RESULT, equal=False, predicted_cycles=7_654_320), BUILD))
    expected = {
        "test images": "1,000",
        "accuracy, float": "98.71%",
        "accuracy, golden model": "98.62%",
        "accuracy, RTL": "98.53%",
        "outputs of RTL and golden model equal": "NO",
        "images per pass": "20",
        "cycles": "7,654,321",
        "cycles predicted": "7,654,320",
        "cycles per image": "7,654.3",
        "utilisation": "43.2%",
        "seconds of simulation": "12.3",
        "board": "ULX3S-85F",
        "clock asked, MHz": "160.0",
        "clock routed, MHz": "151.8",
        "clock constraint met": "NO",
        "images per second at the clock asked": "20,903",
        "images per second at the routed clock": "19,825",
        "LUT4-equivalents": "11,893",
        "flip-flops": "18,927",
        "DSPs": "152",
        "block RAMs": "100",
    }
    assert {name: rows.get(name) for name in expected} == expected


@pytest.mark.parametrize(("fmax", "met"), [(160.0, "yes"), (159.99, "NO"), (161.0, "yes")])
def test_the_clock_is_met_or_not(fmax, met):
    rows = dict(results_rows(RESULT, replace(BUILD, fmax=fmax)))
    assert rows["clock constraint met"] == met
    assert rows["outputs of RTL and golden model equal"] == "yes"


def test_images_per_second():
    assert images_per_second(replace(RESULT, images=3, cycles=600), 50.0) == 250_000


def test_every_row_of_the_layers():
    assert layer_rows(RESULT) == [
        ("conv<1>", "Conv", "576 x 25 x 6", "86,400", "1,234.5", "48.6%"),
        ("pool", "MaxPool", "144 x 4 x 6", "0", "0.0", "0.0%"),
        ("fc", "Gemm", "1 x 400 x 120", "48,000", "987.6", "33.8%"),
    ]


COMPARED = (
    Compared(datapath="systolic", result=RESULT, build=BUILD),
    Compared(datapath="term", result=replace(RESULT, rtl_accuracy=0.5, cycles=16_000_000)),
)


def test_every_row_of_a_comparison():
    systolic, term = (
        dict(zip(COMPARISON_TITLES, row, strict=True)) for row in comparison_rows(COMPARED)
    )
    assert systolic == {
        "datapath": "systolic", "accuracy, float": "98.71%", "golden": "98.62%", "RTL": "98.53%",
        "cycles per image": "7,654", "utilisation": "43.2%", "LUT4-eq": "11,893", "FF": "18,927",
        "DSP": "152", "BRAM": "100", "MHz": "151.8", "images/s": "19,825",
    }  # fmt: skip
    assert (term["RTL"], term["cycles per image"]) == ("50.00%", "16,000")
    assert {term[title] for title in COMPARISON_TITLES[6:]} == {"-"}


# Pictures: what was drawn, before it became SVG


@pytest.fixture
def drawn(monkeypatch):
    """Keep the axes of pictures, by name."""
    from matplotlib.figure import Figure

    kept = {}

    def keep(salt, size, draw, **options):
        figure = Figure()
        draw(figure)
        kept[salt] = figure.axes
        return ""

    monkeypatch.setattr(figures, "render", keep)
    monkeypatch.setattr("tilewright.sw.report.waveform.render", keep)
    return kept


def bars(axes):
    return [bar.get_width() for bar in axes.patches]


def labels(axes):
    return [text.get_text() for text in axes.texts]


def test_bars_of_the_layers(drawn):
    figures.draw_layers(RESULT)
    cycles, shares = drawn["layers"]
    assert bars(cycles) == [1234.5, 0, 987.6]
    assert bars(shares) == pytest.approx([48.6, 0, 33.75])
    assert labels(cycles) == ["1,234", "0", "988"]
    assert labels(shares) == ["48.6 %", "0.0 %", "33.8 %"]
    assert [text.get_text() for text in cycles.get_yticklabels()][0] == "conv<1> (Conv)"


def test_points_and_limits_of_the_roofline(drawn):
    """An array of 4 x 6 and beats of 6 weights of 8 bits: 24 MACs and 6 bytes a cycle."""
    engine = EngineConfig(datapath=SystolicConfig(rows=4, cols=6))
    assert engine.datapath.weight_beat_bits == 48
    layers = (
        LayerResult(name="a", op="Gemm", shape=(1, 10, 12), macs=120, cycles=8.0, utilisation=0),
        LayerResult(name="none", op="MaxPool", shape=(1, 4, 6), macs=0, cycles=0, utilisation=0),
        LayerResult(name="move", op="MaxPool", shape=(1, 4, 6), macs=0, cycles=9, utilisation=0),
    )
    figures.draw_roofline(replace(RESULT, batch=20, images=5, layers=layers), engine)
    (axes,) = drawn["roofline"]
    limits, *points = axes.lines
    # 120 bytes of weights serve the five images of a pass: 24 bytes an image.
    assert [(list(p.get_xdata()), list(p.get_ydata())) for p in points] == [([5.0], [15.0])]
    assert list(limits.get_xdata()) == [1.0, 4.0, 20.0]  # a quarter of the knee, to 4 times 5
    assert list(limits.get_ydata()) == [6.0, 24, 24]
    assert any("24 MACs per cycle" in text for text in labels(axes))
    assert any("6 bytes per cycle" in text for text in labels(axes))


def crowd(count):
    """Return points of which most lie on each other."""
    return [(10.0 + i % 3, 5.0 * 1.01 ** (i // 3), f"layer_{i}") for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_labels_are_over_nothing(count):
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    axes = Figure(figsize=(6.5, 4)).subplots()
    axes.plot([1, 10, 1000], [1, 10, 10])
    points = crowd(count)
    for x, y, _ in points:
        axes.plot(x, y, "o")
    axes.annotate("a limit", (10, 10), (0, 4), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlim=(1, 1000), ylim=(0.5, 20))
    place_labels(axes, points)
    assert sorted(labels(axes)[1:]) == sorted(name for _, _, name in points)
    written = [Text.get_window_extent(text) for text in axes.texts]
    for i, box in enumerate(written):
        assert not box.count_overlaps(written[:i])
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1
        for x, y, _ in points if i else ():
            assert not box.contains(*axes.transData.transform((x, y)))


def test_the_nearest_room_is_taken():
    """A name stands right of its point; where that is taken, left; a line leads to far ones."""
    from matplotlib.figure import Figure

    axes = Figure(figsize=(6.5, 4)).subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    axes.plot([5, 2], [5, 2], "o", linestyle="")
    place_labels(axes, [(5, 5, "alone"), (2, 2, "first"), (2, 2, "second"), (2, 2, "third")])
    at = {text.get_text(): text.get_position() for text in axes.texts}
    assert at["alone"] == (7, 0)
    assert at["first"] == (7, 0)
    assert at["second"][0] < -7
    assert at["third"][1] > 7
    shown = {text.get_text(): text.arrow_patch.get_visible() for text in axes.texts}
    assert shown == {"alone": False, "first": False, "second": False, "third": False}
    place_labels(axes, [(5, 5, f"more {i}") for i in range(12)])
    assert [text.arrow_patch.get_visible() for text in axes.texts[4:]].count(True) > 2


def test_shares_of_the_part(drawn):
    figures.draw_resources(BUILD)
    (axes,) = drawn["resources"]
    assert bars(axes) == [100, 100, 25, 25]
    assert labels(axes) == ["20,910 of 83,640, 25%", "52 of 208, 25%"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["LUT4 site", "block RAM"]


def test_bars_of_a_comparison(drawn):
    comparison._draw([COMPARED[0], replace(COMPARED[1], build=replace(BUILD, fmax=50.0))])
    shown = {axes.get_title(): (bars(axes), labels(axes)) for axes in drawn["bars"]}
    assert shown["accuracy, RTL"] == ([0.9853, 0.5], ["98.53%", "50.00%"])
    assert shown["cycles per image"] == ([7654.321, 16000], ["7,654", "16,000"])
    assert shown["LUT4-equivalents"] == ([11_893] * 2, ["11,893"] * 2)
    assert shown["MHz, routed"] == ([151.75, 50], ["152", "50"])
    # 16,000 cycles at 50 MHz.
    assert shown["images per second"][0] == pytest.approx([19_825.4, 3125], abs=0.1)
    comparison._draw(COMPARED)
    assert len(drawn["bars"]) == 2


def test_points_of_a_trade(drawn):
    points = [(1, 2, "x", True), (3, 4, "x", False), (5, 6, "y", False)]
    figures.draw_trade(points, ("cost", "gain"))
    (axes,) = drawn["trade"]
    shown = [(*zip(p.get_xdata(), p.get_ydata(), strict=True), p.get_fillstyle())
             for p in axes.lines if len(p.get_xdata())]  # fmt: skip
    assert shown == [((3, 4), "none"), ((1, 2), "full"), ((5, 6), "none")]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("cost", "gain")


def test_tiles_of_the_floorplan(drawn, tmp_path):
    figures.draw_floorplan(read_floorplan(floorplan(tmp_path / "routed.json")))
    by_part, by_kind = drawn["floorplan"]
    image = by_part.images[0].get_array()
    assert image.shape[:2] == (26, 13)
    coloured = [(x, y) for y in range(26) for x in range(13) if tuple(image[y][x]) != (1, 1, 1)]
    assert coloured == [(10, 20), (12, 22), (3, 25)]
    texts = [text.get_text() for text in by_part.get_legend().get_texts()]
    assert texts == ["datapath: 2", "buffers and readers: 1"]
    assert len(by_kind.get_legend().get_texts()) == 3


def test_every_part_of_an_engine_has_its_name(tmp_path):
    parts = {
        "datapath": "datapath", "act_buffer": "buffers and readers",
        "act_reader": "buffers and readers", "weight_reader": "buffers and readers",
        "accumulator": "accumulators", "output": "output stage", "load_x": "loaders",
        "load_w": "loaders",
        "dispatcher": "control", "registers": "control", "host": "serial host", "bridge": "other",
    }  # fmt: skip
    kinds = {
        "TRELLIS_COMB": "LUTs", "TRELLIS_SLICE": "LUTs", "TRELLIS_RAMW": "distributed RAM",
        "TRELLIS_FF": "flip-flops", "MULT18X18D": "DSPs", "ALU54B": "DSPs", "DP16KD": "block RAMs",
        "EHXPLLL": "other",
    }  # fmt: skip
    cells = {f"engine.core.{part}.cell$1": "TRELLIS_FF" for part in parts}
    cells |= {f"pin {kind}": kind for kind in kinds}
    cells["engine.core.output.registers.cell"] = "EHXPLLL"
    place = {"NEXTPNR_BEL": "X1/Y2/BEL"}
    made = {name: {"type": kind, "attributes": place} for name, kind in cells.items()}
    path = tmp_path / "placed.json"
    path.write_text(json.dumps({"modules": {"top": {"cells": made}}}))
    found = read_floorplan(path)
    others = ["other"] * len(kinds)
    assert [cell.part for cell in found] == [*parts.values(), *others, "output stage"]
    assert [cell.kind for cell in found[len(parts) : -1]] == list(kinds.values())


def test_numbers_of_the_array_are_told_in_their_order():
    array = SystolicConfig(rows=12, cols=10, w_bits=2, x_bits=4)
    told = ReportData(name="x", engine=EngineConfig(datapath=array), result=RESULT).subtitle
    assert told == "systolic, 12 lanes to 10 columns, W2A4"


def test_signals_are_unknown_before_their_first_change():
    assert [Trace("t", 1, [5, 9], [1, 0]).at(time) for time in (4, 5, 8, 9)] == [None, 1, 1, 0]


def test_the_most_frequent_kind_colours_a_tile(drawn):
    figures.draw_floorplan([Placed(0, 0, kind, "x") for kind in ("LUTs", "DSPs", "DSPs")])
    by_kind = drawn["floorplan"][1]
    first, _ = by_kind.get_legend().get_patches()
    shown = list(by_kind.images[0].get_array()[0][0])
    full = 0.45 + 3 / 16
    assert shown == pytest.approx([1 - full * (1 - part) for part in first.get_facecolor()[:3]])


@pytest.mark.parametrize(("moves", "length", "start"), [
    (["1111100000", "0000011111"], 4, 3),  # both, two beats each
    (["1111100000", "0000011111"], 2, 4),
    (["1111100000", "0000000001", "0000100000"], 6, 4),  # all three, where one alone is better
    (["0001000000", []], 3, 1),  # a stream that was not recorded; the first of several places
    (["1111", "0001"], 9, 0),  # fewer cycles than fit
    (["0000", "0000"], 2, 0),
    (["0000000111"], 3, 7),  # the last window of all
])  # fmt: skip
def test_the_window_in_which_most_streams_move(moves, length, start):
    assert busiest([[bit == "1" for bit in stream] for stream in moves], length) == start


def test_the_waveform_shows_streams_at_work(drawn, tmp_path):
    """Of 300 cycles both streams move only about the 200th; what is not transferred is grey."""
    lines = ["$timescale 1ns $end", "$scope module engine $end"]
    names = {"!": "clk", "a": "s_axis_cmd_tvalid", "r": "s_axis_cmd_tready",
             "d": "s_axis_cmd_tdata", "b": "m_axis_y_tvalid"}  # fmt: skip
    lines += [f"$var wire {4 if key == 'd' else 1} {key} {n} $end" for key, n in names.items()]
    lines += ["$upscope $end", "$enddefinitions $end", "#0", "0!", "1a", "0r", "0b", "b0 d"]
    for cycle in range(300):
        on = {5: "1r", 40: "0r", 198: "1r", 203: "0r", 200: "1b", 202: "0b"}.get(cycle)
        lines += [f"#{10 * cycle + 5}", "1!", *([on] if on else []), f"b{cycle % 16:b} d"]
        lines += [f"#{10 * cycle + 10}", "0!"]
    (tmp_path / "dump.vcd").write_text("\n".join(lines) + "\n")
    draw_waveform(tmp_path / "dump.vcd")
    (axes,) = drawn["waveform"]
    names = [text.get_text() for text in axes.get_yticklabels()]
    (ready,) = [axes.lines[i] for i, name in enumerate(n for n in names if not n.endswith("data"))
                if name == "s_axis_cmd_tready"]  # fmt: skip
    levels = [names.index("s_axis_cmd_tready") + 0.8 - y for y in ready.get_ydata()[:-1]]
    assert sum(map(round, levels)) == 5  # those of the second time alone
    # Sampled before the edge, the values of the cycle before: 198 to 202 are transferred.
    assert labels(axes) == ["6", "7", "8", "9", "a"]


def test_values_of_the_waveform(drawn, tmp_path):
    """Sampled right before rising edges: command valid from cycle 4 on, the result from 10 on."""
    draw_waveform(waveform(tmp_path / "dump.vcd"))
    (axes,) = drawn["waveform"]
    names = [text.get_text() for text in axes.get_yticklabels()]
    row = names.index("s_axis_cmd_tvalid")
    (line,) = [line for line in axes.lines if row <= min(line.get_ydata()) < row + 1]
    levels = list(line.get_ydata())
    assert [level < row + 0.4 for level in levels[:6]] == [False] * 4 + [True] * 2
    assert "ba" in labels(axes)


def test_transfers_and_waits_of_a_run(drawn, tmp_path):
    """Commands wait in cycles 2 to 3, move in 4 and 5, wait in 7; results move in 8, wait in 9."""
    outer = {"a": "s_axis_cmd_tvalid", "b": "s_axis_cmd_tready",
             "c": "m_axis_y_tvalid", "d": "m_axis_y_tready"}  # fmt: skip
    lines = ["$timescale 1ns $end", "$scope module engine $end", "$var wire 1 ! clk $end"]
    lines += ["$scope module core $end", "$var wire 1 x s_axis_cmd_tvalid $end", "$upscope $end"]
    lines += [f"$var wire 1 {key} {name} $end" for key, name in outer.items()]
    lines += ["$scope module last $end", "$var wire 1 y m_axis_y_tvalid $end", "$upscope $end"]
    lines += ["$upscope $end", "$enddefinitions $end", "#0", "0x", "1y"]
    bits = {"a": "0011110100", "b": "1100111010", "c": "0000000011", "d": "1111111110"}
    for cycle in range(10):
        lines += [f"#{10 * cycle}", "0!", *(f"{bits[key][cycle]}{key}" for key in bits)]
        lines += [f"#{10 * cycle + 5}", "1!"]
    (tmp_path / "dump.vcd").write_text("\n".join(lines) + "\n")
    draw_transfers(tmp_path / "dump.vcd")
    (axes,) = drawn["transfers"]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert axes.yaxis_inverted(), "the first stream is the uppermost"
    legend = axes.get_legend()
    kinds = {
        patch.get_facecolor(): text.get_text()
        for patch, text in zip(legend.get_patches(), legend.get_texts(), strict=True)
    }
    shown = {
        (names[int(y0)], kinds[tuple(bars.get_facecolor()[0])], int(x0), int(x1))
        for bars in axes.collections
        for path in bars.get_paths()
        for (x0, y0), (x1, _) in [(path.vertices.min(axis=0), path.vertices.max(axis=0))]
    }
    assert shown == {
        ("commands", "it waits", 2, 4), ("commands", "a beat moves", 4, 6),
        ("commands", "it waits", 7, 8),
        ("results", "a beat moves", 8, 9), ("results", "it waits", 9, 10),
    }  # fmt: skip
