"""Comparing datapaths and sweeping over sizes: what is shown, what is kept, what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from tilewright.hw.config import ConfigError
from tilewright.sw import explore as sweep
from tilewright.sw.explore import Candidate, Space, explore, read_choices
from tilewright.sw.job import JobEstimate, families_of
from tilewright.verif.tests.test_cli import called, refused, tilewright

pytest.importorskip("optuna")
LENET = Path("examples/lenet5")
SPACE = Space(
    datapaths=("systolic", "term"),
    choices={"datapath.rows": ("4", "8"), "datapath.cols": ("4", "257")},
)


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
    begun = explore(LENET, SPACE, tmp_path, trials=2)
    assert len(begun) == 2
    found = explore(LENET, SPACE, tmp_path)
    assert found[:2] == [one for one in found if one.point in [b.point for b in begun]]
    points = [tuple(one.point.values()) for one in found]
    assert sorted(points) == [
        ("systolic", "4", "257"), ("systolic", "4", "4"), ("systolic", "8", "257"),
        ("systolic", "8", "4"), ("term", "257"), ("term", "4"),
    ]  # fmt: skip
    refusals = {one.point["datapath.cols"] for one in found if one.refused}
    assert refusals == {"257"}
    assert sorted(estimates) == [("systolic", 4, 4), ("systolic", 8, 4), ("term", 8, 4)]
    explore(LENET, SPACE, tmp_path)
    assert len(estimates) == 3


def test_a_point_that_was_cut_short_is_done_again(tmp_path, estimates, monkeypatch):
    space = Space(datapaths=("systolic",), choices={"datapath.rows": ("4", "8")})
    formula = sweep.estimate_job

    def stop(job, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "estimate_job", stop)
    with pytest.raises(KeyboardInterrupt):
        explore(LENET, space, tmp_path)
    monkeypatch.setattr(sweep, "estimate_job", formula)
    assert len(explore(LENET, space, tmp_path)) == 2


def test_points_of_others_are_left_to_them(tmp_path, estimates, monkeypatch):
    """A second process that joins while the first is at its first point takes the other."""
    space = Space(datapaths=("systolic",), choices={"datapath.rows": ("4", "8")})
    formula, inner = sweep.estimate_job, []

    def joined(job, **options):
        if not inner:
            inner.append(None)
            inner[0] = explore(LENET, space, tmp_path)
        return formula(job, **options)

    monkeypatch.setattr(sweep, "estimate_job", joined)
    said = []
    found = explore(LENET, space, tmp_path, say=said.append)
    assert len(inner[0]) == 1
    assert len(found) == 2
    assert len(estimates) == 2


def test_only_candidates_that_nothing_beats_are_best():
    def candidate(accuracy, cycles, peak):
        return Candidate(point={"datapath": "x"}, accuracy=accuracy, cycles=cycles, peak=peak)

    found = [candidate(0.9, 100, 16), candidate(0.9, 90, 16), candidate(0.9, 100, 8),
             candidate(0.8, 200, 32)]  # fmt: skip
    assert [one.best for one in sweep._ranked(found)] == [False, True, True, False]


@pytest.mark.parametrize("text", ["rows", "rows=", "=4", "rows=4,", "rows=4,,8", "a b=1"])
def test_sweeps_that_are_none(text):
    with pytest.raises(ConfigError, match="a sweep is key=value,value, not"):
        read_choices([text])


def test_a_journal_of_another_sweep_is_refused(tmp_path, estimates):
    explore(LENET, SPACE, tmp_path)
    with pytest.raises(ConfigError, match="belongs to another model or other options"):
        explore(LENET, SPACE, tmp_path, images=7)


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
