"""What commands say and return of made-up results: agreement, clocks, tables, progress."""

import json
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tilewright.sw import job
from tilewright.sw.cli import output, run_
from tilewright.verif.tests.test_cli import called
from tilewright.verif.tests.test_report import RESULT

LENET = Path(__file__).parents[2] / "examples" / "lenet5"


@pytest.fixture
def ran(monkeypatch, capsys, tmp_path):
    """Return what calls a command for a result that is there already, and for a bitstream."""

    def call(*arguments, build=None, **changes):
        result, asked = replace(RESULT, **changes), []

        @contextmanager
        def building(chosen, board, mhz, folder, say):
            asked.append((board, mhz))
            future = Future()
            future.set_result(build)
            yield future if board else None

        monkeypatch.setattr(job, "prepare_job", lambda chosen, **options: None)
        monkeypatch.setattr(job, "run_prepared", lambda ready, **options: result)
        monkeypatch.setattr(run_, "_building", building)
        for name in ("_check_build", "_check_verilog"):
            monkeypatch.setattr(run_, name, lambda *given: None)
        monkeypatch.setattr(run_, "_report", lambda chosen, folder: folder / "report.html")
        command, *options = arguments
        given = [command, str(LENET), "-o", str(tmp_path), *options]
        return (*called(monkeypatch, capsys, *given), asked)

    return call


@pytest.mark.parametrize("options", [("run",), ("compare", "--no-build", "-d", "systolic")])
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("more", [0, 1])
def test_rtl_that_differs_from_its_models_is_a_failure(ran, options, equal, more):
    code, printed, told, _ = ran(*options, equal=equal, predicted_cycles=RESULT.cycles + more)
    agrees = equal and not more
    assert code == (0 if agrees else 1)
    assert ("the RTL and its models disagree" in told) != agrees
    assert "7,654" in printed


@pytest.mark.parametrize("met", [True, False])
@pytest.mark.parametrize("identical", [True, False])
def test_a_bitstream_that_is_not_what_it_should_be_is_a_failure(ran, tmp_path, met, identical):
    build = SimpleNamespace(
        board="ulx3s-85f", mhz=50.0, fmax=51.0 if met else 49.0, met=met, identical=identical,
        used={}, available={}, critical=(), bitstream=tmp_path / "engine.bit",
        placement=tmp_path / "placed.json",
        area=SimpleNamespace(lut4_equivalents=1, ff=2, dsp=3, bram=4),
    )  # fmt: skip
    code, printed, told, asked = ran("run", "--board", "ulx3s-85f", build=build)
    assert asked == [("ulx3s-85f", 50)]
    assert code == (0 if met and identical else 1)
    assert ("misses its clock or differs from its netlist" in told) != (met and identical)
    assert "engine.bit" in printed


def test_a_bitstream_is_not_waited_for_where_the_rtl_is_wrong(ran):
    code, printed, told, _ = ran("run", "--board", "ulx3s-85f", "--json", equal=False)
    assert code == 1
    assert json.loads(printed)["build"] is None
    assert "disagree" in told


def test_tables_have_a_column_for_each_title(capsys):
    rows = [("a", 1, 2.0, None, True), ("longer", 1000, 0.000123456, 7, False)]
    output.print_table(("name", "n", "real", "maybe", "is it so"), rows)
    assert capsys.readouterr().out.splitlines() == [
        "name       n       real  maybe  is it so",
        "a          1          2      -       yes",
        "longer  1000  0.0001235      7        no",
    ]
    output.print_table(("text", "number or none"), [("x", "1"), ("y", 2)])
    assert capsys.readouterr().out.splitlines() == ["text  number or none", "x     1", "y     2"]


def test_headings_are_bold_on_terminals_alone(monkeypatch, capsys):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.heading("x") == "x"
    monkeypatch.setattr(output.sys, "stdout", SimpleNamespace(isatty=lambda: True))
    assert output.heading("x") == "\033[1mx\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.heading("x") == "x"


def test_progress_is_told_in_tenths_where_there_is_no_terminal(capsys):
    with output.progress_bar("images") as move:
        for done in (0, 1, 4, 5, 9, 10, 11, 25, 49, 50):
            move(done, 50)
        move(3, 0)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [f"images: {done} of 50" for done in (5, 10, 25, 49, 50)]
