"""Comparing datapaths and sweeping over sizes: what is shown, what is kept, what is refused."""

import json
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tilewright.fpga.estimate import estimate_area
from tilewright.hw.config import ConfigError
from tilewright.sw import explore as sweep
from tilewright.sw.explore import Candidate, Space, explore, read_choices
from tilewright.sw.job import JobEstimate, families_of
from tilewright.sw.lower.layers import MappingError
from tilewright.verif.tests.test_cli import called, refused, tilewright

journal = pytest.importorskip("tilewright.sw.journal", exc_type=ImportError)
JOURNAL = journal.JOURNAL
LENET = Path("examples/lenet5")
SPACE = Space(
    datapaths=("systolic", "term"),
    choices={"datapath.rows": ("4", "8"), "datapath.cols": ("4", "257")},
)
TWO = Space(datapaths=("systolic",), choices={"datapath.rows": ("4", "8")})


def cells(engine):
    """Return a cost that can be worked out by hand."""
    d = engine.datapath
    return {"lut4_equivalents": 10 * d.act_lanes * d.cols, "dsps": 0}


def sweep_of(space, folder, **options):
    return explore(LENET, space, folder, area=cells, **options)


@pytest.fixture
def estimates(monkeypatch):
    """Replace the models by a formula; return what was asked for."""
    asked = []

    def estimate(job, *, images=None):
        d = job.engine.datapath
        asked.append((d.family, d.act_lanes, d.cols))
        return JobEstimate(
            images=10, float_accuracy=1, golden_accuracy=0.9,
            cycles=64_000 // (d.act_lanes * d.cols), utilisation=1,
        )  # fmt: skip

    monkeypatch.setattr(sweep, "estimate_job", estimate)
    return asked


def test_a_sweep_tries_each_point_once_and_goes_on(tmp_path, estimates):
    begun = sweep_of(SPACE, tmp_path, trials=2)
    assert len(begun) == 2
    found = sweep_of(SPACE, tmp_path)
    assert found[:2] == [one for one in found if one.point in [b.point for b in begun]]
    points = [tuple(one.point.values()) for one in found]
    assert sorted(points) == [
        ("systolic", "4", "257"), ("systolic", "4", "4"), ("systolic", "8", "257"),
        ("systolic", "8", "4"), ("term", "257"), ("term", "4"),
    ]  # fmt: skip
    refusals = {one.point["datapath.cols"] for one in found if one.refused}
    assert refusals == {"257"}
    assert sorted(estimates) == [("systolic", 4, 4), ("systolic", 8, 4), ("term", 8, 4)]
    sweep_of(SPACE, tmp_path)
    assert len(estimates) == 3


def test_a_point_that_was_cut_short_is_done_again(tmp_path, estimates, monkeypatch):
    space = Space(datapaths=("systolic",), choices={"datapath.rows": ("4", "8")})
    formula = sweep.estimate_job

    def stop(job, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "estimate_job", stop)
    with pytest.raises(KeyboardInterrupt):
        sweep_of(space, tmp_path)
    monkeypatch.setattr(sweep, "estimate_job", formula)
    assert len(sweep_of(space, tmp_path)) == 2


def test_points_of_others_are_left_to_them(tmp_path, estimates, monkeypatch):
    """A second worker that joins while the first is at its first point takes the other."""
    formula, begun, go, said = sweep.estimate_job, threading.Event(), threading.Event(), []

    def slow(job, **options):
        begun.set()
        go.wait()
        return formula(job, **options)

    def say(text):
        said.append(text)
        if "waiting" in text:
            go.set()

    monkeypatch.setattr(sweep, "estimate_job", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sweep_of, TWO, tmp_path)
        begun.wait()
        monkeypatch.setattr(sweep, "estimate_job", formula)
        second = sweep_of(TWO, tmp_path, say=say)
        assert len(first.result()) == len(second) == 2
    assert len(estimates) == 2
    assert said[-1] == "waiting for the points that are left, which others are at work on"
    assert [path.name for path in tmp_path.iterdir()] == [JOURNAL]


def test_points_of_the_dead_are_free_within_seconds(tmp_path, estimates, monkeypatch):
    """A worker that was killed leaves its file and its claim, and nobody waits long for it."""
    assert journal._BEAT_SECONDS <= journal._DEAD_SECONDS / 4 <= 2.5
    monkeypatch.setattr(journal, "_DEAD_SECONDS", 3)
    sweep_of(TWO, tmp_path, trials=1)
    code = (
        "from tilewright.verif.tests import test_sweeps as t; import time\n"
        "def sleep(job, **options):\n    print('begun', flush=True); time.sleep(99)\n"
        "t.sweep.estimate_job = sleep\n"
        f"t.sweep_of(t.TWO, t.Path({str(tmp_path)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert len(list(tmp_path.glob("worker-*"))) == 1
    start = time.monotonic()
    assert len(sweep_of(TWO, tmp_path)) == 2
    assert time.monotonic() - start < 10
    assert [path.name for path in tmp_path.iterdir()] == [JOURNAL]


def test_workers_that_live_are_waited_for(tmp_path, estimates, monkeypatch):
    """A worker is alive as long as its file is touched, however long its point takes."""
    monkeypatch.setattr(journal, "_BEAT_SECONDS", 0.1)
    monkeypatch.setattr(journal, "_DEAD_SECONDS", 0.5)
    formula, begun = sweep.estimate_job, threading.Event()

    def slow(job, **options):
        begun.set()
        time.sleep(1.5)
        return formula(job, **options)

    monkeypatch.setattr(sweep, "estimate_job", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(sweep_of, TWO, tmp_path)
        begun.wait()
        sweep_of(TWO, tmp_path)
        first.result()
    assert len(estimates) == 2


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        (lambda lines: [*lines[:-1], lines[-1][: len(lines[-1]) // 2]], 0),
        (lambda lines: [*lines, b"{"], 0),
        (lambda lines: [*lines, b"\0" * 100], 0),
        (lambda lines: [*lines, b"\xff\xfe\n", b"[]\n", b"{}\n", b"7\n", b"\n"], 0),
        (lambda lines: [b"damaged\n", *lines[1:]], 0),
        (lambda lines: [line[:-9] if b"candidate" in line else line for line in lines], 4),
        (lambda lines: [line.replace(b'"peak":16', b'"peak":61') for line in lines], 1),
        (lambda lines: [line for line in lines if b"claim" not in line], 0),
        (lambda lines: [], 4),
    ],
    ids=["cut", "begun", "zeros", "junk", "no head", "no ends", "changed", "no claims", "empty"],
)
def test_whole_lines_of_a_damaged_journal_count(tmp_path, estimates, damage, lost):
    space = Space(
        datapaths=("systolic",),
        choices={"datapath.rows": ("4", "8"), "datapath.cols": ("4", "8")},
    )
    found = sweep_of(space, tmp_path)
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join(damage(lines)))
    for _ in range(2):
        again = sweep_of(space, tmp_path)
        assert sorted(again, key=repr) == sorted(found, key=repr)
        assert len(estimates) == 4 + lost
    with pytest.raises(ConfigError, match="belongs to another model or other options"):
        sweep_of(space, tmp_path, images=7)


def test_a_worker_goes_on_behind_a_line_that_is_cut(tmp_path, estimates, monkeypatch):
    """Another that dies while it writes does not spoil what this one writes next."""
    formula = sweep.estimate_job

    def cut(job, **options):
        with (tmp_path / JOURNAL).open("ab") as file:
            file.write(b'{"op_code":')
        return formula(job, **options)

    monkeypatch.setattr(sweep, "estimate_job", cut)
    assert len(sweep_of(TWO, tmp_path)) == 2
    assert len(sweep_of(TWO, tmp_path)) == len(estimates) == 2


@pytest.mark.parametrize("made", [True, False])
def test_a_sweep_in_which_all_is_refused(tmp_path, monkeypatch, capsys, made):
    def refuse(job, **options):
        raise MappingError("it is too wide")

    monkeypatch.setattr(sweep, "estimate_job", refuse)
    target = tmp_path / "out"
    if made:
        target.mkdir()
    arguments = ["explore", str(LENET), "-d", "systolic", "-o", str(target), "--json"]
    code, printed, told = called(monkeypatch, capsys, *arguments)
    assert (code, printed) == (1, "")
    last = "tilewright: all 16 candidates are refused, the first as it is too wide"
    assert told.splitlines()[-1] == last
    assert target.exists() == made
    assert list(tmp_path.rglob("*")) == [target] * made


def test_what_was_found_before_outlives_a_failure(tmp_path, estimates, monkeypatch):
    assert len(sweep_of(TWO, tmp_path, trials=1)) == 1

    def stop(job, **options):
        raise KeyboardInterrupt

    formula = sweep.estimate_job
    monkeypatch.setattr(sweep, "estimate_job", stop)
    with pytest.raises(KeyboardInterrupt):
        sweep_of(TWO, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [JOURNAL]
    monkeypatch.setattr(sweep, "estimate_job", formula)
    assert len(sweep_of(TWO, tmp_path)) == len(estimates) == 2


def test_arrays_from_luts_are_not_beaten_by_those_from_dsps(tmp_path, estimates):
    """An array without DSPs is the choice of who has none left."""
    space = Space(datapaths=("systolic", "serial", "term"), choices={})
    found = explore(LENET, space, tmp_path, area=estimate_area)
    by_family = {one.point["datapath"]: one for one in found}
    assert by_family["systolic"].dsps == 144 + 8
    assert by_family["serial"].dsps == by_family["term"].dsps == 8
    assert by_family["serial"].best
    assert by_family["systolic"].best


def test_only_candidates_that_nothing_beats_are_best():
    def candidate(accuracy, cycles, luts, dsps=0):
        return Candidate(
            point={"datapath": "x"}, accuracy=accuracy, cycles=cycles, lut4_equivalents=luts,
            dsps=dsps,
        )  # fmt: skip

    found = [
        candidate(0.9, 100, 16),
        candidate(0.9, 90, 16),
        candidate(0.9, 100, 8),
        candidate(0.8, 200, 32),
        candidate(0.9, 90, 15, 1),
        candidate(0.9, 90, 17, 1),
    ]
    assert [one.best for one in sweep._ranked(found)] == [False, True, True, False, True, False]


@pytest.mark.parametrize("text", ["rows", "rows=", "=4", "rows=4,", "rows=4,,8", "a b=1"])
def test_sweeps_that_are_none(text):
    with pytest.raises(ConfigError, match="a sweep is key=value,value, not"):
        read_choices([text])


def test_a_journal_of_another_sweep_is_refused(tmp_path, estimates):
    sweep_of(SPACE, tmp_path)
    with pytest.raises(ConfigError, match="belongs to another model or other options"):
        sweep_of(SPACE, tmp_path, images=7)


def test_what_cannot_be_explored_is_one_sentence(tmp_path, monkeypatch):
    arguments = ["explore", str(LENET), "-o", str(tmp_path / "out"), "--sweep"]
    assert "a sweep is key=value,value" in refused(tilewright(*arguments, "rows"))
    assert "no field 'rows'" in refused(tilewright(*arguments, "rows=4"))
    assert "rows must be" in refused(tilewright(*arguments, "datapath.rows=0", "-d", "systolic"))
    assert not (tmp_path / "out").exists()


def test_explore_writes_table_and_picture(tmp_path, estimates, monkeypatch, capsys):
    arguments = ["explore", str(LENET), "-o", str(tmp_path), "--sweep", "datapath.cols=2,4,300"]
    code, printed, _ = called(monkeypatch, capsys, *arguments, "--json")
    assert code == 0
    found = json.loads(printed)
    assert all(one["estimated"] and one["lut4_equivalents"] for one in found if not one["refused"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["explore.html", JOURNAL]
    assert len(found) == 3 * len(families_of(LENET))
    page = (tmp_path / "explore.html").read_text()
    assert page.count("<svg") == 1
    assert "cols must be" in page
    code, printed, told = called(monkeypatch, capsys, *arguments)
    assert code == 0
    assert "systolic cols=4" in printed


def test_jobs_name_the_families_that_they_have_engines_for(tmp_path):
    for name in ("job.toml", "engine.toml"):
        shutil.copy(LENET / name, tmp_path / name)
    assert families_of(tmp_path) == ("systolic",)
    for name in ("engine_term.toml", "engine_notes.toml"):
        shutil.copy(LENET / "engine_term.toml", tmp_path / name)
    assert families_of(tmp_path / "job.toml") == ("systolic", "term")


def test_compare_refuses_before_any_work(tmp_path):
    arguments = ["compare", str(LENET), "-o", str(tmp_path / "out")]
    assert "board must be one of" in refused(tilewright(*arguments, "--board", "desk"))
    told = refused(tilewright(*arguments, "-d", "systolic", "-s", "datapath.rows=30"))
    assert "DSPs" in told
    assert "'sistolic'" in refused(tilewright(*arguments, "-d", "sistolic"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_compare_shows_datapaths_side_by_side(tmp_path, monkeypatch, capsys):
    arguments = ["compare", str(LENET), "-d", "systolic", "-d", "term", "--images", "6"]
    more = ["--no-build", "-o", str(tmp_path), "--json"]
    code, printed, told = called(monkeypatch, capsys, *arguments, *more)
    assert code == 0, told
    found = json.loads(printed)
    assert [one["datapath"] for one in found] == ["systolic", "term"]
    assert all(one["result"]["equal"] and one["build"] is None for one in found)
    page = (tmp_path / "compare.html").read_text()
    assert page.count("<svg") == 1
    report = tilewright("report", str(tmp_path / "term"), "--json")
    assert report.returncode == 0, report.stderr
    assert (tmp_path / "term" / "report.html").stat().st_size == json.loads(report.stdout)["bytes"]


def test_optuna_is_asked_for_by_name(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sweep, "find_spec", lambda name: None)
    code, _, told = called(monkeypatch, capsys, "explore", str(LENET), "-o", str(tmp_path))
    assert code == 1
    assert told == "tilewright: sweeps need Optuna: pip install 'tilewright[explore]'\n"
    assert list(tmp_path.iterdir()) == []
